"""The life of a charge point on a real socket: it boots, a car comes, charges and leaves; in both versions."""

import asyncio
from typing import Any

import pytest
from ocpp.v16 import call as call16
from ocpp.v201 import call as call201
from tests.unit.site_twin.charge_points.central_system import (
    HASTE,
    PASSWORD,
    CentralSystem,
    Connect,
    Payload,
)

from ev_service.clock import SteppedClock
from site_twin.charge_points import EvsePlan, ParkedCars, Timing

pytestmark = pytest.mark.anyio

STATUS: Any = "StatusNotification"


def samples(values: Payload) -> dict[str, float]:
    """What meter values say, by measurand and phase."""
    sampled: list[Payload] = values["meter_value"][0]["sampled_value"]
    return {" ".join((one["measurand"], one.get("phase", ""))).strip(): float(one["value"]) for one in sampled}


async def test_a_1_6_charge_point_tells_a_visit_from_plugging_in_to_leaving(
    central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await connect("1.6")
    car = cars.plug(point)
    await central.until_heard("MeterValues")
    clock.advance(360)
    values = await central.until_heard("MeterValues", 2)
    cars.unplug("CP-1")
    stop = await central.until_heard("StopTransaction")
    await central.until(lambda: central.of("StatusNotification")[-1]["status"] == "Available")

    actions = [action for action, _ in central.heard if action not in ("StatusNotification", "MeterValues")]
    assert actions == ["BootNotification", "Authorize", "StartTransaction", "StopTransaction"]
    states = [status["status"] for status in central.of("StatusNotification")]
    assert states == ["Available", "Preparing", "Charging", "Available"]
    assert central.of("StartTransaction")[0]["id_tag"] == car.id_token
    assert (values["connector_id"], values["transaction_id"]) == (1, 1)
    assert samples(values) == {
        "Power.Active.Import": 22_080.0,
        "Current.Import L1": 32.0,
        "Current.Import L2": 32.0,
        "Current.Import L3": 32.0,
        "Current.Offered": 32.0,
        "Energy.Active.Import.Register": 2208.0,
    }
    assert (stop["transaction_id"], stop["meter_stop"], stop["reason"]) == (1, 2208, "EVDisconnected")
    assert central.logins == [f"CP-1:{PASSWORD}"]


async def test_a_2_0_1_station_tells_the_same_in_events_and_what_the_car_needs(
    central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await connect("2.0.1")
    car = cars.plug(point, energy_wanted_kwh=12.5, hours=6, max_current_a=16.0)
    needs = await central.until_heard("NotifyEVChargingNeeds")
    await central.until(lambda: central.events("Updated"))
    clock.advance(3600)
    await central.until(lambda: samples(central.events("Updated")[-1])["Energy.Active.Import.Register"] == 11_040)
    cars.unplug("CP-1")
    await central.until(lambda: central.of("StatusNotification")[-1]["connector_status"] == "Available")

    (started,), (ended,), updated = (central.events(kind) for kind in ("Started", "Ended", "Updated"))
    every = [started, *updated, ended]
    assert [event["seq_no"] for event in every] == list(range(len(every)))
    assert len({event["transaction_info"]["transaction_id"] for event in every}) == 1
    assert started["id_token"]["id_token"] == car.id_token
    assert {event["transaction_info"]["charging_state"] for event in updated} == {"Charging"}
    assert ended["transaction_info"]["stopped_reason"] == "EVDisconnected"
    assert needs["charging_needs"] == {
        "requested_energy_transfer": "AC_three_phase",
        "departure_time": "2026-06-21T18:00:00Z",
        "ac_charging_parameters": {
            "energy_amount": 12_500,
            "ev_min_current": 6,
            "ev_max_current": 16,
            "ev_max_voltage": 230,
        },
    }


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_driver_who_is_not_accepted_gets_no_power(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    central.token_status = "Invalid"
    point = await connect(version)
    cars.plug(point)
    await central.until_heard("Authorize")
    await asyncio.sleep(3 * (HASTE.tick_s or 0))

    assert point.compute_offer(1, cars.now()).limit_a == 0
    assert not central.of("StartTransaction")
    assert not central.of("TransactionEvent")


async def test_a_charge_point_on_one_phase_tells_its_own_line(
    central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await connect("1.6", evses=(EvsePlan(1, (2,), 32.0),))
    cars.plug(point)
    told = samples(await central.until_heard("MeterValues"))

    assert told["Current.Import L1"] == 32.0
    assert "Current.Import L2" not in told
    assert cars.meter("CP-1", 1).current_a == (0.0, 32.0, 0.0)


async def test_a_full_car_is_told_to_be_suspended_by_the_car(
    central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await connect("1.6")
    cars.plug(point, energy_wanted_kwh=5.0)
    await central.until_heard("MeterValues")
    clock.advance(3600)

    await central.until(lambda: central.of("StatusNotification")[-1]["status"] == "SuspendedEV")


async def test_meter_values_keep_to_their_pace_however_fast_the_clock_goes(
    central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await connect("1.6", timing=Timing(tick_s=0.001, meter_values_per_s=3.0))
    cars.plug(point)
    await central.until_heard("MeterValues")
    began = asyncio.get_running_loop().time()
    while (elapsed_s := asyncio.get_running_loop().time() - began) < 0.3:
        clock.advance(60)
        await asyncio.sleep(0.002)

    # Three in reserve, and three a second.
    assert 2 <= len(central.of("MeterValues")) <= 4 + 3 * elapsed_s


async def test_a_station_that_is_not_accepted_yet_asks_again_and_tells_nothing_before(
    central: CentralSystem, connect: Connect
) -> None:
    central.boot_status, central.boot_interval_s = "Pending", 0

    async def accept() -> None:
        await central.until_heard("BootNotification", 2)
        central.boot_status = "Accepted"

    await asyncio.gather(connect("2.0.1"), accept())

    actions = [action for action, _ in central.heard]
    await central.until_heard("StatusNotification")
    assert actions[:2] == ["BootNotification", "BootNotification"]
    assert central.of("BootNotification")[0]["reason"] == "PowerUp"


async def test_a_heartbeat_comes_when_nothing_else_does(central: CentralSystem, connect: Connect) -> None:
    point = await connect("1.6", cars=None)
    point.station.configuration.heartbeat_s = 0.02
    await central.call(call16.TriggerMessage(requested_message=STATUS))

    await central.until_heard("Heartbeat", 2)


@pytest.mark.parametrize(("version", "order"), [("1.6", call16.TriggerMessage), ("2.0.1", call201.TriggerMessage)])
async def test_what_is_asked_for_is_told_again(
    version: str, order: Any, central: CentralSystem, connect: Connect
) -> None:
    await connect(version, cars=None)
    await central.until_heard("StatusNotification")

    for action, times in (("BootNotification", 2), ("Heartbeat", 1), ("StatusNotification", 2), ("MeterValues", 1)):
        assert (await central.call(order(requested_message=action))).status == "Accepted"
        await central.until_heard(action, times)
    assert (await central.call(order(requested_message="FirmwareStatusNotification"))).status == "NotImplemented"
