"""Long messages are validated beside the event loop: others are answered meanwhile, and no charger's order changes."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from charger_service.ocpp import validation
from charger_service.ports import CommandStatus, SchemaViolation

pytestmark = pytest.mark.anyio

TIME = "2026-06-21T12:00:00Z"
SAMPLES = {"timestamp": TIME, "sampledValue": [{"value": "16.0", "measurand": "Current.Import", "phase": "L1"}]}
LONG = {"transactionId": 1, "meterStop": 5, "timestamp": TIME, "transactionData": [SAMPLES] * 400}
"""A StopTransaction of 40 kB."""


class HeldValidations:
    """Validations of long messages, each of which waits until it is let go."""

    def __init__(self) -> None:
        self._validate, self._free = validation.validate, threading.Event()
        self.entered = threading.Semaphore(0)
        self.running = self.most_running = 0

    def validate(self, message: Any, version: str) -> validation.Validation:
        if message.action not in ("StopTransaction", "GetCompositeSchedule"):
            return self._validate(message, version)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.entered.release()
        assert self._free.wait(5), "the event loop waited for it"
        self.running -= 1
        return self._validate(message, version)

    def let_go(self) -> None:
        self._free.set()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldValidations]:
    held = HeldValidations()
    monkeypatch.setattr(validation, "validate", held.validate)
    yield held
    held.let_go()


async def test_another_charger_is_answered_while_a_long_message_is_validated(site: Any, held: HeldValidations) -> None:
    first, other = await site.booted("CP-16"), await site.booted("CP-201")

    stopping = asyncio.create_task(first.call("StopTransaction", LONG))
    assert await asyncio.to_thread(held.entered.acquire, timeout=5)
    following = asyncio.create_task(first.call("Heartbeat", {}))
    await other.call("Heartbeat", {})

    assert not stopping.done()
    assert not following.done()
    held.let_go()
    await asyncio.gather(stopping, following)
    assert len(site.heard.of("ended")) == 1
    answered = [message[1] for message in first.heard if message[0] == 3]
    assert answered == sorted(answered, key=lambda unique_id: int(unique_id[1:]))


async def test_long_messages_of_several_chargers_are_validated_one_after_the_other(
    site: Any, held: HeldValidations
) -> None:
    chargers = [await site.booted("CP-16"), await site.connect("CP:colon")]

    stopping = [asyncio.create_task(charger.call("StopTransaction", LONG)) for charger in chargers]
    assert await asyncio.to_thread(held.entered.acquire, timeout=5)
    held.let_go()
    await asyncio.gather(*stopping)

    assert held.most_running == 1
    assert {ended[0].charger_id for ended in site.heard.of("ended")} == {"CP-16", "CP:colon"}


async def test_a_long_message_with_small_offences_counts_and_one_that_makes_no_sense_is_refused(site: Any) -> None:
    charger = await site.booted("CP-16")

    await charger.call("StopTransaction", LONG | {"reason": None})
    refused = await charger.raw_call("StopTransaction", LONG | {"meterStop": "much"})

    assert len(site.heard.of("ended")) == 1
    reasons = [offence for _, offence in site.heard.of("violation")]
    assert SchemaViolation("StopTransaction", "reason: null in place of string", is_refused=False) in reasons
    assert refused[0] == 4


async def test_what_a_charger_says_after_a_long_answer_is_handled_after_it(site: Any, held: HeldValidations) -> None:
    charger = await site.booted("CP-16")
    periods = [{"startPeriod": number, "limit": 9.5} for number in range(1500)]
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": periods}
    charger.answers["GetCompositeSchedule"] = {"status": "Accepted", "connectorId": 1, "chargingSchedule": schedule}

    asking = asyncio.create_task(site.central.limit_in_force("CP-16", 1))
    assert await asyncio.to_thread(held.entered.acquire, timeout=5)
    following = asyncio.create_task(charger.call("Heartbeat", {}))
    other = await site.booted("CP-201")
    await other.call("Heartbeat", {})

    assert not following.done()
    held.let_go()
    reply, limit_a = await asking
    assert (reply.answer, limit_a) == (CommandStatus.ACCEPTED, 9.5)
    await following
