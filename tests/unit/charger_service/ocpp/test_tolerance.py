"""Small offences against the schema: what is clear counts, the offence is told, the rest is refused."""

from typing import Any

import pytest

from charger_service.ocpp import tolerance
from charger_service.ports import CommandStatus, Reply, SchemaViolation
from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio

STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Faulted"}
TIME = "2026-06-21T12:00:00Z"


@pytest.mark.parametrize(
    ("offence", "reason"),
    [
        ({"errorCode": "Error"}, "errorCode: not one of the standard's values"),
        ({"errorCode": None}, "errorCode: null in place of string"),
        ({"info": "x" * 77}, "info: longer than 50 characters"),
        ({"vendorErrorCode": None}, "vendorErrorCode: null in place of string"),
        ({"vendorErrorCode": 12}, "vendorErrorCode: number in place of string"),
        ({"connectorId": "1"}, "connectorId: text in place of integer"),
        ({"connectorId": 1.0}, "connectorId: number in place of integer"),
        ({"status": "faulted"}, "status: not one of the standard's values"),
        ({"more": {"of": "this"}}, "payload: unknown field more"),
        ({"vendorId": {"no": "text"}}, "vendorId: object in place of string"),
    ],
)
async def test_a_state_counts_in_spite_of_a_small_offence(site: Any, offence: dict[str, Any], reason: str) -> None:
    charger = await site.booted("CP-16")

    await charger.call("StatusNotification", STATUS | offence)

    assert site.heard.of("evse") == [("CP-16", 1, EvseState.FAULTED)]
    assert ("CP-16", SchemaViolation("StatusNotification", reason, is_refused=False)) in site.heard.of("violation")
    assert site.counted("ocpp_offences_total", ocpp_version="1.6", outcome="repaired") >= 1


async def test_a_state_without_an_error_code_counts(site: Any) -> None:
    charger = await site.booted("CP-16")

    await charger.call("StatusNotification", {"connectorId": 1, "status": "Faulted"})

    assert site.heard.of("evse") == [("CP-16", 1, EvseState.FAULTED)]


@pytest.mark.parametrize("unclear", [{"status": "Broken"}, {"status": None}, {"connectorId": "one"}])
async def test_what_cannot_be_understood_is_refused_and_told(site: Any, unclear: dict[str, Any]) -> None:
    charger = await site.booted("CP-16")

    answer = await charger.raw_call("StatusNotification", STATUS | unclear)

    assert answer[0] == 4
    assert site.heard.of("evse") == []
    (told,) = site.heard.of("violation")
    assert told[1].is_refused
    assert site.counted("ocpp_offences_total", ocpp_version="1.6", outcome="refused") == 1


async def test_values_as_numbers_count_and_a_sample_that_is_unclear_takes_no_other_with_it(site: Any) -> None:
    charger = await site.booted("CP-16")
    samples = [
        {"value": 16.0, "measurand": "Current.Import", "phase": "L1", "unit": "A"},
        {"value": "7", "measurand": "Current.Import", "phase": "Z"},
        {"value": "3680", "measurand": "Power.Active.Import", "unit": "w", "context": "Often"},
        {"value": "1000000", "measurand": "My.Own.Value"},
    ]
    value = {"timestamp": TIME, "sampledValue": samples}

    await charger.call("MeterValues", {"connectorId": 1, "transactionId": None, "meterValue": [value]})

    ((_, _, reading),) = site.heard.of("meter_values")
    assert reading.current_a == (16.0, 0.0, 0.0)
    assert (reading.power_kw, reading.energy_kwh) == (3.68, None)


async def test_an_event_of_2_0_1_counts_with_a_reason_of_the_stations_own(site: Any) -> None:
    charger = await site.booted("CP-201")
    event: dict[str, Any] = {
        "eventType": "Started",
        "timestamp": TIME,
        "triggerReason": "Because",
        "seqNo": "0",
        "transactionInfo": {"transactionId": 42, "chargingState": "Charging", "vendor": 1},
        "evse": {"id": 1, "connectorId": None},
        "meterValue": {"timestamp": TIME, "sampledValue": {"value": "16", "measurand": "Current.Import"}},
    }

    await charger.call("TransactionEvent", event)

    ((started,),) = site.heard.of("started")
    assert started.transaction_id == "42"
    assert site.heard.of("meter_values")[0][2].current_each_a == 16.0


