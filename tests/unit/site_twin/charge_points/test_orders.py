"""What a charge point does when the central system orders something, in both versions."""

from datetime import timedelta
from typing import Any

import pytest
from ocpp.v16 import call as call16
from ocpp.v201 import call as call201
from tests.unit.site_twin.charge_points.central_system import CentralSystem, Connect, booted
from tests.unit.site_twin.charge_points.orders import schedule, set_profile

from ev_service.clock import SteppedClock
from site_twin.charge_points import ChargePoint, EvsePlan, ParkedCars

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["1.6", "2.0.1"])
STATION_MAX = {"1.6": "ChargePointMaxProfile", "2.0.1": "ChargingStationMaxProfile"}


async def charging(version: str, central: CentralSystem, connect: Connect, cars: ParkedCars) -> ChargePoint:
    """A charge point with a car whose transaction both sides know."""
    point: ChargePoint = await connect(version)
    cars.plug(point)
    await central.until(lambda: central.of("MeterValues") or central.events("Updated"))
    return point


def limit_a(point: ChargePoint, evse_id: int = 1) -> float:
    return point.compute_offer(evse_id, point.station.cars.now()).limit_a


@both
async def test_a_limit_is_in_force_when_it_is_accepted_and_its_effect_is_told(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars)

    assert (await central.call(set_profile(point, 10.0))).status == "Accepted"
    assert limit_a(point) == 10.0

    def reported() -> dict[str, float]:
        report = (central.of("MeterValues") or central.events("Updated"))[-1]
        return {one["measurand"]: float(one["value"]) for one in report["meter_value"][0]["sampled_value"]}

    # What was measured before may still arrive.
    await central.until(lambda: reported()["Current.Offered"] == 10.0)
    assert reported()["Current.Import"] == 10.0


@both
async def test_0_a_pauses_the_transaction_and_does_not_end_it(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars)
    await central.call(set_profile(point, 0.0))
    if version == "1.6":
        await central.until(lambda: central.of("StatusNotification")[-1]["status"] == "SuspendedEVSE")
    else:
        await central.until(
            lambda: central.events("Updated")[-1]["transaction_info"]["charging_state"] == "SuspendedEVSE"
        )
    await central.call(set_profile(point, 16.0))

    assert limit_a(point) == 16.0
    assert not central.of("StopTransaction")
    assert not central.events("Ended")


