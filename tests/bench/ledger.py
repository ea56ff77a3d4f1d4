"""What a record costs over a bare synced SQLite insert of the same size: hash, signature and the way off the loop.

Both on the same disk in turns, one row a transaction, WAL and synchronous=FULL. Run it: `python tests/bench/ledger.py`.
"""

import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.gateway.calls import Call
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.record_signing import DecisionDraft, RunMetadata, build_policy_record
from charging_agent.ledger.records import SignedRecord
from charging_agent.readings.assessment import AgeLimits, assess_reading
from charging_agent.readings.observer import Observation
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

_ROUNDS, _WARM_UP = 300, 30
_NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
_CALLS = (("SolarAPI", "solar-status"), ("BatteryAPI", "battery-status"), ("GridAPI", "grid-load"))


def measure() -> dict[str, float]:
    """Both in ms at p50, and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> dict[str, float]:
    policy = build_policy_record(DecisionPipeline(), AgeLimits())
    ledger = Ledger(folder / "ledger", RunMetadata(uuid4(), "0.1.0", "bench", policy))
    await ledger.open()
    bare = _bare(folder / "bare.sqlite")
    records_ms: list[float] = []
    inserts_ms: list[float] = []
    for number in range(_WARM_UP + _ROUNDS):
        made, calls = _build_draft(_NOON + timedelta(seconds=15 * number))
        started = time.perf_counter()
        sealed = await ledger.append(made, calls)
        records_ms.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        _insert(bare, number, str(made.decision_id), sealed)
        inserts_ms.append((time.perf_counter() - started) * 1000)
    bare.close()
    await ledger.close()
    record_ms, insert_ms = (statistics.median(times[_WARM_UP:]) for times in (records_ms, inserts_ms))
    return {
        "record_ms": round(record_ms, 3),
        "insert_ms": round(insert_ms, 3),
        "ratio": round(record_ms / insert_ms, 3),
    }


def _bare(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE records (sequence INTEGER PRIMARY KEY, decision_id TEXT UNIQUE, record TEXT, sha256 TEXT, "
        "signature TEXT)"
    )
    return connection


def _insert(connection: sqlite3.Connection, number: int, decision_id: str, sealed: SignedRecord) -> None:
    row = (number, decision_id, sealed.record, sealed.sha256, sealed.signature)
    connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", row)


def _build_draft(at: datetime) -> tuple[DecisionDraft, list[Call]]:
    limits = AgeLimits()
    solar = SolarStatus(site_id="bench", timestamp=at, source="bench", generation_kw=41.0, capacity_kwp=50.0)
    battery = BatteryStatus(site_id="bench", timestamp=at, source="bench", soc_percent=83.0, capacity_kwh=100.0)
    grid = GridLoad(site_id="bench", timestamp=at, source="bench", load_percent=61.0, load_kw=61.0, limit_kw=100.0)
    seen = Observation(
        at,
        {
            "solar": assess_reading(solar, at, limits, is_new=True),
            "battery": assess_reading(battery, at, limits, is_new=True),
            "grid": assess_reading(grid, at, limits, is_new=True),
        },
    )
    number = str(uuid4())
    calls = [Call(name, "rest", f"GET /{path}", at, 200, "ok", None, number) for name, path in _CALLS]
    return DecisionDraft(uuid4(), seen, DecisionPipeline().decide(seen.decision_inputs())), calls


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
