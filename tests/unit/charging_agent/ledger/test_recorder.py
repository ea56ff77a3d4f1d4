"""One record for all who ask while nothing changed; no power without a record."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.charging_agent.conftest import AgentApplication
from tests.unit.charging_agent.ledger.conftest import NOON, call, made_from, observation, unknown

from charging_agent.gateway.calls import CallLog, FailureReason
from charging_agent.ledger import recorder as recording
from charging_agent.ledger.errors import LedgerUnavailableError
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.readers import RecordQueries
from charging_agent.ledger.recorder import Recorder
from charging_agent.ledger.store import DATABASE_FILE, Store
from charging_agent.readings.assessment import AssessedReading, Status
from charging_agent.readings.observer import Observation
from ev_service.telemetry import Reading

pytestmark = pytest.mark.anyio


async def records(ledger: Ledger) -> list[dict[str, Any]]:
    return [json.loads(sealed.record) for sealed in reversed(await ledger.recent(100))]


async def test_fresh_becoming_cached_and_growing_older_is_no_change(ledger: Ledger) -> None:
    recorder, seen = Recorder(ledger, CallLog()), observation()
    held = {name: AssessedReading(Status.CACHED, one.reading, 4.25) for name, one in seen.readings.items()}
    cached = replace(seen, at=NOON + timedelta(seconds=4), readings=held)

    first = await recorder.record(made_from(seen))
    second = await recorder.record(made_from(cached))

    assert first.decision_id == second.decision_id
    assert len(await records(ledger)) == 1


SEEN = observation()


def with_reading(source: str, assessed: AssessedReading[Reading]) -> Observation:
    return replace(SEEN, readings={**SEEN.readings, source: assessed})


CHANGED = {
    "stale": with_reading("grid", AssessedReading(Status.STALE, SEEN.grid.reading, 20.0, FailureReason.TIMEOUT)),
    "blocked": with_reading("solar", AssessedReading(Status.MISSING, error=FailureReason.BLOCKED)),
    "newer": observation(NOON + timedelta(seconds=1)),
    "another value": observation(load_percent=61.5),
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
async def test_other_readings_troubles_or_uses_are_a_record_of_their_own(ledger: Ledger, changed: Observation) -> None:
    recorder = Recorder(ledger, CallLog())
    await recorder.record(made_from(SEEN))

    await recorder.record(made_from(changed))

    assert len(await records(ledger)) == 2


async def test_a_hundred_who_ask_at_once_share_one_record(ledger: Ledger) -> None:
    recorder = Recorder(ledger, CallLog())

    made = await asyncio.gather(*(recorder.record(made_from(observation())) for _ in range(100)))

    assert len({one.decision_id for one in made}) == 1
    assert len(await records(ledger)) == 1


async def test_calls_that_changed_nothing_wait_for_the_next_round_of_the_loop(ledger: Ledger) -> None:
    log = CallLog()
    recorder = Recorder(ledger, log)
    await recorder.record(made_from(unknown()))
    log.report_call(call(status=429, correlation_id="again"))

    await recorder.record(made_from(unknown()))
    assert len(await records(ledger)) == 1

    await recorder.record(made_from(unknown()), tells_calls=True)
    await recorder.record(made_from(unknown()), tells_calls=True)
    kept = await records(ledger)
    assert [[one["correlation_id"] for one in record["calls"]] for record in kept] == [[], ["again"]]


async def test_at_the_end_the_calls_that_wait_are_put_into_a_last_record(ledger: Ledger) -> None:
    log = CallLog()
    recorder = Recorder(ledger, log)
    await recorder.record(made_from(unknown()))
    log.report_call(call(status=429))

    await recorder.stop(lambda: made_from(unknown()))

    assert len((await records(ledger))[-1]["calls"]) == 1


async def test_a_write_that_hangs_is_refused_at_once_until_it_is_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    write = Store.append

    def hang(*arguments: Any) -> None:
        goes_on.wait(10)
        write(*arguments)

    monkeypatch.setattr(Store, "append", hang)
    monkeypatch.setattr(recording, "WRITE_S", 0.05)
    recorder = Recorder(ledger, CallLog())

    for seen in (observation(), observation(), observation(load_percent=50.0)):
        with pytest.raises(LedgerUnavailableError):
            await recorder.record(made_from(seen))
    assert "within" in str(recorder.health_error)

    goes_on.set()
    async with asyncio.timeout(5):
        while _is_troubled(recorder):
            await asyncio.sleep(0.001)
    monkeypatch.setattr(recording, "WRITE_S", 5)
    await recorder.record(made_from(observation()))
    assert len(await records(ledger)) == 1


async def test_what_can_not_be_recorded_is_answered_with_0_kw_and_health_names_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = AgentApplication(state_dir=tmp_path, period_s=3600)
    write = Store.append

    def full(store: Store, *_: Any) -> None:
        raise LedgerUnavailableError(f"{tmp_path / DATABASE_FILE}: database or disk is full")

    async with served.client() as client:
        await served.until(lambda: len(served.gateway.calls) == 4)
        good = (await client.get("/optimize-charging")).json()
        monkeypatch.setattr(Store, "append", full)
        served.clock.advance(11)
        refused = (await client.get("/optimize-charging")).json()
        health = await client.get("/health")
        monkeypatch.setattr(Store, "append", write)
        recovered = (await client.get("/optimize-charging")).json()
        healthy = await client.get("/health")
        metrics = (await client.get("/metrics")).text

    assert (good["action"], recovered["action"]) == ("fast", "fast")
    assert (refused["rule"], refused["action"], refused["charging_power_kw"]) == ("fail_safe", "pause", 0.0)
    assert "could not be recorded" in refused["reason"]
    assert (health.status_code, "full" in health.json()["failing"]["ledger"]) == (503, True)
    assert healthy.status_code == 200
    assert "agent_ledger_failures_total 1.0" in metrics
    assert "agent_ledger_records_total 2.0" in metrics


async def test_an_unreadable_ledger_is_told_as_503(served: AgentApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> None:
        raise LedgerUnavailableError("disk I/O error")

    async with served.client() as client:
        monkeypatch.setattr(RecordQueries, "summaries", lost)
        answer: httpx.Response = await client.get("/decisions")

    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")


def _is_troubled(recorder: Recorder) -> bool:
    return recorder.health_error is not None
