"""What counts on which phase, where a charger does not say on which phases its car draws."""

from typing import Any

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.ports import MeterReading

pytestmark = pytest.mark.anyio


@pytest.fixture
async def charging(anyio_backend: str) -> House:
    house = House(("CP-1",))
    await house.connect()
    await house.plug("CP-1")
    await house.set(CP_1=10)
    await house.pass_time(12)
    return house


def metered(house: House, **said: Any) -> tuple[float, ...]:
    house.limits.events.on_meter_values("CP-1", 1, MeterReading(None, **said))
    measured = house.evse("CP-1").measured
    assert measured is not None
    return measured.current_a


async def test_the_neutrals_current_counts_on_the_phase_of_a_car_on_one(charging: House) -> None:
    assert metered(charging, power_kw=3.6, neutral_a=15.6) == (15.6, 0.0, 0.0)
    assert charging.evse("CP-1").is_overdrawing


async def test_it_counts_without_a_power_too(charging: House) -> None:
    assert metered(charging, neutral_a=15.6) == (15.6, 0.0, 0.0)


async def test_two_phases_put_the_current_of_one_on_the_neutral(charging: House) -> None:
    assert metered(charging, power_kw=7.36, neutral_a=16.0) == (16.0, 16.0, 0.0)


async def test_without_a_current_on_the_neutral_the_phases_are_even(charging: House) -> None:
    assert metered(charging, power_kw=6.9, neutral_a=0.3) == (10.0, 10.0, 10.0)
    assert not charging.evse("CP-1").is_overdrawing


async def test_power_alone_counts_in_full_on_each_phase_that_it_may_be_on(charging: House) -> None:
    assert metered(charging, power_kw=3.68) == (16.0, 16.0, 16.0)
    assert charging.site.max_currents(("CP-1", 1)) == (16.0, 16.0, 16.0)


async def test_it_counts_up_to_what_the_evse_gives_on_one_phase(charging: House) -> None:
    assert metered(charging, power_kw=11.04) == (32.0, 32.0, 32.0)
    assert metered(charging, power_kw=23.0) == (33.33, 33.33, 33.33)


async def test_a_car_that_may_keep_to_its_limit_is_not_said_to_draw_too_much(charging: House) -> None:
    metered(charging, power_kw=6.9)
    keeps = charging.evse("CP-1").is_overdrawing
    metered(charging, power_kw=9.2)

    assert (keeps, charging.evse("CP-1").is_overdrawing) == (False, True)


async def test_an_evse_on_one_phase_leaves_no_doubt(anyio_backend: str) -> None:
    house = House(("CP-1",), evse={"phases": [2]})
    await house.connect()
    await house.plug("CP-1")
    house.limits.events.on_meter_values("CP-1", 1, MeterReading(NOON, power_kw=3.68))
    (by_power,) = [one.measured for one in [house.evse("CP-1")]]
    house.limits.events.on_meter_values("CP-1", 1, MeterReading(NOON, neutral_a=9.0))
    by_neutral = house.evse("CP-1").measured

    assert by_power is not None
    assert by_neutral is not None
    assert (by_power.current_a, by_neutral.current_a) == ((0.0, 16.0, 0.0), (0.0, 9.0, 0.0))
