"""What chargers of OCPP 1.6 say, and what they are asked."""

from datetime import timedelta
from typing import Any

import pytest

from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    CommandStatus,
    MeterReading,
    Reply,
    TransactionEnded,
    TransactionLimit,
    TransactionStarted,
)
from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio

NOON = "2026-06-21T12:00:00Z"
START = {"connectorId": 1, "idTag": "TAG", "meterStart": 1500, "timestamp": "2026-06-21T11:59:00Z"}


async def test_a_boot_is_accepted_with_the_runs_time_and_reported(site: Any) -> None:
    charger = await site.connect("CP-16")

    answer = await charger.boot()

    assert answer == {"status": "Accepted", "currentTime": NOON, "interval": 60}
    await site.heard.until("boot", "CP-16", ChargerModel("Acme", "One", "1.2"))


async def test_a_heartbeat_is_answered_with_the_runs_time(site: Any) -> None:
    charger = await site.connect("CP-16")
    site.clock.advance(30)

    assert await charger.call("Heartbeat", {}) == {"currentTime": "2026-06-21T12:00:30Z"}
    assert site.central.last_seen("CP-16") == site.clock.now()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Available", EvseState.AVAILABLE),
        ("Preparing", EvseState.OCCUPIED),
        ("Charging", EvseState.CHARGING),
        ("SuspendedEVSE", EvseState.SUSPENDED_EVSE),
        ("SuspendedEV", EvseState.SUSPENDED_EV),
        ("Finishing", EvseState.OCCUPIED),
        ("Reserved", EvseState.RESERVED),
        ("Unavailable", EvseState.UNAVAILABLE),
        ("Faulted", EvseState.FAULTED),
    ],
)
async def test_every_status_has_its_state(site: Any, status: str, state: EvseState) -> None:
    charger = await site.connect("CP-16")

    await charger.call("StatusNotification", {"connectorId": 2, "errorCode": "NoError", "status": status})

    assert site.heard.of("evse") == [("CP-16", 2, state)]


async def test_what_is_said_of_the_whole_or_of_an_unregistered_connector_is_not_passed_on(site: Any) -> None:
    charger = await site.connect("CP-16")
    for connector in (0, 7):
        await charger.call(
            "StatusNotification", {"connectorId": connector, "errorCode": "NoError", "status": "Faulted"}
        )
        await charger.call("MeterValues", {"connectorId": connector, "meterValue": [build_meter_value("1")]})

    refused = await charger.call("StartTransaction", START | {"connectorId": 7})

    assert refused["idTagInfo"] == {"status": "Invalid"}
    assert [kind for kind, *_ in site.heard.events if kind in ("evse", "meter_values", "started")] == []


async def test_any_token_is_authorized(site: Any) -> None:
    charger = await site.connect("CP-16")

    assert await charger.call("Authorize", {"idTag": "TAG"}) == {"idTagInfo": {"status": "Accepted"}}


async def test_a_transaction_gets_a_number_and_is_reported_from_beginning_to_end(site: Any) -> None:
    charger = await site.connect("CP-16")

    answer = await charger.call("StartTransaction", START)
    number = answer["transactionId"]
    stop = {"transactionId": number, "meterStop": 9500, "timestamp": NOON, "reason": "EVDisconnected", "idTag": "TAG"}
    stopped = await charger.call("StopTransaction", stop)

    assert number > 0
    assert stopped == {"idTagInfo": {"status": "Accepted"}}
    minute = timedelta(minutes=1)
    started = TransactionStarted("CP-16", 1, str(number), site.clock.now() - minute, energy_kwh=1.5, id_token="TAG")
    ended = TransactionEnded("CP-16", str(number), site.clock.now(), energy_kwh=9.5, reason="EVDisconnected")
    assert site.heard.of("started") == [(started,)]
    assert site.heard.of("ended") == [(ended,)]


async def test_a_start_repeated_after_a_lost_answer_makes_no_second_transaction(site: Any) -> None:
    charger = await site.connect("CP-16")
    first = await charger.call("StartTransaction", START)
    await charger.hang_up()
    charger = await site.connect("CP-16")

    again = await charger.call("StartTransaction", START)
    other = await charger.call("StartTransaction", START | {"connectorId": 2})

    assert again["transactionId"] == first["transactionId"]
    assert other["transactionId"] != first["transactionId"]
    assert len({started.transaction_id for (started,) in site.heard.of("started")}) == 2


async def test_a_stop_of_an_unknown_transaction_is_accepted_and_reported(site: Any) -> None:
    charger = await site.connect("CP-16")

    await charger.call("StopTransaction", {"transactionId": 4711, "meterStop": 0, "timestamp": NOON})

    assert [ended.transaction_id for (ended,) in site.heard.of("ended")] == ["4711"]