async def test_an_identifier_is_never_cut(site: Any) -> None:
    charger = await site.booted("CP-16")

    answer = await charger.raw_call("Authorize", {"idTag": "X" * 21})

    assert answer[0] == 4


async def test_a_sloppy_answer_counts_and_its_offence_is_told(site: Any) -> None:
    charger = await site.connect("CP-16")
    unit = {"key": "ChargingScheduleAllowedChargingRateUnit", "readonly": "true", "value": "Power"}
    level = {"key": "ChargeProfileMaxStackLevel", "value": 7}
    charger.answers["GetConfiguration"] = {"configurationKey": [unit, level], "unknownKey": None, "more": 1}
    await charger.boot()
    await charger.until_asked("TriggerMessage", 4)

    ((_, abilities),) = site.heard.of("ready")
    assert abilities.max_stack_level == 7
    assert not abilities.takes_amperes
    assert {told[1].message for told in site.heard.of("violation")} == {"GetConfiguration"}


async def test_a_composite_schedule_finer_than_tenths_counts(site: Any) -> None:
    charger = await site.booted("CP-16")
    schedule = {
        "chargingRateUnit": "A",
        "minChargingRate": None,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9.57}],
    }
    charger.answers["GetCompositeSchedule"] = {"status": "Accepted", "connectorId": 1, "chargingSchedule": schedule}

    assert await site.central.limit_in_force("CP-16", 1) == (Reply(CommandStatus.ACCEPTED), pytest.approx(9.5))


async def test_a_status_of_the_chargers_own_is_never_read_as_another(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["ClearChargingProfile"] = {"status": "Cleared"}

    assert (await site.central.clear_limit("CP-16", 1)).answer is CommandStatus.NO_ANSWER

    charger.answers["ClearChargingProfile"] = {"status": "Rejected"}

    assert (await site.central.clear_limit("CP-16", 1)).answer is CommandStatus.REJECTED


async def test_an_empty_list_in_place_of_nothing_is_understood(site: Any) -> None:
    charger = await site.booted("CP-16")

    assert (await charger.raw_call("Heartbeat", []))[0] == 3
    assert (await charger.raw_call("Heartbeat", None))[0] == 3


def test_a_payload_with_more_errors_than_can_be_looked_at_is_refused() -> None:
    from jsonschema import Draft4Validator

    validator = Draft4Validator({"type": "array", "items": {"type": "string"}})

    assert tolerance.repair([1] * 4_000, validator) is not None
    assert tolerance.repair([1] * 6_000, validator) is None


async def test_no_reason_holds_what_the_charger_wrote(site: Any) -> None:
    charger = await site.booted("CP-16")

    await charger.raw_call("Authorize", {"idTag": "SECRET-TOKEN" * 5, "x\ud800\n": 1})

    reasons = [told[1].reason for told in site.heard.of("violation")]
    assert reasons
    assert not any("SECRET" in reason or "\n" in reason for reason in reasons)


async def test_a_long_end_with_offences_in_each_sample_ends_the_session(site: Any) -> None:
    charger = await site.booted("CP-16")
    sample = {"value": 16.0, "measurand": "Current.Import", "unit": None, "location": None, "context": None}
    samples = [{"timestamp": TIME, "sampledValue": [sample] * 5}] * 400
    end = {"transactionId": 7, "meterStop": 5000, "timestamp": TIME, "reason": "Local", "transactionData": samples}

    answer = await charger.raw_call("StopTransaction", end)

    assert answer[0] == 3
    (ended,) = site.heard.of("ended")
    assert ended[0].transaction_id == "7"
    reasons = [violation.reason for _, violation in site.heard.of("violation")]
    assert any(reason.startswith("transactionData: left out") for reason in reasons)
    assert not any(violation.is_refused for _, violation in site.heard.of("violation"))


async def test_too_many_offences_in_what_is_demanded_are_refused(site: Any) -> None:
    charger = await site.booted("CP-16")
    sample = {"value": 16.0, "unit": None, "location": None, "context": None}
    values = [{"timestamp": TIME, "sampledValue": [sample] * 5}] * 400

    assert (await charger.raw_call("MeterValues", {"connectorId": 1, "meterValue": values}))[0] == 4


@pytest.mark.parametrize("vendor", [{}, {"chargePointVendor": None, "chargePointModel": None}])
async def test_a_charger_that_does_not_say_its_make_boots(site: Any, vendor: dict[str, Any]) -> None:
    charger = await site.connect("CP-16")

    answer = await charger.call("BootNotification", vendor)

    assert answer["status"] == "Accepted"
