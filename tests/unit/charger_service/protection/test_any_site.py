"""Over random sites: one message is enough where cars obey, and lies delay the end of an overload by a few messages."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.charger_service.protection.conftest import LIMIT_A, MeteredHouse

from charger_service.envelope import Currents, EvseKey
from charger_service.overload import Car, Load, choose_caps, sum_of
from ev_service.charging import LEAST_CURRENT_A

_ROUNDING_A = 1e-6
WIRINGS = st.sampled_from([(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)])
LIMITS = st.one_of(st.just(0.0), st.floats(LEAST_CURRENT_A, 80).map(lambda limit_a: round(limit_a, 1)))


@st.composite
def cars_of_a_site(draw: st.DrawFn) -> list[Car]:
    """Obedient cars: each draws a part of what it may, and says so."""
    cars: list[Car] = []
    for number in range(draw(st.integers(0, 8))):
        wiring, limit_a, share = draw(WIRINGS), draw(LIMITS), draw(st.sampled_from([0.0, 0.5, 1.0]))
        one, two, three = (limit_a * line for line in wiring)
        drawn: Currents = (one * share, two * share, three * share)
        cars.append(Car((f"CP-{number}", 1), (one, two, three), drawn, is_idle=share == 0))
    return cars


BUILDINGS = st.tuples(*(st.floats(-100, 200) for _ in range(3)))


@given(cars_of_a_site(), BUILDINGS, st.booleans())
@settings(max_examples=500)
def test_after_a_message_what_may_be_drawn_fits_or_all_are_at_0(
    cars: list[Car], building_a: Currents, has_phases: bool
) -> None:
    load = sum_of([building_a, *(car.drawn_a for car in cars)])
    load = Load(load.phase_a, load.total_a, has_phases)
    threshold = Load((LIMIT_A, LIMIT_A, LIMIT_A), 3 * LIMIT_A)

    caps = choose_caps(load, threshold, cars)

    assert all(cap_a == 0 or cap_a >= LEAST_CURRENT_A for cap_a in caps.values())
    after = [car.allowed_below(caps.get(car.key, 1000.0)) for car in cars]
    most = sum_of([building_a, *after])
    for line in load.lines_above(threshold):
        assert most.phase_a[line] <= LIMIT_A + _ROUNDING_A or not any(allowed_a[line] for allowed_a in after)
    if load.has_total_above(threshold):
        assert most.total_a <= 3 * LIMIT_A + _ROUNDING_A or not any(map(any, after))
    if not load.exceeds(threshold):
        assert caps == {}


@given(cars_of_a_site(), BUILDINGS)
def test_who_comes_later_in_the_order_keeps_more(cars: list[Car], building_a: Currents) -> None:
    load = sum_of([building_a, *(car.drawn_a for car in cars)])
    threshold = Load((LIMIT_A, LIMIT_A, LIMIT_A), 3 * LIMIT_A)

    caps = choose_caps(load, threshold, cars)

    # Of cars that are wired and draw alike, the first is lowered before the second loses anything that it draws.
    lowered: dict[tuple[bool, ...], bool] = {}
    for car in cars:
        wiring = tuple(current_a > 0 for current_a in car.allowed_a)
        cap_a = caps.get(car.key, max(car.allowed_a))
        loses = cap_a < max(car.drawn_a) - _ROUNDING_A
        if max(car.drawn_a) >= LEAST_CURRENT_A:
            assert not loses or lowered.get(wiring, True)
            lowered[wiring] = loses and cap_a == 0


STEPS = st.lists(
    st.tuples(st.sampled_from([10.0, 35.0, 60.0, 90.0, 120.0]), st.sets(st.sampled_from(["CP-1", "CP-2", "CP-3"]))),
    min_size=1,
    max_size=4,
)
REPORTS = st.fixed_dictionaries({name: st.sampled_from([0.0, 6.0, 32.0, None]) for name in ("CP-1", "CP-2", "CP-3")})


@given(STEPS, REPORTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_cars_report_an_overload_of_obedient_cars_ends_within_5_s(
    steps: list[tuple[float, set[str]]], events: dict[str, float | None]
) -> None:
    asyncio.run(_play(steps, events))


async def _play(steps: list[tuple[float, set[str]]], events: dict[str, float | None]) -> None:
    house = MeteredHouse(longest_validity_s=3600)
    await house.charging(CP_1=20, CP_2=20, CP_3=20)
    for building_a, drawing in steps:
        house.building_a = [building_a] * 3
        # The others obey too, and draw nothing of what they may.
        house.draws = {name: 0.0 for name in house.site.chargers if name not in drawing}
        for second in range(8):
            house.clock.advance(1)
            for name, reported_a in events.items():
                if reported_a is not None:
                    house.meter(name, reported_a)
            await house.message()
            if second >= 5:
                assert house.current_a()[0] <= LIMIT_A or all(not house.drawn_a(name) for name in house.site.chargers)
            sent: dict[EvseKey, float] = house.site.caps
            assert all(cap_a == 0 or cap_a >= LEAST_CURRENT_A for cap_a in sent.values())
            assert all(limit_a == 0 or limit_a >= LEAST_CURRENT_A for _, limit_a in house.points.sent)
    house.close()