async def test_meter_values_are_reported_with_currents_per_phase(site: Any) -> None:
    charger = await site.connect("CP-16")
    samples = [
        {"value": "15.9", "measurand": "Current.Import", "phase": "L1", "unit": "A"},
        {"value": "15.8", "measurand": "Current.Import", "phase": "L2", "unit": "A"},
        {"value": "10900", "measurand": "Power.Active.Import", "unit": "W"},
        {"value": "7500", "context": "Sample.Periodic"},
    ]
    value = {"timestamp": "2026-06-21T11:59:50Z", "sampledValue": samples}

    await charger.call("MeterValues", {"connectorId": 1, "transactionId": 5, "meterValue": [value]})

    reading = MeterReading(
        site.clock.now() - timedelta(seconds=10), "5", current_a=(15.9, 15.8, 0.0), power_kw=10.9, energy_kwh=7.5
    )
    assert site.heard.of("meter_values") == [("CP-16", 1, reading)]


async def test_a_transaction_is_reported_as_often_as_its_charger_names_it(site: Any) -> None:
    charger = await site.connect("CP-16")
    for _ in range(3):
        message = {"connectorId": 1, "transactionId": 5, "meterValue": [build_meter_value("1")]}
        await charger.call("MeterValues", message)
    number = (await charger.call("StartTransaction", START))["transactionId"]
    await charger.call(
        "MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": [build_meter_value("1")]}
    )

    assert site.heard.of("seen") == [*[("CP-16", 1, "5")] * 3, ("CP-16", 1, str(number))]


@pytest.mark.parametrize(
    ("action", "payload", "answer"),
    [
        ("DataTransfer", {"vendorId": "acme"}, {"status": "UnknownVendorId"}),
        ("FirmwareStatusNotification", {"status": "Installed"}, {}),
        ("DiagnosticsStatusNotification", {"status": "Idle"}, {}),
        ("LogStatusNotification", {"status": "Idle"}, {}),
        ("SecurityEventNotification", {"type": "StartupOfTheDevice", "timestamp": NOON}, {}),
    ],
)
async def test_what_needs_no_more_is_acknowledged(site: Any, action: str, payload: Any, answer: Any) -> None:
    charger = await site.connect("CP-16")

    assert await charger.call(action, payload) == answer


async def test_after_booting_its_abilities_are_read_and_its_meter_values_arranged(site: Any) -> None:
    charger = await site.connect("CP-16")
    await charger.boot()
    triggered = await charger.until_asked("TriggerMessage", 4)

    await site.heard.until("ready", "CP-16", ChargerCapabilities(max_stack_level=5, takes_watts=False))
    assert charger.asked_for("ChangeConfiguration") == [
        {"key": "MeterValueSampleInterval", "value": "10"},
        {"key": "MeterValuesSampledData", "value": "Energy.Active.Import.Register,Current.Import,Power.Active.Import"},
    ]
    assert triggered == [
        {"requestedMessage": message, "connectorId": connector}
        for message in ("StatusNotification", "MeterValues")
        for connector in (1, 2)
    ]


async def test_a_charger_that_has_no_power_measurand_is_asked_for_currents_and_energy(site: Any) -> None:
    charger = await site.connect("CP-16")

    def answered(asked: dict[str, Any]) -> dict[str, str]:
        return {"status": "Rejected" if "Power" in asked["value"] else "Accepted"}

    charger.answers["ChangeConfiguration"] = answered
    await charger.boot()
    await charger.until_asked("TriggerMessage", 4)

    assert charger.asked_for("ChangeConfiguration")[-1] == {
        "key": "MeterValuesSampledData",
        "value": "Energy.Active.Import.Register,Current.Import",
    }


async def test_a_charger_that_is_arranged_already_is_left_so(site: Any) -> None:
    charger = await site.connect("CP-16")
    kept = {
        "MeterValueSampleInterval": "10",
        "MeterValuesSampledData": "Power.Active.Import, Current.Import, Energy.Active.Import.Register, SoC",
    }
    known = [{"key": key, "readonly": False, "value": value} for key, value in kept.items()]
    charger.answers["GetConfiguration"] = {"configurationKey": known}
    await charger.boot()
    await charger.until_asked("TriggerMessage", 4)

    assert charger.asked_for("ChangeConfiguration") == []


async def test_a_charger_without_configuration_counts_as_able_and_is_set_up_further(site: Any) -> None:
    charger = await site.connect("CP-16")
    charger.answers["GetConfiguration"] = "NotImplemented"
    await charger.boot()

    await charger.until_asked("TriggerMessage", 4)
    assert site.heard.of("ready") == [("CP-16", ChargerCapabilities())]


async def test_a_limit_is_a_tx_profile_in_amperes_above_the_fallback(site: Any) -> None:
    charger = await site.booted("CP-16")
    until = site.clock.now() + timedelta(seconds=45)

    limited = await site.central.set_limit("CP-16", TransactionLimit(2, "7", 8.29, until))
    fallback = await site.central.set_fallback("CP-16", 2, 6.0)

    assert limited == fallback == Reply(CommandStatus.ACCEPTED)
    limit, default = charger.asked_for("SetChargingProfile")
    assert limit == {
        "connectorId": 2,
        "csChargingProfiles": {
            "chargingProfileId": 5,
            "transactionId": 7,
            "stackLevel": 1,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "validTo": "2026-06-21T12:00:45Z",
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 8.2}],
            },
        },
    }
    assert default == {
        "connectorId": 2,
        "csChargingProfiles": {
            "chargingProfileId": 4,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6.0}],
            },
        },
    }


