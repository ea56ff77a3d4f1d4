"""What counts on which phase, where a charger does not say on which phases its car draws."""

from typing import Any

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.ports import LimitMethod, LimitPurpose, MeterReading, RateUnit

pytestmark = pytest.mark.anyio


@pytest.fixture
async def charging(anyio_backend: str) -> House:
    house = House(("CP-1",))
    await house.connect()
    await house.plug("CP-1")
    await house.set(CP_1=10)
    await house.pass_time(12)
    return house


def report_currents(house: House, **said: Any) -> tuple[float, ...]:
    house.limits.events.on_meter_values("CP-1", 1, MeterReading(None, **said))
    measured = house.evse("CP-1").measured
    assert measured is not None
    return measured.current_a


async def test_the_neutrals_current_counts_on_the_phase_of_a_car_on_one(charging: House) -> None:
    assert report_currents(charging, power_kw=3.6, neutral_a=15.6) == (15.6, 0.0, 0.0)
    assert charging.evse("CP-1").is_overdrawing


async def test_it_counts_without_a_power_too(charging: House) -> None:
    assert report_currents(charging, neutral_a=15.6) == (15.6, 0.0, 0.0)


async def test_two_phases_put_the_current_of_one_on_the_neutral(charging: House) -> None:
    assert report_currents(charging, power_kw=7.36, neutral_a=16.0) == (16.0, 16.0, 0.0)


async def test_without_a_current_on_the_neutral_the_phases_are_even(charging: House) -> None:
    assert report_currents(charging, power_kw=6.9, neutral_a=0.3) == (10.0, 10.0, 10.0)
    assert not charging.evse("CP-1").is_overdrawing


async def test_power_alone_counts_in_full_on_each_phase_that_it_may_be_on(charging: House) -> None:
    assert report_currents(charging, power_kw=3.68) == (16.0, 16.0, 16.0)
    assert charging.site.max_currents(("CP-1", 1)) == (16.0, 16.0, 16.0)


async def test_it_counts_up_to_what_the_evse_gives_on_one_phase(charging: House) -> None:
    assert report_currents(charging, power_kw=11.04) == (32.0, 32.0, 32.0)
    assert report_currents(charging, power_kw=23.0) == (33.33, 33.33, 33.33)


async def test_a_car_that_may_keep_to_its_limit_is_not_said_to_draw_too_much(charging: House) -> None:
    report_currents(charging, power_kw=6.9)
    keeps = charging.evse("CP-1").is_overdrawing
    report_currents(charging, power_kw=9.2)

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


@pytest.mark.parametrize(
    ("current_a", "power_kw", "phases"),
    [
        (32.0, 7.36, 1),
        (16.0, 3.4, 1),
        (16.0, 7.36, 2),
        (16.0, 11.04, 3),
        (16.0, 12.2, 3),
        (16.0, 5.52, None),
        (16.0, 0.1, None),
        (5.5, 1.265, None),
        (16.0, None, None),
    ],
)
async def test_one_current_for_all_phases_and_the_power_say_on_how_many_a_car_draws(
    charging: House, current_a: float, power_kw: float | None, phases: int | None
) -> None:
    counted_a = report_currents(charging, current_each_a=current_a, power_kw=power_kw)

    assert charging.site.limit_states[("CP-1", 1)].phases_in_use == phases
    assert counted_a == (current_a, current_a, current_a)


async def test_a_limit_in_watts_is_for_the_phases_that_current_and_power_say(charging: House) -> None:
    charging.points.at("CP-1").method = LimitMethod(LimitPurpose.TX, 1, RateUnit.WATTS)
    await charging.set(CP_1=16)
    report_currents(charging, current_each_a=32.0)
    report_currents(charging, current_each_a=32.0, power_kw=7.36)
    await charging.settled()
    limit = charging.points.at("CP-1").limit
    assert limit is not None
    assert (limit.limit_a, limit.phases_in_use) == (16.0, 1)

    report_currents(charging, current_each_a=16.0, power_kw=3.68)
    assert not charging.evse("CP-1").is_overdrawing


async def test_an_evse_on_two_phases_draws_on_no_more(anyio_backend: str) -> None:
    house = House(("CP-1",), evse={"phases": [2, 3]})
    await house.connect()
    await house.plug("CP-1")
    report_currents(house, current_each_a=16.0, power_kw=11.04)

    assert house.site.limit_states[("CP-1", 1)].phases_in_use == 2
