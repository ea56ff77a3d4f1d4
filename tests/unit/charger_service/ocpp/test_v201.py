"""What charging stations of OCPP 2.0.1 say, and what they are asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    ChargingNeeds,
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


def event(kind: str, seq_no: int, state: str | None = None, at: str = NOON, **more: Any) -> dict[str, Any]:
    info = {"transactionId": more.pop("transaction_id", "T-1")}
    if state is not None:
        info["chargingState"] = state
    return {
        "eventType": kind,
        "timestamp": at,
        "triggerReason": "ChargingStateChanged",
        "seqNo": seq_no,
        "transactionInfo": info,
        **more,
    }


def meter(kwh: float, at: str = NOON) -> dict[str, Any]:
    return {
        "timestamp": at,
        "sampledValue": [
            {"value": kwh, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "kWh"}},
            {"value": 16, "measurand": "Current.Import", "phase": "L1"},
            {"value": 16, "measurand": "Current.Import", "phase": "L2"},
            {"value": 16, "measurand": "Current.Import", "phase": "L3"},
            {"value": 1.1, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W", "multiplier": 4}},
        ],
    }


async def test_a_boot_is_accepted_with_the_runs_time_and_reported(site: Any) -> None:
    station = await site.connect("CP-201")

    assert await station.boot() == {"status": "Accepted", "currentTime": NOON, "interval": 60}
    await site.heard.until("boot", "CP-201", ChargerModel("Acme", "One", "1.2"))
    assert await station.call("Heartbeat", {}) == {"currentTime": NOON}


async def test_after_booting_its_variables_are_read_and_its_meter_values_arranged(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.boot()
    triggered = await station.until_asked("TriggerMessage", 2)

    await site.heard.until(
        "ready", "CP-201", ChargerCapabilities(max_stack_level=3, takes_amperes=True, switches_phases=True)
    )
    set_to = [
        (item["component"]["name"], item["variable"]["name"], item["attributeValue"])
        for asked in station.asked_for("SetVariables")
        for item in asked["setVariableData"]
    ]
    assert set_to == [
        ("SampledDataCtrlr", "TxUpdatedInterval", "10"),
        (
            "SampledDataCtrlr",
            "TxUpdatedMeasurands",
            "Energy.Active.Import.Register,Current.Import,Power.Active.Import",
        ),
    ]
    assert triggered == [
        {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}},
        {"requestedMessage": "TransactionEvent"},
    ]


async def test_a_station_that_has_no_power_measurand_is_asked_for_currents_and_energy(site: Any) -> None:
    station = await site.connect("CP-201")

    def answered(asked: dict[str, Any]) -> dict[str, Any]:
        return {
            "setVariableResult": [
                {name: item[name] for name in ("component", "variable")}
                | {"attributeStatus": "Rejected" if "Power" in item["attributeValue"] else "Accepted"}
                for item in asked["setVariableData"]
            ]
        }

    station.answers["SetVariables"] = answered
    await station.boot()
    await station.until_asked("TriggerMessage", 2)

    last = station.asked_for("SetVariables")[-1]["setVariableData"][0]
    assert last["attributeValue"] == "Energy.Active.Import.Register,Current.Import"


async def test_a_station_without_variables_counts_as_able_and_is_set_up_further(site: Any) -> None:
    station = await site.connect("CP-201")
    station.answers["GetVariables"] = station.answers["SetVariables"] = "NotSupported"
    await station.boot()

    await station.until_asked("TriggerMessage", 2)
    assert site.heard.of("ready") == [("CP-201", ChargerCapabilities())]


async def test_a_transaction_is_reported_from_beginning_to_end(site: Any) -> None:
    station = await site.connect("CP-201")
    token = {"idToken": "TAG", "type": "ISO14443"}

    answer = await station.call(
        "TransactionEvent",
        event("Started", 0, "EVConnected", idToken=token, evse={"id": 1, "connectorId": 1}, meterValue=[meter(1.5)]),
    )
    await station.call("TransactionEvent", event("Updated", 1, "Charging"))
    ended = event("Ended", 2, meterValue=[meter(9.5)])
    ended["transactionInfo"]["stoppedReason"] = "EVDisconnected"
    await station.call("TransactionEvent", ended)

    now = site.clock.now()
    assert answer == {"idTokenInfo": {"status": "Accepted"}}
    assert site.heard.of("started") == [(TransactionStarted("CP-201", 1, "T-1", now, energy_kwh=1.5, id_token="TAG"),)]
    assert site.heard.of("ended") == [
        (TransactionEnded("CP-201", "T-1", now, energy_kwh=9.5, reason="EVDisconnected"),)
    ]
    assert [state for *_, state in site.heard.of("evse")] == [
        EvseState.OCCUPIED,
        EvseState.CHARGING,
        EvseState.UNKNOWN,
    ]
    reading = MeterReading(now, "T-1", current_a=(16.0, 16.0, 16.0), power_kw=11.0, energy_kwh=1.5)
    assert site.heard.of("meter_values")[0] == ("CP-201", 1, reading)


@pytest.mark.parametrize(
    ("charging_state", "state"),
    [
        ("Charging", EvseState.CHARGING),
        ("EVConnected", EvseState.OCCUPIED),
        ("SuspendedEV", EvseState.SUSPENDED_EV),
        ("SuspendedEVSE", EvseState.SUSPENDED_EVSE),
        ("Idle", EvseState.OCCUPIED),
    ],
)
async def test_the_transaction_says_what_an_occupied_evse_does(
    site: Any, charging_state: str, state: EvseState
) -> None:
    station = await site.connect("CP-201")
    await connector(station, "Occupied")
    await station.call("TransactionEvent", event("Started", 0, charging_state, evse={"id": 1}))
    await connector(station, "Occupied")

    assert [said for *_, said in site.heard.of("evse")] == [EvseState.OCCUPIED, state, state]


async def test_a_free_connector_ends_what_its_transaction_said(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Started", 0, "Charging", evse={"id": 1}))
    await connector(station, "Available")

    assert site.heard.of("evse")[-1][-1] is EvseState.AVAILABLE


async def test_an_authorized_transaction_waits_for_its_car_at_a_free_connector(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Started", 0, "Idle", evse={"id": 1}))
    await connector(station, "Available")

    assert site.heard.of("evse")[-1][-1] is EvseState.OCCUPIED


async def test_a_fault_is_told_also_while_a_transaction_runs(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Started", 0, "Charging", evse={"id": 1}))
    await connector(station, "Faulted")

    assert site.heard.of("evse")[-1][-1] is EvseState.FAULTED


async def test_events_out_of_order_do_not_turn_the_state_back(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Started", 0, "EVConnected", evse={"id": 1}))
    await station.call("TransactionEvent", event("Updated", 3, "SuspendedEVSE"))
    await station.call("TransactionEvent", event("Updated", 2, "Charging"))

    assert site.heard.of("evse")[-1][-1] is EvseState.SUSPENDED_EVSE


async def test_a_beginning_that_arrives_after_its_own_end_opens_nothing(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Ended", 2, evse={"id": 1}))
    await station.call("TransactionEvent", event("Started", 0, "Charging", evse={"id": 1}))
    await station.call("TransactionEvent", event("Updated", 1, "Charging"))

    assert [started.is_stored for (started,) in site.heard.of("started")] == [True]
    assert site.heard.of("seen") == []
    assert EvseState.CHARGING not in [state for *_, state in site.heard.of("evse")]


async def test_events_of_the_car_before_do_not_end_the_one_that_is_there(site: Any) -> None:
    station = await site.connect("CP-201")
    earlier = "2026-06-21T11:00:00Z"
    await station.call("TransactionEvent", event("Started", 0, "Charging", evse={"id": 1}, transaction_id="T-2"))
    await station.call("TransactionEvent", event("Started", 0, "Charging", evse={"id": 1}, at=earlier))
    await station.call("TransactionEvent", event("Ended", 1, evse={"id": 1}, at=earlier))

    assert [(one.transaction_id, one.is_stored) for (one,) in site.heard.of("started")] == [
        ("T-2", False),
        ("T-1", True),
    ]
    assert [ended.transaction_id for (ended,) in site.heard.of("ended")] == ["T-1"]
    assert site.heard.of("evse")[-1][-1] is EvseState.CHARGING


async def test_a_beginning_that_arrives_after_an_update_is_still_reported(site: Any) -> None:
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Updated", 1, "Charging", evse={"id": 1}))
    await station.call("TransactionEvent", event("Started", 0, "EVConnected", evse={"id": 1}))

    assert site.heard.of("seen") == [("CP-201", 1, "T-1")]
    assert [started.transaction_id for (started,) in site.heard.of("started")] == ["T-1"]
    assert site.heard.of("evse")[-1][-1] is EvseState.CHARGING


async def test_a_station_of_several_evses_need_not_name_the_one_of_a_running_transaction(open_site: Any) -> None:
    site = await open_site({"CP-201": (1, 2)})
    station = await site.connect("CP-201")
    await station.call("TransactionEvent", event("Updated", 4, "Charging", meterValue=[meter(2)]))
    await station.call("TransactionEvent", event("Updated", 5, "Charging", evse={"id": 2}))
    await station.call("TransactionEvent", event("Updated", 6, "SuspendedEV", meterValue=[meter(3)]))

    assert site.heard.of("seen") == [("CP-201", None, "T-1"), ("CP-201", 2, "T-1"), ("CP-201", 2, "T-1")]
    assert [evse for _, evse, _ in site.heard.of("meter_values")] == [None, 2]
    assert site.heard.of("evse")[-1] == ("CP-201", 2, EvseState.SUSPENDED_EV)


async def test_what_is_said_of_an_unregistered_evse_is_not_passed_on(site: Any) -> None:
    station = await site.connect("CP-201")

    answer = await station.call("TransactionEvent", event("Started", 0, "Charging", evse={"id": 9}))
    await station.call("MeterValues", {"evseId": 9, "meterValue": [meter(1)]})
    needs = {"evseId": 9, "chargingNeeds": {"requestedEnergyTransfer": "AC_three_phase"}}
    assert await station.call("NotifyEVChargingNeeds", needs) == {"status": "Rejected"}

    assert answer == {"idTokenInfo": {"status": "Invalid"}}
    assert [kind for kind, *_ in site.heard.events if kind in ("started", "meter_values", "evse", "needs")] == []


async def test_energy_wanted_and_departure_are_reported(site: Any) -> None:
    station = await site.connect("CP-201")
    needs = {
        "requestedEnergyTransfer": "AC_three_phase",
        "departureTime": "2026-06-21T17:00:00+02:00",
        "acChargingParameters": {"energyAmount": 30_000, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 400},
    }

    answer = await station.call("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": needs})

    assert answer == {"status": "Processing"}
    wanted = ChargingNeeds(30.0, datetime(2026, 6, 21, 15, tzinfo=UTC), 32)
    assert site.heard.of("needs") == [("CP-201", 1, wanted)]


async def test_meter_values_outside_of_transactions_are_reported(site: Any) -> None:
    station = await site.connect("CP-201")

    await station.call("MeterValues", {"evseId": 1, "meterValue": [meter(1)]})

    assert [reading.transaction_id for *_, reading in site.heard.of("meter_values")] == [None]


@pytest.mark.parametrize(
    ("action", "payload", "answer"),
    [
        ("Authorize", {"idToken": {"idToken": "TAG", "type": "ISO14443"}}, {"idTokenInfo": {"status": "Accepted"}}),
        ("DataTransfer", {"vendorId": "acme"}, {"status": "UnknownVendorId"}),
        ("FirmwareStatusNotification", {"status": "Installed"}, {}),
        ("LogStatusNotification", {"status": "Idle"}, {}),
        ("SecurityEventNotification", {"type": "StartupOfTheDevice", "timestamp": NOON}, {}),
        ("NotifyReport", {"requestId": 1, "generatedAt": NOON, "seqNo": 0}, {}),
        (
            "NotifyEvent",
            {
                "generatedAt": NOON,
                "seqNo": 0,
                "eventData": [
                    {
                        "eventId": 1,
                        "timestamp": NOON,
                        "trigger": "Alerting",
                        "actualValue": "x",
                        "eventNotificationType": "HardWiredNotification",
                        "component": {"name": "a"},
                        "variable": {"name": "b"},
                    }
                ],
            },
            {},
        ),
    ],
)
async def test_what_needs_no_more_is_acknowledged(site: Any, action: str, payload: Any, answer: Any) -> None:
    station = await site.connect("CP-201")

    assert await station.call(action, payload) == answer


async def test_a_limit_is_a_tx_profile_in_amperes_above_the_fallback(site: Any) -> None:
    station = await site.booted("CP-201")
    until = site.clock.now() + timedelta(seconds=45)

    await site.central.set_limit("CP-201", TransactionLimit(1, "T-1", 0.0, until, phases=3))
    await site.central.set_fallback("CP-201", 1, 6.0)

    limit, default = station.asked_for("SetChargingProfile")
    assert limit == {
        "evseId": 1,
        "chargingProfile": {
            "id": 3,
            "transactionId": "T-1",
            "stackLevel": 1,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "validTo": "2026-06-21T12:00:45Z",
            "chargingSchedule": [
                {
                    "id": 3,
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 0.0, "numberPhases": 3}],
                }
            ],
        },
    }
    assert default["chargingProfile"]["chargingProfilePurpose"] == "TxDefaultProfile"
    assert default["chargingProfile"]["stackLevel"] == 0
    assert "transactionId" not in default["chargingProfile"]


async def test_commands_are_spoken_in_the_words_of_2_0_1(site: Any) -> None:
    station = await site.booted("CP-201")
    central = site.central

    replies = [
        await central.start("CP-201", 1, "TAG"),
        await central.stop("CP-201", "T-1"),
        await central.clear_limit("CP-201", 1),
        await central.clear_fallback("CP-201", 1),
        await central.ask_meter_values("CP-201", 1),
        await central.reset("CP-201"),
    ]
    in_force = await central.limit_in_force("CP-201", 1)

    assert {reply.answer for reply in replies} == {CommandStatus.ACCEPTED}
    assert in_force == (Reply(CommandStatus.ACCEPTED), 9.5)
    start = station.asked[0][1]
    assert start.pop("remoteStartId") > 0
    assert station.asked == [
        ("RequestStartTransaction", {"idToken": {"idToken": "TAG", "type": "Central"}, "evseId": 1}),
        ("RequestStopTransaction", {"transactionId": "T-1"}),
        ("ClearChargingProfile", {"chargingProfileId": 3}),
        ("ClearChargingProfile", {"chargingProfileId": 2}),
        ("TriggerMessage", {"requestedMessage": "MeterValues", "evse": {"id": 1}}),
        ("Reset", {"type": "OnIdle"}),
        ("GetCompositeSchedule", {"duration": 60, "evseId": 1, "chargingRateUnit": "A"}),
    ]


async def test_the_reason_that_a_station_gives_is_passed_on(site: Any) -> None:
    station = await site.booted("CP-201")
    station.answers["SetChargingProfile"] = {"status": "Rejected", "statusInfo": {"reasonCode": "TxNotFound"}}

    reply = await site.central.set_limit("CP-201", TransactionLimit(1, "T-9", 10, site.clock.now()))

    assert reply == Reply(CommandStatus.REJECTED, "TxNotFound")


async def connector(station: Any, status: str) -> None:
    await station.call(
        "StatusNotification", {"timestamp": NOON, "connectorStatus": status, "evseId": 1, "connectorId": 1}
    )


async def test_a_token_that_may_not_charge_is_invalid(site: Any) -> None:
    station = await site.connect("CP-201")
    unknown = {"idToken": "UNKNOWN", "type": "ISO14443"}

    assert (await station.call("Authorize", {"idToken": unknown}))["idTokenInfo"] == {"status": "Invalid"}
    started = event("Started", 0, evse={"id": 1}, idToken=unknown)
    assert (await station.call("TransactionEvent", started))["idTokenInfo"] == {"status": "Invalid"}
