"""An overload that the meter shows lowers cars at once, whoever ordered what, and whatever else is broken."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from tests.unit.charger_service.limits.conftest import fill
from tests.unit.charger_service.protection.conftest import LIMIT_A, MeteredHouse

from charger_service.orders import DepartureOrder, OverrideKind, OverrideOrder, SiteLimitOrder
from charger_service.ports import CommandStatus
from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio


def allowed_a(house: MeteredHouse) -> list[float]:
    return [house.really_a(name) for name in house.site.chargers]


async def prioritise(house: MeteredHouse, charger_id: str, priority: int) -> None:
    session = house.site.get_session((charger_id, 1))
    assert session is not None
    order = DepartureOrder.model_validate({"departure": "2026-06-22T00:00:00Z", "priority": priority})
    await house.operator_service.set_departure(session.session_id, order, None)


async def test_a_step_of_the_building_takes_as_much_as_is_needed_from_the_last_one_first() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.points.sent.clear()

    house.building_a = [40.0, 40.0, 40.0]
    await house.message()

    # 75 A of cars beside 40 A: 15 A too many, and nobody else is asked.
    assert house.points.sent == [("CP-3", 10.0)]
    assert max(house.current_a()) == LIMIT_A
    evse = house.evse("CP-3")
    assert (evse.limit_a, evse.limited_by) == (10.0, "protection")


async def test_a_car_goes_to_0_rather_than_below_6() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)

    house.building_a = [46.0, 46.0, 46.0]
    await house.message()

    assert allowed_a(house) == [25.0, 25.0, 0.0]


async def test_the_lowest_priority_goes_first() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    for charger_id, priority in (("CP-1", 1), ("CP-2", 0), ("CP-3", 5)):
        await prioritise(house, charger_id, priority)

    house.building_a = [70.0, 70.0, 70.0]
    await house.message()

    assert allowed_a(house) == [0.0, 0.0, 25.0]


async def test_a_cars_unused_limit_is_taken_before_what_others_draw() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.draws = {"CP-3": 10.0, "CP-1": 25.0}
    house.report()

    house.building_a = [44.0, 44.0, 44.0]
    await house.message()

    # CP-3 loses 4 of the 10 A that it draws, and the 15 A that it does not.
    assert house.caps == {"CP-3": 6.0}


@pytest.mark.parametrize("priority", [0, 9])
async def test_a_guaranteed_current_is_no_protection_from_protection(priority: int) -> None:
    house = MeteredHouse(["CP-1"])
    await house.charging(CP_1=25)
    session = house.site.get_session(("CP-1", 1))
    assert session is not None
    order = DepartureOrder.model_validate(
        {"departure": "2026-06-22T00:00:00Z", "priority": priority, "guaranteed_a": 16.0}
    )
    await house.operator_service.set_departure(session.session_id, order, None)

    house.building_a = [98.0, 98.0, 98.0]
    await house.message()

    assert allowed_a(house) == [0.0]


async def test_only_cars_on_the_overloaded_phase_are_lowered() -> None:
    phases = {"CP-1": [1], "CP-2": [2], "CP-3": [1]}
    house = MeteredHouse()
    for charger in house.installation.chargers:
        wiring = house.site.wirings[charger.charger_id, 1]
        house.site.wirings[charger.charger_id, 1] = type(wiring)(
            wiring.key, wiring.feeder_id, tuple(phases[charger.charger_id]), wiring.max_current_a
        )
    await house.charging(CP_1=20, CP_2=20, CP_3=20)

    house.building_a = [75.0, 60.0, 10.0]
    await house.message()

    assert allowed_a(house) == [20.0, 20.0, 0.0]
    assert house.current_a()[0] <= LIMIT_A


async def test_without_phases_the_sum_decides() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.has_phases = False

    house.building_a = [60.0, 30.0, 30.0]
    await house.message()

    assert allowed_a(house) == [25.0, 25.0, 10.0]


async def test_a_meter_of_the_building_alone_is_added_to_what_cars_say() -> None:
    house = MeteredHouse()
    house.includes_charging = False
    await house.charging(CP_1=25, CP_2=25, CP_3=25)

    house.building_a = [40.0, 40.0, 40.0]
    await house.message()

    assert allowed_a(house) == [25.0, 25.0, 10.0]


async def test_a_lower_site_limit_counts_and_the_building_alone_may_use_it_up() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=12, CP_2=12, CP_3=12)

    await house.operator_service.set_site_limit(SiteLimitOrder(limit_kw=0.69 * 50, reason="works"), None)
    await house.message()
    # 50 A on each phase less 20 A of the building.
    assert sum(allowed_a(house)) <= 30

    house.building_a = [55.0, 55.0, 55.0]
    await house.message()
    assert allowed_a(house) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["agent", "fixed_power"])
async def test_nobody_stands_above_it(kind: str) -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    await house.message()

    if kind == "agent":
        (result,) = await house.set(CP_3=25)
        assert (result.outcome, result.limit_a, result.limited_by) == ("partly_applied", 10.0, "protection")
    else:
        order = OverrideOrder(kind=OverrideKind.FIXED_POWER, charging_power_kw=17.25, minutes=30, reason="all of it")
        await house.operator_service.set_override(order, None)
        await house.settled()
        assert house.evse("CP-3").limited_by == "protection"
    assert allowed_a(house) == [25.0, 25.0, 10.0]
    assert max(house.current_a()) <= LIMIT_A


async def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    house = MeteredHouse(folder=tmp_path)
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    fill(tmp_path)

    house.building_a = [40.0, 40.0, 40.0]
    await house.message()

    assert allowed_a(house) == [25.0, 25.0, 10.0]
    house.close()


async def test_it_is_recorded_once_until_everybody_is_released() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    await house.message()
    house.building_a = [50.0, 50.0, 50.0]
    await house.message()

    async with asyncio.timeout(5):
        while not (page := await house.acts.page(10, None)).orders:
            await asyncio.sleep(0)
    (recorded,) = page.orders
    act = recorded.protection
    assert act is not None
    assert (recorded.kind, act.current_a, act.lowered, act.limit_kw) == ("protection", (115.0, 115.0, 115.0), 1, 69.0)


async def test_cars_that_have_not_followed_yet_are_not_lowered_twice() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    house.draws = {"CP-3": 25.0}
    await house.message()

    house.clock.advance(1)
    await house.message()

    assert house.caps == {"CP-3": 10.0}


async def test_a_second_step_is_seen_while_cars_still_follow() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    house.draws = {"CP-3": 25.0}
    await house.message()

    house.clock.advance(1)
    house.building_a = [50.0, 50.0, 50.0]
    await house.message()

    assert house.caps == {"CP-3": 0.0}


@pytest.mark.parametrize("reported_a", [32.0, 0.0])
async def test_a_car_that_does_not_follow_has_others_lowered_whatever_it_reports(reported_a: float) -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    house.draws = {"CP-3": 25.0}
    await house.message()

    for _ in range(3):
        house.clock.advance(1)
        house.meter("CP-3", reported_a)
        await house.message()

    assert house.current_a()[0] <= LIMIT_A
    assert allowed_a(house)[0] == 25.0


@pytest.mark.parametrize("reported_a", [math.nan, math.inf, -math.inf, 1e308, -25.0, 5e-324, 0.0])
async def test_no_value_of_one_charger_keeps_others_from_being_lowered(reported_a: float) -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.meter("CP-3", reported_a)

    house.building_a = [85.0, 85.0, 85.0]
    await house.message()

    assert house.really_a("CP-2") == 0.0
    assert house.current_a()[0] <= LIMIT_A


async def test_a_charger_that_lost_its_limit_is_told_again_and_loses_its_default() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [94.0, 94.0, 94.0]
    await house.message()
    assert allowed_a(house) == [6.0, 0.0, 0.0]

    # By its own clock the limit ended, and it fell to its default.
    house.points.at("CP-2").limit = None
    assert house.current_a()[0] > LIMIT_A
    await house.seconds(3)

    assert house.current_a()[0] <= LIMIT_A
    assert house.points.at("CP-2").default_a == 0.0


async def test_a_fault_about_one_evse_keeps_no_other_from_being_lowered() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    del house.site.limit_states["CP-3", 1]

    house.building_a = [60.0, 60.0, 60.0]
    await house.message()

    assert allowed_a(house)[:2] == [15.0, 0.0]


async def test_what_does_not_help_ends_with_all_cars_on_the_phase_stopped() -> None:
    house = MeteredHouse([f"CP-{number}" for number in range(1, 6)])
    await house.charging(**{f"CP_{number}": 15.0 for number in range(1, 6)})
    # Three say that they draw 15 A, and draw nothing; who draws are the others and the building.
    liars = ("CP-3", "CP-4", "CP-5")
    house.draws = dict.fromkeys(liars, 0.0)
    house.building_a = [85.0, 85.0, 85.0]

    for _ in range(6):
        for name in house.site.chargers:
            house.meter(name, 15.0 if name in liars else house.drawn_a(name))
        await house.message()
        house.clock.advance(1)

    assert house.current_a()[0] <= LIMIT_A
    assert allowed_a(house) == [0.0] * 5


async def test_a_charger_that_does_not_answer_is_passed_over() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.points.at("CP-3").answer = CommandStatus.REJECTED
    house.building_a = [40.0, 40.0, 40.0]

    for _ in range(4):
        await house.message()
        house.clock.advance(1)

    assert house.really_a("CP-3") == 25.0
    assert house.current_a()[0] <= LIMIT_A


async def test_a_charger_that_is_away_counts_as_part_of_the_building() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    await house.disconnect("CP-3")

    house.building_a = [40.0, 40.0, 40.0]
    await house.message()

    assert house.caps == {"CP-2": 10.0}


async def test_a_car_without_a_session_is_lowered_by_its_default() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25)
    house.limits.events.on_evse_state("CP-2", 1, EvseState.CHARGING)
    house.meter("CP-2", 6.0)
    house.draws = {"CP-2": 6.0}

    house.building_a = [72.0, 72.0, 72.0]
    await house.message()

    assert house.points.at("CP-2").default_a == 0.0
    assert allowed_a(house)[0] == 25.0
    assert house.evse("CP-2").limited_by == "protection"


async def test_a_raise_that_is_under_way_does_not_pass_an_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    house = MeteredHouse()
    await house.charging(CP_1=20, CP_2=20, CP_3=20)
    keep = house.limits.writer.write

    async def keep_while_the_building_rises(*said: Any) -> bool:
        house.building_a = [60.0, 60.0, 60.0]
        await house.message()
        return await keep(*said)

    monkeypatch.setattr(house.limits.writer, "write", keep_while_the_building_rises)
    (result,) = await house.set(CP_1=25)

    assert result.limited_by == "protection"
    assert allowed_a(house) == [20.0, 20.0, 0.0]


async def test_a_car_that_comes_while_others_are_held_down_gets_its_fallback_and_no_more() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=32, CP_2=32)
    house.building_a = [50.0, 50.0, 50.0]
    await house.message()

    await house.plug("CP-3")
    await house.set(CP_3=16)

    assert house.really_a("CP-3") == 6.0


async def test_the_watch_does_not_give_back_what_is_held_down() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [85.0, 85.0, 85.0]
    await house.message()

    # The agent's limits lapse meanwhile, and every car falls to its fallback.
    house.building_a = [99.0, 99.0, 99.0]
    await house.seconds(1)
    house.clock.advance(700)
    await house.seconds(2)

    assert allowed_a(house) == [0.0, 0.0, 0.0]
    assert {house.evse(name).limited_by for name in house.site.chargers} == {"protection"}
