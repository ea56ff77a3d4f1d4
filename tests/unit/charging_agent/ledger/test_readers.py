"""Readers have connections, threads and a bound of their own: none waits in the writer's queue or lengthens it."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.charging_agent.ledger.conftest import NOON, made_from, maker, observation, unknown

from charging_agent.ledger import readers
from charging_agent.ledger.errors import LedgerBusyError, LedgerUnavailableError
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.readers import MAX_READING, MAX_WAITING, RecordQueries
from charging_agent.ledger.store import Store

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Readers that read until they are let go."""
    goes_on = threading.Event()
    read = RecordQueries.summaries

    def hold(records: RecordQueries, limit: int, before: int | None) -> Any:
        goes_on.wait(20)
        return read(records, limit, before)

    monkeypatch.setattr(RecordQueries, "summaries", hold)
    yield goes_on
    goes_on.set()


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_decision_is_recorded_while_every_reader_reads(
    tmp_path: Path, held: threading.Event, is_kept: bool
) -> None:
    ledger = Ledger(tmp_path if is_kept else None, maker())
    await ledger.open()
    reading = [asyncio.create_task(ledger.summaries(100)) for _ in range(MAX_READING + MAX_WAITING)]
    await asyncio.sleep(0.01)

    async with asyncio.timeout(10):
        await ledger.append(made_from(observation()), [])

    held.set()
    assert [[one.sequence for one in each] for each in await asyncio.gather(*reading)] == [[1]] * len(reading)
    await ledger.close()


async def test_more_readers_than_may_wait_are_told_to_come_back(
    served: AgentApplication, held: threading.Event
) -> None:
    async with served.client() as client:
        asked = [asyncio.create_task(client.get("/decisions?limit=100")) for _ in range(MAX_READING + MAX_WAITING + 5)]
        async with asyncio.timeout(10):
            while sum(one.done() for one in asked) < 5:
                await asyncio.sleep(0.005)
        refused = [one.result() for one in asked if one.done()]
        decided = await client.get("/optimize-charging")
        held.set()
        answers = await asyncio.gather(*asked)

    assert [one.status_code for one in answers].count(200) == MAX_READING + MAX_WAITING
    assert {(one.status_code, one.json()["code"], one.headers["retry-after"]) for one in refused} == {
        (503, "ledger_busy", "1")
    }
    assert decided.json()["charging_power_kw"] > 0


async def test_readers_read_while_the_writer_writes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, write = threading.Event(), Store.append
    await ledger.append(made_from(observation()), [])

    def hang(*arguments: Any) -> None:
        goes_on.wait(20)
        write(*arguments)

    monkeypatch.setattr(Store, "append", hang)
    writing = asyncio.create_task(ledger.append(made_from(observation(NOON + timedelta(minutes=1))), []))
    async with asyncio.timeout(10):
        listed = await ledger.summaries(10)
    goes_on.set()
    await writing

    assert [one.sequence for one in listed] == [1]


async def test_a_summary_says_what_the_record_says(ledger: Ledger) -> None:
    made = [made_from(observation()), made_from(unknown(NOON + timedelta(minutes=1)))]
    for one in made:
        await ledger.append(one, [])

    listed = await ledger.summaries(10)

    assert [one.sequence for one in listed] == [2, 1]
    assert [one.decision_id for one in reversed(listed)] == [str(one.decision_id) for one in made]
    assert [one.is_degraded for one in listed] == [True, False]
    assert (listed[1].action, listed[1].charging_power_kw, listed[1].reason) == ("fast", 22, made[0].decision.reason)
    assert await ledger.summaries(10, before=2) == listed[1:]
    assert await ledger.summaries(10, before=2**70) == listed


async def test_a_reader_of_a_disk_that_hangs_is_told_in_time(
    ledger: Ledger, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_READ_S", 0.05)

    with pytest.raises(Exception, match="does not answer in time"):
        await ledger.summaries(10)

    held.set()


async def test_who_waits_is_counted_out_again(ledger: Ledger, held: threading.Event) -> None:
    reading = [asyncio.create_task(ledger.summaries(1)) for _ in range(MAX_READING + MAX_WAITING)]
    await asyncio.sleep(0.01)
    with pytest.raises(LedgerBusyError):
        await ledger.summaries(1)
    for one in reading[MAX_READING:]:
        one.cancel()
    await asyncio.gather(*reading[MAX_READING:], return_exceptions=True)

    waiting = asyncio.create_task(ledger.summaries(1))
    held.set()

    assert await waiting == []


async def test_no_connection_is_closed_under_a_reader_that_nobody_waits_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charging_agent.ledger.readers._READ_S", 0.05)
    monkeypatch.setattr("charging_agent.ledger.readers._CLOSE_S", 0.05)
    goes_on, is_over, outcomes = threading.Event(), threading.Event(), list[Any]()
    read = RecordQueries.summaries

    def hold(records: RecordQueries, limit: int, before: int | None) -> Any:
        goes_on.wait(20)
        try:
            outcomes.append(len(read(records, limit, before)))
        except Exception as error:
            outcomes.append(error)
        is_over.set()
        return []

    monkeypatch.setattr(RecordQueries, "summaries", hold)
    ledger = Ledger(tmp_path, maker())
    await ledger.open()
    await ledger.append(made_from(observation()), [])
    with pytest.raises(LedgerUnavailableError):
        await ledger.summaries(100)

    await ledger.close()
    goes_on.set()

    assert await asyncio.to_thread(is_over.wait, 10)
    assert outcomes == [1]
