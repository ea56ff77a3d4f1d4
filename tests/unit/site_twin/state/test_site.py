import operator
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from ev_service.clock import SteppedClock
from site_model.parameters import SiteParameters
from site_model.scenario import Site
from site_model.yield_table import create_tabled_sun
from site_twin.charging import DRAWS_MORE
from site_twin.ports import EvseMeter
from site_twin.settings import TwinSettings
from site_twin.site import TwinSite

DAY_S, JUMP_S = 86_400, 300


def _registers_kwh(site: TwinSite) -> dict[str, float]:
    return {key.charger_id: site.meter(*key).register_kwh for key in site.places}


def _meter_of_the_first_car(site: TwinSite) -> EvseMeter:
    first = next(standing for standing in site.standing() if standing.draw.power_kw > 0)
    return site.meter(*first.key)


def test_without_charge_points_it_is_the_story_that_everyone_else_tells(
    make_site: Callable[..., TwinSite], clock: SteppedClock, parameters: SiteParameters
) -> None:
    site, story = make_site(clock, None), Site(parameters, create_tabled_sun(parameters))

    for _ in range(DAY_S // JUMP_S):
        told, known = site.powers(), story.at(clock.now())
        assert (told.generation_kw, told.building_kw) == (known.generation_kw, known.building_kw)
        # The story's battery decides every 5 minutes, the twin's every minute.
        assert told.soc_percent == pytest.approx(known.soc_percent, abs=1.0)
        clock.advance(JUMP_S)
    assert site.standing() == []


def test_powers_close_at_every_moment_of_a_day(site: TwinSite, clock: SteppedClock) -> None:
    has_charged = False
    for _ in range(DAY_S // JUMP_S):
        powers = site.powers()
        taken_kw = powers.building_kw + powers.charging_kw + powers.battery_power_kw - powers.generation_kw
        has_charged |= powers.charging_kw > 0

        assert powers.moment == clock.now()
        assert powers.load_kw - powers.export_kw == pytest.approx(taken_kw)
        assert min(powers.load_kw, powers.export_kw) == 0
        assert powers.charging_kw == pytest.approx(sum(powers.phase_current_a) * 0.23)
        assert powers.load_kw - powers.export_kw == pytest.approx(sum(powers.connection_current_a) * 0.23)
        clock.advance(JUMP_S)
    assert has_charged


def test_the_day_goes_the_same_way_however_often_somebody_looks(
    make_site: Callable[..., TwinSite], clock: SteppedClock, offering: Any
) -> None:
    often_at, whim = SteppedClock(clock.now()), Random(1)
    seldom, often = make_site(clock, offering), make_site(often_at, offering)

    for _ in range(24):
        clock.advance(3600)
        while often_at.now() < clock.now():
            often_at.advance(min(whim.uniform(0.1, 900), (clock.now() - often_at.now()).total_seconds()))
            often.powers()
        assert often.powers() == seldom.powers()
        assert often.standing() == seldom.standing()
    assert _registers_kwh(often) == _registers_kwh(seldom)
    assert sum(_registers_kwh(seldom).values()) > 50


def test_a_limit_that_lapses_within_a_jump_holds_until_then_and_no_longer(
    site: TwinSite, clock: SteppedClock, offering: Any
) -> None:
    before = _meter_of_the_first_car(site)
    offering.plan.append((clock.now() + timedelta(seconds=150), 0.0))

    clock.advance(JUMP_S)

    after = {key: site.meter(*key) for key in site.places}
    assert all(meter.power_kw == 0 for meter in after.values())
    assert before.power_kw * 150 / 3600 in [pytest.approx(meter.register_kwh) for meter in after.values()]


def test_a_limit_set_after_settling_leaves_the_past_as_it_was(
    site: TwinSite, clock: SteppedClock, offering: Any
) -> None:
    before = _meter_of_the_first_car(site)
    clock.advance(20)

    site.settle()
    offering.plan = [(offering.plan[0][0], 0.0)]

    registers_kwh = _registers_kwh(site).values()
    assert before.power_kw * 20 / 3600 in [pytest.approx(register) for register in registers_kwh]
    assert site.powers().charging_kw == 0
    clock.advance(JUMP_S)
    assert list(_registers_kwh(site).values()) == list(registers_kwh)


def test_a_limit_set_without_settling_counts_from_the_next_look(
    site: TwinSite, clock: SteppedClock, offering: Any
) -> None:
    charging_kw = site.powers().charging_kw
    offering.plan = [(offering.plan[0][0], 6.0)]

    assert 0 < site.powers().charging_kw < charging_kw
    assert {standing.offer.limit_a for standing in site.standing()} == {6.0}


def test_the_battery_stores_what_the_cars_leave_of_the_sun(
    make_site: Callable[..., TwinSite], clock: SteppedClock, offering: Any
) -> None:
    clock.advance(3 * 3600)
    charging, alone = make_site(clock, offering), make_site(clock, None)

    with_cars, without = charging.powers(), alone.powers()

    surplus_kw = without.generation_kw - without.building_kw
    assert with_cars.charging_kw > 0
    assert without.battery_power_kw == pytest.approx(min(surplus_kw, 30.0))
    assert with_cars.battery_power_kw == pytest.approx(max(surplus_kw - with_cars.charging_kw, 0.0))


def test_a_car_gets_what_it_wants_and_then_asks_no_more(site: TwinSite, clock: SteppedClock) -> None:
    wanted = {standing.car.car_id: standing for standing in site.standing()}
    done: set[str] = set()
    for _ in range(12 * 4):
        clock.advance(JUMP_S)
        for standing in site.standing():
            assert standing.car.energy_got_kwh <= standing.car.energy_wanted_kwh + 1e-6
            if not standing.car.is_asking:
                assert standing.draw.power_kw == 0
                assert standing.car.energy_got_kwh == pytest.approx(standing.car.energy_wanted_kwh, abs=1e-5)
                done.add(standing.car.car_id)
    assert done & wanted.keys()


def test_meters_count_everything_that_cars_got_and_never_go_back(site: TwinSite, clock: SteppedClock) -> None:
    before, charged_kwh = _registers_kwh(site), 0.0
    for _ in range(DAY_S // 60):
        charged_kwh += site.powers().charging_kw / 60
        clock.advance(60)
        after = _registers_kwh(site)
        assert all(after[charger] >= before[charger] for charger in after)
        before = after
    # Who is full within a minute makes the only difference.
    assert sum(before.values()) == pytest.approx(charged_kwh, rel=0.02)


def test_a_car_draws_on_the_phases_that_car_charger_and_offer_share(
    site: TwinSite, clock: SteppedClock, offering: Any
) -> None:
    lines_seen: set[tuple[bool, ...]] = set()
    for phases in (None, 1) * 40:
        offering.phases = phases
        for standing in site.standing():
            place, lines = site.places[standing.key], tuple(current > 0 for current in standing.draw.current_a)
            count = min(standing.car.phases, len(place.phases), phases or 3)
            wired = set(place.phases[:count]) if standing.draw.power_kw else set[int]()
            assert lines == tuple(line in wired for line in (1, 2, 3))
            lines_seen.add(lines)
        clock.advance(900)
    assert {(True, True, True), (True, False, False), (False, True, False)} <= lines_seen


def test_a_car_that_draws_more_than_it_is_offered_stops_doing_so_when_the_fault_ends(
    site: TwinSite, clock: SteppedClock, offering: Any
) -> None:
    offering.plan = [(offering.plan[0][0], 10.0)]
    honest = next(standing for standing in site.standing() if standing.draw.power_kw > 0)
    charger_id = honest.key.charger_id

    site.faults_ordered.order(charger_id, DRAWS_MORE, now=site.settle(), minutes=2.5)

    assert site.faults(charger_id) == {DRAWS_MORE}
    assert site.meter(*honest.key).power_kw == pytest.approx(1.25 * honest.draw.power_kw)
    clock.advance(JUMP_S)
    meter = site.meter(*honest.key)
    assert meter.power_kw == pytest.approx(honest.draw.power_kw)
    assert meter.register_kwh == pytest.approx(honest.draw.power_kw * (1.25 * 2.5 + 2.5) / 60)


def test_the_clock_that_goes_back_takes_nothing_back(make_site: Callable[..., TwinSite], offering: Any) -> None:
    class Wandering(SteppedClock):
        def set_back(self, seconds: float) -> None:
            self._now -= timedelta(seconds=seconds)

    clock = Wandering(site_begin := offering.plan[0][0] + timedelta(days=20_629, hours=14))
    site = make_site(clock, offering)
    clock.advance(JUMP_S)
    reached = site.powers()
    clock.set_back(120)

    assert reached.moment == site_begin + timedelta(seconds=JUMP_S)
    assert site.powers() == reached


def test_each_phase_carries_its_part_of_the_building_an_even_part_of_the_sun_and_its_own_cars(
    make_site: Callable[..., TwinSite], clock: SteppedClock, offering: Any
) -> None:
    site = make_site(clock, offering)
    clock.advance(300)
    powers = site.powers()
    sun_kw = powers.battery_power_kw - powers.generation_kw

    assert max(powers.phase_current_a) > min(powers.phase_current_a) > 0
    for share, cars_a, current_a in zip(
        (0.45, 0.33, 0.22), powers.phase_current_a, powers.connection_current_a, strict=True
    ):
        assert current_a == pytest.approx((share * powers.building_kw + sun_kw / 3) / 0.23 + cars_a)
    clock.advance(3600)
    site.powers()
    assert all(map(operator.ge, site.highest_current_a, powers.connection_current_a))


@pytest.mark.parametrize(
    ("parts", "phases", "shares"),
    [
        ("45/33/22", 3, (0.45, 0.33, 0.22)),
        ("1/0/0", 3, (1.0, 0.0, 0.0)),
        ("2", 3, (1.0, 0.0, 0.0)),
        ("45/33/22", 1, (1.0,)),
        ("0/0/1", 2, (0.5, 0.5)),
    ],
)
def test_the_building_lies_on_the_phases_as_it_is_set(parts: str, phases: int, shares: tuple[float, ...]) -> None:
    assert TwinSettings(building_phases=parts).building_shares(phases) == pytest.approx(shares)