async def test_fewer_phases_are_named_where_they_are_asked_for(site: Any) -> None:
    charger = await site.booted("CP-16")

    await site.central.set_limit("CP-16", TransactionLimit(1, "7", 16, site.clock.now(), phases=1))

    profile = charger.asked_for("SetChargingProfile")[0]["csChargingProfiles"]
    assert profile["chargingSchedule"]["chargingSchedulePeriod"][0]["numberPhases"] == 1


async def test_commands_are_spoken_in_the_words_of_1_6(site: Any) -> None:
    charger = await site.booted("CP-16")
    central = site.central

    replies = [
        await central.start("CP-16", 1, "TAG"),
        await central.stop("CP-16", "7"),
        await central.clear_limit("CP-16", 1),
        await central.clear_fallback("CP-16", 1),
        await central.ask_meter_values("CP-16", 2),
        await central.reset("CP-16"),
    ]
    in_force = await central.limit_in_force("CP-16", 1)

    assert {reply.answer for reply in replies} == {CommandStatus.ACCEPTED}
    assert in_force == (Reply(CommandStatus.ACCEPTED), 9.5)
    assert charger.asked == [
        ("RemoteStartTransaction", {"idTag": "TAG", "connectorId": 1}),
        ("RemoteStopTransaction", {"transactionId": 7}),
        ("ClearChargingProfile", {"id": 3}),
        ("ClearChargingProfile", {"id": 2}),
        ("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 2}),
        ("Reset", {"type": "Soft"}),
        ("GetCompositeSchedule", {"connectorId": 1, "duration": 60, "chargingRateUnit": "A"}),
    ]


async def test_clearing_what_is_not_there_is_accepted(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["ClearChargingProfile"] = {"status": "Unknown"}

    assert await site.central.clear_limit("CP-16", 1) == Reply(CommandStatus.ACCEPTED)


async def test_a_transaction_that_has_no_number_can_not_be_limited(site: Any) -> None:
    charger = await site.booted("CP-16")

    limited = await site.central.set_limit("CP-16", TransactionLimit(1, "abc", 16, site.clock.now()))
    stopped = await site.central.stop("CP-16", "abc")

    assert limited.answer is stopped.answer is CommandStatus.REJECTED
    assert charger.asked == []


async def test_what_the_version_can_not_say_is_not_supported(site: Any) -> None:
    await site.booted("CP-16")

    reply = await site.central.start("CP-16", 1, "a token of more than twenty characters")

    assert reply.answer is CommandStatus.NOT_SUPPORTED


def build_meter_value(value: str) -> dict[str, Any]:
    return {"timestamp": NOON, "sampledValue": [{"value": value}]}


@pytest.mark.parametrize("transaction_id", [2**63 - 1, 2**31 - 1, 0, -1])
async def test_an_id_that_is_none_names_no_transaction(site: Any, transaction_id: int) -> None:
    charger = await site.connect("CP-16")
    message = {"connectorId": 1, "transactionId": transaction_id, "meterValue": [build_meter_value("1")]}
    await charger.call("MeterValues", message)

    assert site.heard.of("seen") == []
    assert [reading.transaction_id for _, _, reading in site.heard.of("meter_values")] == [None]


async def test_a_token_that_may_not_charge_is_invalid(site: Any) -> None:
    charger = await site.connect("CP-16")

    assert (await charger.call("Authorize", {"idTag": "TAG"}))["idTagInfo"] == {"status": "Accepted"}
    assert (await charger.call("Authorize", {"idTag": "UNKNOWN"}))["idTagInfo"] == {"status": "Invalid"}
    started = await charger.call("StartTransaction", START | {"idTag": "UNKNOWN"})
    assert started["idTagInfo"] == {"status": "Invalid"}
    assert started["transactionId"] > 0


async def test_meter_values_without_a_transaction_are_taken_at_once(site: Any) -> None:
    charger = await site.booted("CP-16")
    sample = {"value": "0", "measurand": "Current.Import", "phase": "L1", "unit": "A"}
    values = {"connectorId": 1, "meterValue": [{"timestamp": "2026-06-21T12:00:00Z", "sampledValue": [sample]}]}

    assert await charger.call("MeterValues", values) == {}
    assert site.heard.of("seen") == []


async def test_preparing_waits_for_a_session_and_finishing_has_had_one(site: Any) -> None:
    charger = await site.booted("CP-16")
    for status in ("Preparing", "Finishing"):
        await charger.call("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": status})
        await site.heard.until("evse", "CP-16", 1, EvseState.OCCUPIED)
        over = [("CP-16", 1)] if status == "Finishing" else []
        assert site.heard.of("over") == over
