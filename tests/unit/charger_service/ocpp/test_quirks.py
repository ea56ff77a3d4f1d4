"""Chargers that answer late, never, with Rejected or in the middle of rebooting, and those that can do little."""

import asyncio
import json
from typing import Any

import pytest

from charger_service.ocpp.connection import Timing
from charger_service.ports import (
    ChargerCapabilities,
    CommandStatus,
    Quirks,
    RateUnit,
    Reply,
    TransactionLimit,
    TransactionStarted,
)

pytestmark = pytest.mark.anyio


def limit(site: Any, limit_a: float = 10.0) -> TransactionLimit:
    return TransactionLimit(1, "1", limit_a, site.clock.now())


def levels(charger: Any) -> list[int]:
    return [asked["csChargingProfiles"]["stackLevel"] for asked in charger.asked_for("SetChargingProfile")]


def build_configuration(**values: str) -> dict[str, Any]:
    return {"configurationKey": [{"key": key, "readonly": True, "value": value} for key, value in values.items()]}


async def test_a_rejected_profile_is_told_as_rejected(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = {"status": "Rejected"}

    assert await site.central.set_limit("CP-16", limit(site)) == Reply(
        CommandStatus.REJECTED, "the charger says Rejected"
    )
    assert await site.central.set_fallback("CP-16", 1, 6) == Reply(CommandStatus.REJECTED, "the charger says Rejected")


async def test_a_charger_that_has_no_smart_charging_is_told_as_not_supported(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = "NotImplemented"
    refused = await site.central.set_limit("CP-16", limit(site))
    charger.answers["SetChargingProfile"] = {"status": "NotSupported"}
    unable = await site.central.set_limit("CP-16", limit(site))

    assert refused == Reply(CommandStatus.NOT_SUPPORTED, "the charger says NotImplemented")
    assert unable.answer is CommandStatus.NOT_SUPPORTED


async def test_an_error_in_place_of_an_answer_is_told_as_rejected(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = "InternalError"

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.REJECTED


@pytest.mark.parametrize("nonsense", [{"status": "Maybe"}, {}, {"status": None, "more": 1}, [1]])
async def test_an_answer_that_breaks_the_schema_confirms_nothing(site: Any, nonsense: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = nonsense

    assert await site.central.set_limit("CP-16", limit(site)) == Reply(
        CommandStatus.NO_ANSWER, "the answer is not OCPP"
    )


async def test_a_charger_with_stack_level_0_only_is_given_limits_there(site: Any) -> None:
    charger = await site.connect("CP-16")
    charger.answers["GetConfiguration"] = build_configuration(ChargeProfileMaxStackLevel="0")
    await charger.boot()
    await site.heard.until("ready", "CP-16", ChargerCapabilities(max_stack_level=0))

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.ACCEPTED
    assert levels(charger) == [0]


async def test_what_is_known_of_a_make_stands_above_what_the_charger_says(site: Any) -> None:
    site.heard.known_quirks["CP-16"] = Quirks(stack_level=0, rate_unit=RateUnit.AMPERES)
    charger = await site.connect("CP-16")
    charger.answers["GetConfiguration"] = build_configuration(
        ChargeProfileMaxStackLevel="3", ChargingScheduleAllowedChargingRateUnit="Power"
    )
    await charger.boot()
    await site.heard.until("ready", "CP-16", ChargerCapabilities(max_stack_level=0, takes_watts=False))

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.ACCEPTED
    assert levels(charger) == [0]


async def test_a_charger_that_refuses_other_stack_levels_without_saying_so_is_found_out_once(site: Any) -> None:
    charger = await site.booted("CP-16")

    def answered(asked: dict[str, Any]) -> dict[str, str]:
        return {"status": "Rejected" if asked["csChargingProfiles"]["stackLevel"] else "Accepted"}

    charger.answers["SetChargingProfile"] = answered
    first = await site.central.set_limit("CP-16", limit(site))
    second = await site.central.set_limit("CP-16", limit(site))

    assert first.answer is second.answer is CommandStatus.ACCEPTED
    assert levels(charger) == [1, 0, 0]


async def test_a_limit_of_zero_pauses_and_ends_no_transaction(site: Any) -> None:
    charger = await site.booted("CP-16")

    await site.central.set_limit("CP-16", limit(site, 0.0))

    assert [action for action, _ in charger.asked] == ["SetChargingProfile"]


async def test_a_late_answer_reaches_whoever_still_waits(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = None
    asking = asyncio.create_task(site.central.set_limit("CP-16", limit(site)))
    await charger.until_asked("SetChargingProfile")
    done, _ = await asyncio.wait({asking}, timeout=0.01)
    question = next(message for message in charger.heard if message[2:3] == ["SetChargingProfile"])

    await charger.websocket.send(json.dumps([3, question[1], {"status": "Accepted"}]))

    assert not done
    assert (await asking).answer is CommandStatus.ACCEPTED


@pytest.mark.parametrize("timing", [Timing(answer_s=0.25)])
async def test_a_charger_that_never_answers_is_told_as_such_and_asked_again_later(site: Any) -> None:
    charger = await site.connect("CP-16")
    charger.answers["SetChargingProfile"] = None
    silent = await site.central.set_limit("CP-16", limit(site))
    charger.answers["SetChargingProfile"] = {"status": "Accepted"}
    question = next(message for message in charger.heard if message[2:3] == ["SetChargingProfile"])
    await charger.websocket.send(json.dumps([3, question[1], {"status": "Rejected"}]))
    answered = await site.central.set_limit("CP-16", limit(site))

    assert silent == Reply(CommandStatus.NO_ANSWER, "no answer within 0.25 s")
    assert answered == Reply(CommandStatus.ACCEPTED)
    assert site.counted("ocpp_asked_total", action="SetChargingProfile", answer="no_answer") == 1


@pytest.mark.parametrize("timing", [Timing(answer_s=0.02)])
async def test_a_charger_that_answers_no_question_is_ready_all_the_same(site: Any) -> None:
    charger = await site.connect("CP-16")
    charger.answers.clear()
    await charger.boot()

    await site.heard.until("ready", "CP-16", ChargerCapabilities())


@pytest.mark.parametrize("timing", [Timing(silence_s=0.01)])
async def test_a_charger_that_says_nothing_after_connecting_is_set_up(site: Any) -> None:
    charger = await site.connect("CP-16")

    await charger.until_asked("TriggerMessage", 4)
    assert len(site.heard.of("ready")) == 1


async def test_a_charger_that_comes_back_without_booting_is_set_up(site: Any) -> None:
    charger = await site.connect("CP-16")
    await charger.call("Heartbeat", {})

    await charger.until_asked("TriggerMessage", 4)
    assert len(site.heard.of("ready")) == 1


async def test_a_charger_that_reboots_within_its_connection_is_set_up_again(site: Any) -> None:
    charger = await site.booted("CP-16")
    await charger.boot()

    await charger.until_asked("TriggerMessage", 4)
    assert len(site.heard.of("boot")) == 2
    assert len(site.heard.of("ready")) == 2


async def test_a_disconnection_in_the_middle_of_a_profile_leaves_it_open_whether_it_holds(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = None
    asking = asyncio.create_task(site.central.set_limit("CP-16", limit(site)))
    waiting = asyncio.create_task(site.central.set_limit("CP-16", limit(site, 6)))
    await charger.until_asked("SetChargingProfile")

    charger.websocket.transport.abort()

    assert await asking == Reply(CommandStatus.NO_ANSWER, "the connection ended before the answer")
    assert (await waiting).answer is CommandStatus.NOT_CONNECTED
    await site.heard.until("disconnect", "CP-16")


async def test_a_newer_connection_ends_what_the_older_one_was_asked(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = None
    asking = asyncio.create_task(site.central.set_limit("CP-16", limit(site)))
    await charger.until_asked("SetChargingProfile")

    await site.connect("CP-16")

    assert (await asking).answer is CommandStatus.NO_ANSWER


async def test_one_question_at_a_time_is_asked_and_in_order(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = None
    asking = [asyncio.create_task(site.central.set_limit("CP-16", limit(site, current))) for current in (6, 7, 8)]
    for number in range(3):
        assert len(await charger.until_asked("SetChargingProfile", number + 1)) == number + 1
        await charger.websocket.send(json.dumps([3, charger.heard[-1][1], {"status": "Accepted"}]))
    await asyncio.gather(*asking)

    asked = charger.asked_for("SetChargingProfile")
    periods = [item["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0] for item in asked]
    assert [period["limit"] for period in periods] == [6, 7, 8]


async def test_an_answer_reaches_whoever_asked_before_what_the_charger_says_next(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = None
    order: list[str] = []

    async def ask() -> None:
        await site.central.set_limit("CP-16", limit(site))
        order.append("answered")

    site.heard.on_status = lambda: order.append("told")
    asking = asyncio.create_task(ask())
    await charger.until_asked("SetChargingProfile")
    site.heard.events.clear()
    answer = json.dumps([3, charger.heard[-1][1], {"status": "Accepted"}])
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}
    async with asyncio.timeout(5):
        await charger.websocket.send(answer)
        await charger.websocket.send(json.dumps([2, "next", "StatusNotification", status]))
        await asking
        while len(order) < 2:
            await asyncio.sleep(0.001)

    assert order == ["answered", "told"]


async def test_whoever_gives_up_waiting_does_not_hold_up_the_next_question(site: Any) -> None:
    charger = await site.booted("CP-16")
    charger.answers["SetChargingProfile"] = None
    asking = asyncio.create_task(site.central.set_limit("CP-16", limit(site)))
    await charger.until_asked("SetChargingProfile")
    asking.cancel()

    assert (await site.central.reset("CP-16")).answer is CommandStatus.ACCEPTED


async def test_a_limit_ordered_while_a_transaction_begins_follows_the_answer_with_its_number(site: Any) -> None:
    charger = await site.booted("CP-16")
    orders: list[asyncio.Task[Reply]] = []

    def order(started: TransactionStarted) -> None:
        ordered = TransactionLimit(1, started.transaction_id, 10, site.clock.now())
        orders.append(asyncio.create_task(site.central.set_limit("CP-16", ordered)))

    site.heard.on_started = order
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": "2026-06-21T12:00:00Z"}
    charger.heard.clear()
    number = (await charger.call("StartTransaction", start))["transactionId"]
    await charger.until_asked("SetChargingProfile")

    assert (await orders[0]).answer is CommandStatus.ACCEPTED
    assert [message[0] for message in charger.heard] == [3, 2]
    assert charger.asked[0][1]["csChargingProfiles"]["transactionId"] == number


@pytest.mark.parametrize(
    ("unit", "takes"),
    [
        ("Ampere", True),
        ("Amp", True),
        ("amps", True),
        ("a", True),
        ("current", True),
        ("[Current; Power]", True),
        ("Power,Amperes", True),
        ("Furlong", True),
        ("", True),
        ("Power", False),
        ("w", False),
        ("Watt", False),
    ],
)
async def test_the_unit_of_limits_is_understood_however_it_is_written(site: Any, unit: str, takes: bool) -> None:
    charger = await site.connect("CP-16")
    charger.answers["GetConfiguration"] = build_configuration(ChargingScheduleAllowedChargingRateUnit=unit)
    await charger.boot()
    await charger.until_asked("TriggerMessage", 4)

    ((_, abilities),) = site.heard.of("ready")
    assert abilities.takes_amperes is takes
    assert abilities.takes_watts or takes


async def test_the_unit_of_limits_of_2_0_1_is_understood_in_lower_case(site: Any) -> None:
    charger = await site.connect("CP-201")
    usual = charger.answers["GetVariables"]

    def in_own_words(payload: dict[str, Any]) -> Any:
        return json.loads(json.dumps(usual(payload)).replace("A,W", "ampere"))

    charger.answers["GetVariables"] = in_own_words
    await charger.boot()
    await charger.until_asked("TriggerMessage", 2)

    ((_, abilities),) = site.heard.of("ready")
    assert abilities.takes_amperes


async def test_what_a_charger_needs_for_a_remote_start_is_set_before_it(site: Any) -> None:
    settings = {"AuthorizeRemoteTxRequests": "false", "FreeMode": "true"}
    site.heard.known_quirks["CP-16"] = Quirks(remote_start_configuration=settings)
    charger = await site.booted("CP-16")
    charger.answers["ChangeConfiguration"] = {"status": "NotSupported"}

    assert (await site.central.start("CP-16", 1, "AUTOSTART")).answer is CommandStatus.ACCEPTED

    assert charger.asked == [
        ("ChangeConfiguration", {"key": "AuthorizeRemoteTxRequests", "value": "false"}),
        ("ChangeConfiguration", {"key": "FreeMode", "value": "true"}),
        ("RemoteStartTransaction", {"idTag": "AUTOSTART", "connectorId": 1}),
    ]


@pytest.mark.parametrize(
    ("charger_id", "status", "expected"),
    [
        ("CP-16", "NotImplemented", CommandStatus.NOT_SUPPORTED),
        ("CP-16", "failed", CommandStatus.REJECTED),
        ("CP-201", "NotSupported", CommandStatus.NOT_SUPPORTED),
        ("CP-201", "Refused", CommandStatus.REJECTED),
    ],
)
async def test_a_refusal_in_the_words_of_another_version_is_a_refusal(
    site: Any, charger_id: str, status: str, expected: CommandStatus
) -> None:
    charger = await site.booted(charger_id)
    charger.answers["SetChargingProfile"] = {"status": status}

    reply = await site.central.set_limit(charger_id, limit(site))

    assert reply.answer is expected
    assert status in reply.detail
    purposes = {str(asked).split("Purpose': '")[1].split("'")[0] for asked in charger.asked_for("SetChargingProfile")}
    assert "TxDefaultProfile" in purposes, "the next way is tried"
