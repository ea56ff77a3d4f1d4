"""What the meter leaves room for may be raised; without a usable reading nothing is, and later a reserve is kept."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.charger_service.limits.conftest import House
from tests.unit.charger_service.protection.conftest import FakeMeter, MeteredHouse

from charger_service.meter_source import make_meter_source
from charger_service.settings import MeterSettings
from ev_sensors.modbus import ModbusSource
from ev_sensors.mqtt import MqttSource
from ev_sensors.twin import TwinSource
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings
from ev_service.sources import Source

pytestmark = pytest.mark.anyio


async def test_a_raise_stops_where_the_meter_shows_no_more_room() -> None:
    house = MeteredHouse()
    house.building_a = [60.0, 60.0, 60.0]
    await house.charging(CP_1=10, CP_2=10)

    (result,) = await house.set(CP_1=32)

    # 95 A less 60 A of the building and 20 A of the cars.
    assert (result.outcome, result.limit_a, result.limited_by) == ("partly_applied", 25.0, "measured_load")


async def test_each_phase_counts_for_itself() -> None:
    house = MeteredHouse()
    house.building_a = [10.0, 70.0, 10.0]
    await house.charging(CP_1=10, CP_2=10)

    (result,) = await house.set(CP_1=32)

    assert (result.limit_a, result.limited_by) == (15.0, "measured_load")


async def test_without_phases_the_building_counts_as_even() -> None:
    house = MeteredHouse()
    house.has_phases = False
    house.building_a = [10.0, 70.0, 10.0]
    await house.charging(CP_1=10, CP_2=10)

    (result,) = await house.set(CP_1=32)

    # 30 A of the building on each phase, and 20 A of the cars.
    assert result.limit_a == 32.0
    (result,) = await house.set(CP_2=32)
    assert result.limit_a == 32.0
    await house.plug("CP-3")
    (result,) = await house.set(CP_3=32)
    assert result.limited_by == "measured_load"


async def test_raises_within_one_message_share_the_room() -> None:
    house = MeteredHouse()
    house.building_a = [40.0, 40.0, 40.0]
    await house.charging(CP_1=10, CP_2=10, CP_3=10)

    first = await house.set(CP_1=25)
    second = await house.set(CP_2=25, CP_3=25)

    assert first[0].limit_a == 25.0
    assert [result.limit_a for result in second] == [20.0, 10.0]


async def test_what_a_car_may_draw_and_does_not_is_no_room_for_others() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=32, CP_2=10)
    house.draws = {"CP-1": 8.0}
    house.report()
    await house.message()

    house.building_a = [40.0, 40.0, 40.0]
    await house.message()
    (result,) = await house.set(CP_2=32)

    assert result.limit_a == 23.0


async def test_a_reduction_needs_no_room_and_no_meter() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25)
    house.meter_source.reading = None
    house.clock.advance(60)

    results = await house.set(CP_1=10, CP_2=0)

    assert [result.outcome for result in results] == ["applied", "applied"]


@pytest.mark.parametrize("fault", ["silent", "offline", "never"])
async def test_without_a_usable_meter_nothing_is_raised(fault: str) -> None:
    house = MeteredHouse()
    if fault == "never":
        await house.connect()
        await house.plug("CP-1")
        (result,) = await house.set(CP_1=16)
    else:
        await house.charging(CP_1=10)
        if fault == "silent":
            house.clock.advance(16)
        house.meter_source.obstacle = "meter-1 is offline" if fault == "offline" else None
        (result,) = await house.set(CP_1=16)

    assert result.limit_a == (6.0 if fault == "never" else 10.0)
    assert result.limited_by == "meter_lost"
    assert "no limit is raised" in (house.protection.health_error() or "")


async def test_a_paused_car_is_not_even_given_6_a_without_a_meter() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=10)
    await house.set(CP_1=0)
    house.meter_source.obstacle = "silent"

    (result,) = await house.set(CP_1=6)

    assert (result.limit_a, house.really_a("CP-1")) == (0.0, 0.0)


async def test_after_a_while_a_reserve_takes_the_place_of_the_meter() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=10, CP_2=10, CP_3=10)
    house.meter_source.obstacle = "the broker is away"

    await house.pass_time(1)
    await house.protection.check_meter()
    house.clock.advance(119)
    await house.protection.check_meter()
    assert (await house.set(CP_1=32))[0].limited_by == "meter_lost"

    house.clock.advance(1)
    await house.protection.check_meter()
    results = await house.set(CP_1=32, CP_2=32, CP_3=32)

    # 80 of 100 A, as without a meter, and 20 % less.
    assert [result.limit_a for result in results] == [32.0, 32.0, 16.0]
    assert results[2].limited_by == "site_limit"
    assert "20 %" in (house.protection.health_error() or "")


async def test_a_meter_that_comes_back_ends_the_reserve_at_once() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=10)
    house.meter_source.obstacle = "the broker is away"
    await house.protection.check_meter()
    house.clock.advance(200)
    await house.protection.check_meter()
    assert house.site.reserve_share

    house.meter_source.obstacle = None
    house.building_a = [85.0, 85.0, 85.0]
    await house.message()

    assert house.protection.health_error() is None
    assert (await house.set(CP_1=32))[0].limited_by == "measured_load"
    assert house.caps == {}


async def test_the_reserve_lowers_what_is_beyond_it_and_lets_go_what_was_held_down() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    await house.message()
    house.meter_source.obstacle = "away"
    await house.protection.check_meter()
    house.clock.advance(121)
    await house.protection.check_meter()
    await house.pass_time(1)

    assert house.caps == {}
    results = await house.set(CP_1=32, CP_2=32, CP_3=32)
    assert sum(result.limit_a or 0.0 for result in results) <= 80


async def test_a_clock_that_is_set_does_not_make_a_reading_old() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=10)

    house.clock.set_wall(house.clock.now().replace(hour=18))

    assert house.protection.health_error() is None


async def test_a_clock_that_jumps_is_followed_before_anything_is_raised() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=10)

    house.clock.advance(600)
    # The twin answers with what is now, as soon as it is asked.
    house.meter_source.reading = house.meter_source.reading and house.meter_source.reading.model_copy(
        update={"timestamp": house.clock.now()}
    )
    (result,) = await house.set(CP_1=16)

    assert result.outcome == "applied"


async def test_a_message_is_acted_upon_when_it_comes() -> None:
    house = MeteredHouse()
    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    running = asyncio.create_task(house.protection.run())
    await house.settled()

    house.building_a = [40.0, 40.0, 40.0]
    reading = house.meter_source.reading
    assert reading is not None
    house.meter_source.reading = reading.model_copy(
        update={"current_a": tuple(house.current_a()), "load_kw": sum(house.current_a()) * 0.23}
    )
    house.meter_source.updates.send()

    # The clock stands still: nothing but the message woke it.
    await house.until(lambda: house.really_a("CP-3") == 10.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_meter_that_raises_does_not_end_the_protection() -> None:
    house = MeteredHouse()

    class FailingMeter(FakeMeter):
        async def read(self, now: Any) -> Any:
            if self.reading is None:
                raise ZeroDivisionError
            return self.reading

    broken = FailingMeter()
    house.protection._source = broken  # pyright: ignore[reportPrivateUsage]
    running = asyncio.create_task(house.protection.run())
    await house.settled()
    assert "no limit is raised" in (house.protection.health_error() or "")

    await house.connect()
    house.meter_source = broken
    await house.message()
    assert house.protection.health_error() is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_a_meter_everything_is_as_ever() -> None:
    house = House()
    await house.connect()
    await house.plug("CP-1")

    assert (await house.set(CP_1=32))[0].outcome == "applied"
    assert house.limits.protection.health_error() is None
    assert list(house.limits.protection.metrics()) == []


async def test_metrics_tell_trips_and_the_state_of_the_meter() -> None:
    house = MeteredHouse()
    registry = CollectorRegistry()
    for metric in house.protection.metrics():
        registry.register(metric)
    assert registry.get_sample_value("charger_meter_usable") == 0

    await house.charging(CP_1=25, CP_2=25, CP_3=25)
    house.building_a = [40.0, 40.0, 40.0]
    await house.message()

    assert registry.get_sample_value("charger_meter_usable") == 1
    assert registry.get_sample_value("charger_protection_trips_total") == 1
    assert registry.get_sample_value("charger_protection_caps") == 1
    assert registry.get_sample_value("charger_meter_reserve") == 0


@pytest.mark.parametrize(
    ("source", "kind"),
    [("none", type(None)), ("simulated", TwinSource), ("mqtt", MqttSource), ("modbus", ModbusSource)],
)
def test_the_settings_name_the_source(source: Any, kind: type[Source[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGERS_METER_MODBUS_HOST", "127.0.0.1")
    site = SiteSettings.model_validate({"twin_url": "http://127.0.0.1:8006"})

    assert isinstance(make_meter_source(MeterSettings(source=source), site, SystemClock()), kind)


def test_a_simulated_meter_needs_its_twin() -> None:
    with pytest.raises(ConfigurationError, match="SITE_TWIN_URL"):
        make_meter_source(MeterSettings(source="simulated"), SiteSettings(), SystemClock())