@both
async def test_a_limit_lapses_to_the_default_profile_also_in_the_middle_of_a_jump(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await charging(version, central, connect, cars)
    lapses = clock.now() + timedelta(seconds=45)
    default = set_profile(point, 6.0, purpose="TxDefaultProfile", stack_level=0)
    assert (await central.call(default)).status == "Accepted"
    assert (await central.call(set_profile(point, 16.0, until=lapses))).status == "Accepted"
    began = clock.now()

    assert limit_a(point) == 16.0
    assert point.station.next_change(1, began) == lapses
    clock.advance(300)
    assert point.compute_offer(1, began + timedelta(seconds=44)).limit_a == 16.0
    assert point.compute_offer(1, lapses).limit_a == 6.0


@both
async def test_watts_phases_and_the_whole_chargers_limit_bind_too(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars)

    assert (await central.call(set_profile(point, 6_900.0, unit="W"))).status == "Accepted"
    assert limit_a(point) == 10.0
    assert (await central.call(set_profile(point, 16.0, phases=1))).status == "Accepted"
    assert point.compute_offer(1, cars.now()).phases == 1
    station = set_profile(point, 8.0, purpose=STATION_MAX[version], evse_id=0)
    assert (await central.call(station)).status == "Accepted"
    assert limit_a(point) == 8.0


@both
async def test_profiles_of_nothing_that_runs_are_rejected(
    version: str, central: CentralSystem, connect: Connect
) -> None:
    point = await connect(version, cars=None)

    assert (await central.call(set_profile(point, 10.0, transaction_id="7"))).status == "Rejected"
    default = set_profile(point, 10.0, purpose="TxDefaultProfile", evse_id=5)
    assert (await central.call(default)).status == "Rejected"
    bad = set_profile(point, 10.0, purpose="TxDefaultProfile")
    content: Any = bad.cs_charging_profiles if version == "1.6" else bad.charging_profile
    assert (await central.call(bad)).status == "Accepted"
    content["valid_to"] = "yesterday"
    assert (await central.call(bad)).status == "Rejected"


@both
async def test_profiles_are_cleared_by_what_they_are(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars)
    await central.call(set_profile(point, 6.0, purpose="TxDefaultProfile", stack_level=0))
    await central.call(set_profile(point, 10.0))
    tx: Any = "TxProfile"
    if version == "1.6":
        clear, clear_all = call16.ClearChargingProfile(charging_profile_purpose=tx), call16.ClearChargingProfile()
    else:
        clear = call201.ClearChargingProfile(charging_profile_criteria={"charging_profile_purpose": tx})  # type: ignore[arg-type]
        clear_all = call201.ClearChargingProfile()

    assert (await central.call(clear)).status == "Accepted"
    assert limit_a(point) == 6.0
    assert (await central.call(clear)).status == "Unknown"
    assert (await central.call(clear_all)).status == "Accepted"
    assert limit_a(point) == 32.0


@both
async def test_the_composite_schedule_says_what_is_in_force_and_what_follows(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars, clock: SteppedClock
) -> None:
    point = await charging(version, central, connect, cars)
    await central.call(set_profile(point, 6.0, purpose="TxDefaultProfile", stack_level=0))
    await central.call(set_profile(point, 16.0, until=clock.now() + timedelta(seconds=45)))
    whole = set_profile(point, 20.0, purpose=STATION_MAX[version], evse_id=0)
    await central.call(whole)

    async def composite(evse_id: int) -> Any:
        if version == "1.6":
            return await central.call(call16.GetCompositeSchedule(connector_id=evse_id, duration=60))
        return await central.call(call201.GetCompositeSchedule(evse_id=evse_id, duration=60))

    def periods(answer: Any) -> list[tuple[int, float]]:
        held = answer.charging_schedule if version == "1.6" else answer.schedule
        return [(one["start_period"], one["limit"]) for one in held["charging_schedule_period"]]

    assert periods(await composite(1)) == [(0, 16.0), (45, 6.0)]
    assert periods(await composite(0)) == [(0, 20.0)]
    assert (await composite(9)).status == "Rejected"


@both
async def test_a_transaction_is_stopped_and_started_from_afar(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars)
    name = point.station.transactions()[1]
    assert name is not None
    profile: Any = {
        "stack_level": 1,
        "charging_profile_purpose": "TxProfile",
        "charging_profile_kind": "Relative",
    }
    if version == "1.6":
        stop: Any = call16.RemoteStopTransaction(transaction_id=int(name))
        profile |= {"charging_profile_id": 3, "charging_schedule": schedule(8.0)}
        start: Any = call16.RemoteStartTransaction(id_tag="operator", connector_id=1, charging_profile=profile)
    else:
        stop = call201.RequestStopTransaction(transaction_id=name)
        profile |= {"id": 3, "charging_schedule": [{"id": 3, **schedule(8.0)}]}
        token: Any = {"id_token": "operator", "type": "Central"}
        start = call201.RequestStartTransaction(id_token=token, remote_start_id=5, evse_id=1, charging_profile=profile)

    assert (await central.call(start)).status == "Rejected"
    assert (await central.call(stop)).status == "Accepted"
    assert (await central.call(stop)).status == "Rejected"
    assert limit_a(point) == 0.0
    assert (await central.call(start)).status == "Accepted"
    assert limit_a(point) == 8.0
    if version == "1.6":
        assert (await central.until_heard("StopTransaction"))["reason"] == "Remote"
        assert (await central.until_heard("StartTransaction", 2))["id_tag"] == "operator"
    else:
        await central.until(lambda: len(central.events("Started")) == 2)
        assert central.events("Started")[1]["trigger_reason"] == "RemoteStart"
        assert central.events("Started")[1]["transaction_info"]["remote_start_id"] == 5


async def test_two_evses_share_the_whole_chargers_limit_while_both_have_a_car(
    central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await connect("2.0.1", evses=(EvsePlan(1), EvsePlan(2)))
    await central.call(set_profile(point, 20.0, purpose=STATION_MAX["2.0.1"], evse_id=0))
    for evse_id in (1, 2):
        cars.plug(point, evse_id)
    await central.until(lambda: len(central.events("Started")) == 2)
    assert [limit_a(point, evse_id) for evse_id in (1, 2)] == [10.0, 10.0]

    cars.unplug("CP-1", 2)
    await central.until(lambda: central.events("Ended"))
    assert limit_a(point, 1) == 20.0


async def test_1_6_keys_are_read_and_set(central: CentralSystem, connect: Connect) -> None:
    point = await connect("1.6", cars=None)
    answer = await central.call(call16.GetConfiguration(key=["ChargeProfileMaxStackLevel", "NoSuchKey"]))
    change = call16.ChangeConfiguration

    assert answer.configuration_key == [{"key": "ChargeProfileMaxStackLevel", "readonly": True, "value": "8"}]
    assert answer.unknown_key == ["NoSuchKey"]
    assert len((await central.call(call16.GetConfiguration())).configuration_key) > 10
    assert (await central.call(change("MeterValueSampleInterval", "30"))).status == "Accepted"
    assert point.station.configuration.meter_interval_s == 30
    assert (await central.call(change("MeterValueSampleInterval", "soon"))).status == "Rejected"
    assert (await central.call(change("NumberOfConnectors", "9"))).status == "Rejected"
    assert (await central.call(change("AuthorizationKey", "x" * 20))).status == "NotSupported"


async def test_2_0_1_variables_are_read_and_set(central: CentralSystem, connect: Connect) -> None:
    point = await connect("2.0.1", cars=None)

    def variable(component: str, name: str, **more: Any) -> Any:
        return {"component": {"name": component}, "variable": {"name": name}, **more}

    asked = [variable("SmartChargingCtrlr", "RateUnit"), variable("SmartChargingCtrlr", "Nothing"), variable("X", "Y")]
    read = (await central.call(call201.GetVariables(get_variable_data=asked))).get_variable_result
    orders = [
        variable("SampledDataCtrlr", "TxUpdatedInterval", attribute_value="30"),
        variable("SmartChargingCtrlr", "RateUnit", attribute_value="W"),
        variable("SecurityCtrlr", "BasicAuthPassword", attribute_value="x" * 20),
    ]
    written = (await central.call(call201.SetVariables(set_variable_data=orders))).set_variable_result

    assert read[0]["attribute_value"] == "A,W"
    assert [one["attribute_status"] for one in read] == ["Accepted", "UnknownVariable", "UnknownComponent"]
    assert [one["attribute_status"] for one in written] == ["Accepted", "Rejected", "UnknownComponent"]
    assert point.station.configuration.meter_interval_s == 30


async def test_what_it_does_not_know_it_says_so(central: CentralSystem, connect: Connect) -> None:
    await connect("1.6", cars=None)

    with pytest.raises(Exception, match="UnlockConnector"):
        await central.call(call16.UnlockConnector(connector_id=1))


@pytest.mark.parametrize(("version", "kind", "reason"), [("1.6", "Soft", "SoftReset"), ("1.6", "Hard", "HardReset")])
async def test_a_1_6_reset_ends_the_transaction_and_the_car_begins_another(
    version: str, kind: Any, reason: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging(version, central, connect, cars)
    await central.call(set_profile(point, 6.0, purpose="TxDefaultProfile", stack_level=0))
    await central.call(set_profile(point, 10.0))

    assert (await central.call(call16.Reset(type=kind))).status == "Accepted"
    await central.until_heard("StartTransaction", 2)

    assert len(central.of("BootNotification")) == 2
    assert central.of("StopTransaction")[0]["reason"] == reason
    assert limit_a(point) == 6.0


async def test_a_2_0_1_station_resets_at_once_or_when_it_is_idle(
    central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point = await charging("2.0.1", central, connect, cars)
    on_idle: Any = "OnIdle"
    at_once: Any = "Immediate"

    assert (await central.call(call201.Reset(type=on_idle))).status == "Scheduled"
    cars.unplug("CP-1")
    second = await central.until_heard("BootNotification", 2)
    assert second["reason"] == "RemoteReset"
    await booted(point)
    assert (await central.call(call201.Reset(type=at_once))).status == "Accepted"
    await central.until_heard("BootNotification", 3)
