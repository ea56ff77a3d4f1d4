"""Cars that protection holds down are released late, stepwise and only as far as the meter leaves room."""

import pytest
from tests.unit.charger_service.protection.conftest import LIMIT_A, MeteredHouse

from charger_service.orders import OverrideKind, OverrideOrder

pytestmark = pytest.mark.anyio


async def held_down() -> MeteredHouse:
    """Three cars at 25 A, of which the last went to 0 for the building's 48 A, which are gone again."""
    house = MeteredHouse(longest_validity_s=3600)
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [48.0, 48.0, 48.0]
    await house.message()
    assert house.caps == {"CP-3": 0.0}
    house.building_a = [20.0, 20.0, 20.0]
    return house


async def test_nobody_is_released_before_the_delay_is_over() -> None:
    house = await held_down()

    await house.seconds(60)
    assert house.caps == {"CP-3": 0.0}

    await house.seconds(1)
    assert house.caps != {"CP-3": 0.0}


async def test_a_load_between_threshold_and_margin_releases_nobody() -> None:
    house = await held_down()
    house.building_a = [48.0, 48.0, 48.0]

    await house.seconds(100)

    assert house.caps == {"CP-3": 0.0}
    assert house.current_a()[0] == 98.0


async def test_a_short_rise_begins_the_delay_anew() -> None:
    house = await held_down()

    await house.seconds(50)
    house.building_a = [49.0, 49.0, 49.0]
    await house.seconds(1)
    house.building_a = [20.0, 20.0, 20.0]
    await house.seconds(60)

    assert house.caps == {"CP-3": 0.0}


async def test_the_cap_rises_in_steps_until_it_is_gone() -> None:
    house = await held_down()
    caps: list[float] = []

    for _ in range(150):
        await house.seconds(1)
        cap_a = house.caps.get("CP-3", 32.0)
        if not caps or cap_a != caps[-1]:
            caps.append(cap_a)

    # 95 A less 70 A are 25 A, of which each step takes half.
    assert caps == [0.0, 12.5, 25.0, 32.0]
    assert house.caps == {}


async def test_an_agent_that_asks_for_all_gets_it_back_without_another_overload() -> None:
    house = await held_down()
    house.points.sent.clear()

    for _ in range(20):
        await house.put(*(house.limit(name, 25.0) for name in house.site.chargers))
        await house.seconds(10)

    assert house.caps == {}
    assert [house.really_a(name) for name in house.site.chargers] == [25.0, 25.0, 25.0]
    assert house.current_a()[0] == 95.0
    of_the_last = [limit_a for name, limit_a in house.points.sent if name == "CP-3"]
    assert of_the_last == sorted(of_the_last)


@pytest.mark.parametrize("building_a", [20.0, 31.0, 38.0, 60.0, 88.0])
async def test_a_constant_building_trips_once_however_much_is_asked(building_a: float) -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [building_a] * 3
    await house.message()
    trips = house.protection.epoch

    for _ in range(30):
        await house.put(*(house.limit(name, 32.0) for name in house.site.chargers))
        await house.seconds(10)
        assert house.current_a()[0] <= LIMIT_A

    assert house.protection.epoch == trips


async def test_an_override_is_given_back_what_was_taken_from_it() -> None:
    house = MeteredHouse(longest_validity_s=3600)
    await house.charging(CP_1=12, CP_2=12, CP_3=12)
    order = OverrideOrder(
        kind=OverrideKind.FIXED_POWER, charging_power_kw=13.8, minutes=60, reason="20 A for everybody"
    )
    await house.operator_service.set_override(order, None)
    await house.seconds(1)
    house.building_a = [50.0, 50.0, 50.0]
    await house.seconds(1)
    assert house.really_a("CP-3") < 20.0

    house.building_a = [20.0, 20.0, 20.0]
    await house.seconds(130)

    assert [house.really_a(name) for name in house.site.chargers] == [20.0, 20.0, 20.0]


async def test_a_car_at_its_fallback_gets_it_back() -> None:
    house = MeteredHouse(longest_validity_s=3600)
    await house.connect()
    await house.plug("CP-1")
    await house.seconds(1)
    house.building_a = [99.0, 99.0, 99.0]
    await house.seconds(1)
    assert (house.really_a("CP-1"), house.evse("CP-1").limited_by) == (0.0, "protection")

    house.building_a = [50.0, 50.0, 50.0]
    await house.seconds(80)

    assert house.really_a("CP-1") == 6.0
    assert house.evse("CP-1").limited_by is None


async def test_the_default_of_an_evse_without_a_session_comes_back() -> None:
    house = MeteredHouse()
    await house.connect()
    await house.message()
    house.site.limit_states["CP-2", 1].is_unknown = False
    house.meter("CP-2", 6.0)
    house.draws = {"CP-2": 6.0}
    house.building_a = [96.0, 96.0, 96.0]
    await house.message()
    assert house.points.at("CP-2").default_a == 0.0

    house.draws, house.building_a = {"CP-2": 0.0}, [20.0, 20.0, 20.0]
    house.meter("CP-2", 0.0)
    await house.seconds(70)

    assert house.points.at("CP-2").default_a == 6.0
