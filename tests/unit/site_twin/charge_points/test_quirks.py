"""The bad habits of real chargers, as they show to the central system and to the car."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ocpp.v16 import call as call16
from ocpp.v201 import call as call201
from tests.unit.site_twin.charge_points.central_system import HASTE, CentralSystem, Connect, booted
from tests.unit.site_twin.charge_points.orders import set_profile

from ev_service.clock import SteppedClock
from site_twin.charge_points import ChargePoint, ParkedCars, Quirk
from site_twin.charge_points.protocol_version import StopReason
from site_twin.charge_points.quirks import MEANINGS

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["1.6", "2.0.1"])


async def charging(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars, *quirks: Quirk
) -> ChargePoint:
    point: ChargePoint = await connect(version, quirks=quirks)
    cars.plug(point)
    await central.until(lambda: central.of("StartTransaction") or central.events("Started"))
    await point.until(lambda: point.station.transactions()[1] is not None)
    return point


def limit_a(point: ChargePoint) -> float:
    return point.compute_offer(1, point.station.cars.now()).limit_a


async def test_every_quirk_says_what_it_does_to_who_orders_it_and_to_who_reads_of_it() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "charge-points.md").read_text(encoding="utf-8")

    assert set(MEANINGS) == set(Quirk)
    assert set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == set(Quirk)


@both
async def test_a_profile_that_comes_while_suspended_is_accepted_and_forgotten(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.IGNORES_PROFILES_WHILE_SUSPENDED)
    assert (await central.call(set_profile(point, 0.0))).status == "Accepted"
    assert (await central.call(set_profile(point, 16.0))).status == "Accepted"

    assert limit_a(point) == 0.0


@both
async def test_amperes_only_rejects_watts_and_says_so(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.AMPERES_ONLY)

    assert (await central.call(set_profile(point, 4000.0, unit="W"))).status == "Rejected"
    assert (await central.call(set_profile(point, 10.0))).status == "Accepted"


@both
async def test_watts_only_rejects_amperes(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.WATTS_ONLY)

    assert (await central.call(set_profile(point, 10.0))).status == "Rejected"
    assert (await central.call(set_profile(point, 6900.0, unit="W"))).status == "Accepted"
    assert limit_a(point) == 10.0


@both
@pytest.mark.parametrize(
    ("quirk", "default"), [(Quirk.REFUSES_TX_PROFILES, "Accepted"), (Quirk.STATION_PROFILES_ONLY, "Rejected")]
)
async def test_purposes_that_a_charger_does_not_take_are_rejected(
    version: str, quirk: Quirk, default: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, quirk)
    station = "ChargePointMaxProfile" if version == "1.6" else "ChargingStationMaxProfile"

    assert (await central.call(set_profile(point, 10.0))).status == "Rejected"
    assert (await central.call(set_profile(point, 9.0, purpose="TxDefaultProfile"))).status == default
    assert (await central.call(set_profile(point, 8.0, purpose=station, evse_id=0))).status == "Accepted"
    assert limit_a(point) == 8.0


async def test_a_composite_schedule_is_in_watts_where_a_charger_takes_nothing_else(
    central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging("1.6", central, connect, cars, Quirk.WATTS_ONLY)
    await central.call(set_profile(point, 6900.0, unit="W"))

    answer = await central.call(call16.GetCompositeSchedule(connector_id=1, duration=60))

    assert answer.charging_schedule["charging_rate_unit"] == "W"
    assert answer.charging_schedule["charging_schedule_period"][0]["limit"] == 6900.0


@both
async def test_stack_level_0_only_rejects_every_other(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.STACK_LEVEL_ZERO_ONLY)

    assert (await central.call(set_profile(point, 10.0, stack_level=1))).status == "Rejected"
    assert (await central.call(set_profile(point, 10.0, stack_level=0))).status == "Accepted"


async def test_what_a_charger_can_not_do_stands_in_its_configuration(central: CentralSystem, connect: Connect) -> None:
    await connect("1.6", quirks=(Quirk.STACK_LEVEL_ZERO_ONLY, Quirk.AMPERES_ONLY), cars=None)
    keys = ["ChargeProfileMaxStackLevel", "ChargingScheduleAllowedChargingRateUnit"]
    answer = await central.call(call16.GetConfiguration(key=keys))

    assert [one["value"] for one in answer.configuration_key] == ["0", "Current"]


@both
async def test_it_resumes_at_full_power_until_the_next_profile(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.RESUMES_AT_FULL_POWER)
    await central.call(set_profile(point, 0.0))
    await central.call(set_profile(point, 8.0))
    assert limit_a(point) == 32.0

    await central.call(set_profile(point, 8.0))
    assert limit_a(point) == 8.0


async def test_it_resumes_at_full_power_also_when_the_pause_lapses(
    central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await charging("1.6", central, connect, cars, Quirk.RESUMES_AT_FULL_POWER)
    await central.call(set_profile(point, 6.0, purpose="TxDefaultProfile", stack_level=0))
    await central.call(set_profile(point, 0.0, until=clock.now() + timedelta(seconds=45)))
    clock.advance(60)

    async with asyncio.timeout(5):
        await point.until(lambda: limit_a(point) == 32.0)


@both
async def test_a_late_answer_comes_late_and_the_limit_with_it(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.ANSWERS_LATE)
    began = asyncio.get_running_loop().time()
    call = asyncio.create_task(central.call(set_profile(point, 10.0)))
    # What else is said meanwhile is not held up.
    before = len(central.heard)
    cars.unplug("CP-1")
    cars.plug(point)
    await central.until(lambda: len(central.heard) > before)

    await asyncio.wait([call])
    assert asyncio.get_running_loop().time() - began >= HASTE.late_s


@both
async def test_rejected_is_the_answer_and_nothing_changes(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.ANSWERS_REJECTED)

    assert (await central.call(set_profile(point, 10.0))).status == "Rejected"
    assert limit_a(point) == 32.0


@pytest.mark.parametrize(("quirk", "in_force_a"), [(Quirk.NEVER_ANSWERS, 32.0), (Quirk.NEVER_CONFIRMS, 10.0)])
@both
async def test_no_answer_may_mean_that_it_obeys_or_not(
    version: str, quirk: Quirk, in_force_a: float, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, quirk)
    call = asyncio.create_task(central.call(set_profile(point, 10.0)))
    if quirk is Quirk.NEVER_CONFIRMS:
        await central.until(lambda: limit_a(point) == in_force_a)
    # An answer to what was asked later would stand behind the one that never comes.
    cars.unplug("CP-1")
    await central.until(lambda: central.of("StopTransaction") or central.events("Ended"))

    assert not call.done()
    call.cancel()


@both
async def test_it_drops_the_connection_in_the_middle_and_comes_back_as_it_was(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars, Quirk.DISCONNECTS_IN_PROFILE)
    name = point.station.transactions()
    call = asyncio.create_task(central.call(set_profile(point, 10.0)))
    await central.until(lambda: len(central.connections) == 2)
    point.station.quirks.clear()
    await booted(point)

    call.cancel()
    assert limit_a(point) == 32.0
    assert point.station.transactions() == name
    assert (await central.call(set_profile(point, 10.0))).status == "Accepted"


@both
async def test_it_reboots_once_for_each_order(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point: ChargePoint = await connect(version)
    cars.plug(point)
    cars.ordered["CP-1"].add(Quirk.REBOOTS.value)
    boot: dict[str, Any] = await central.until_heard("BootNotification", 2)
    # Not the second of a message: what was not answered before the reboot is sent again after it.
    await point.until(lambda: point.is_booted and point.station.transactions()[1] is not None)
    cars.unplug("CP-1")
    await central.until(lambda: len(central.of("StopTransaction")) == 2 or len(central.events("Ended")) == 2)

    assert len(central.of("BootNotification")) == 2
    if version == "1.6":
        assert [stop["reason"] for stop in central.of("StopTransaction")] == ["PowerLoss", "EVDisconnected"]
    else:
        assert boot["reason"] == "Watchdog"
        interrupted = central.events("Ended")[0]
        assert interrupted["offline"]
        assert interrupted["transaction_info"]["stopped_reason"] == "PowerLoss"


@both
async def test_without_its_meter_it_charges_and_tells_no_current(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    await charging(version, central, connect, cars, Quirk.LOSES_METER)
    if version == "1.6":
        await central.until(lambda: central.of("StatusNotification")[-1]["status"] == "Charging")
    else:
        await central.until(lambda: central.events("Updated"))
    clock.advance(60)
    cars.unplug("CP-1")
    await central.until(lambda: central.of("StopTransaction") or central.events("Ended"))

    assert not central.of("MeterValues")
    assert all("meter_value" not in event for event in central.events("Updated"))


@both
async def test_a_charger_that_waits_for_a_remote_start_begins_nothing_by_itself(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point: ChargePoint = await connect(version, quirks=(Quirk.WAITS_FOR_REMOTE_START,))
    cars.plug(point)
    waiting = "Preparing" if version == "1.6" else "Occupied"
    field = "status" if version == "1.6" else "connector_status"
    await central.until(lambda: [one[field] for one in central.of("StatusNotification")][-1:] == [waiting])
    start: Any = (
        call16.RemoteStartTransaction(id_tag="operator", connector_id=1)
        if version == "1.6"
        else call201.RequestStartTransaction(
            id_token={"id_token": "operator", "type": "Central"},  # type: ignore[arg-type]
            remote_start_id=1,
            evse_id=1,
        )
    )
    assert not central.of("Authorize")
    assert point.station.transactions() == {1: None}

    assert (await central.call(start)).status == "Accepted"
    await central.until(lambda: central.of("StartTransaction") or central.events("Started"))
    await point.until(lambda: point.station.transactions()[1] is not None)
    point.station.quirks.clear()
    point.station.end(point.station.evses[1], StopReason.REMOTE)
    point.station.tick()

    assert not central.of("Authorize")
    assert point.station.transactions() == {1: None}


async def test_a_car_may_draw_more_than_it_is_allowed(
    central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point: ChargePoint = await connect("1.6")
    cars.plug(point, draws=1.25)
    await point.until(lambda: point.station.transactions()[1] is not None)
    await central.call(set_profile(point, 10.0))

    assert cars.meter("CP-1", 1).current_a == (12.5, 12.5, 12.5)
