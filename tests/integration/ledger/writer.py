"""A writer to be killed: records decisions without end and names each on stdout once it is acknowledged.

Run it: `python tests/integration/ledger/writer.py FOLDER`. With `--late` every write takes too long, and what was sent
meanwhile is named when it is sent and when it is recorded late. With `--again` a new process starts to write for each
line on stdin, forked from one that has everything imported, and tells its id first.
"""

import asyncio
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

from charging_agent.charging.charger_api import LoweredLimit, LoweredLimits
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.gateway.calls import Call, CallLog
from charging_agent.ledger import recorder as recording
from charging_agent.ledger.errors import LedgerUnavailableError
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.record_signing import DecisionDraft, RunMetadata, build_policy_record
from charging_agent.ledger.recorder import Recorder
from charging_agent.ledger.records import SignedRecord

# The agent loads it with the first record; here it must be there before the first fork.
from charging_agent.ledger.store import Store
from charging_agent.readings.assessment import AgeLimits, assess_reading
from charging_agent.readings.observer import Observation
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


async def write(folder: Path) -> None:
    """Record one decision after the other, each with a call; refused ones are named too."""
    log = CallLog()
    ledger = Ledger(
        folder, RunMetadata(uuid4(), "0.1.0", "bench", build_policy_record(DecisionPipeline(), AgeLimits()))
    )
    await ledger.open()
    recorder = Recorder(ledger, log)
    print("open", flush=True)
    for number in count():
        at = NOON + timedelta(milliseconds=number)
        log.report_call(Call("GridAPI", "rest", "GET /grid/1.0.0/grid-load", at, 200, "ok", None, str(uuid4())))
        try:
            made = await recorder.record(decision_at(at))
        except LedgerUnavailableError as refused:
            print(f"refused {refused.message}", flush=True)
            await asyncio.sleep(0.05)
        else:
            print(f"recorded {made.decision_id}", flush=True)


_append = Store.append


def append_late(store: Store, sequence: int, decision_id: str, sealed: SignedRecord) -> None:
    """Write a record, later than it is waited for."""
    time.sleep(0.03)
    _append(store, sequence, decision_id, sealed)


async def write_late(folder: Path) -> None:
    """Send without a record, again and again, on a disk that takes each record too late."""
    ledger = Ledger(
        folder, RunMetadata(uuid4(), "0.1.0", "bench", build_policy_record(DecisionPipeline(), AgeLimits()))
    )
    await ledger.open()
    recorder = Recorder(ledger, CallLog())
    print("open", flush=True)
    for number in count():
        at = NOON + timedelta(seconds=number)
        made = decision_at(at)
        try:
            await recorder.record(made)
        except LedgerUnavailableError as late:
            sent = LoweredLimits(late.message, at, (LoweredLimit(("CP-1", 1), 16.0, 10.0, None),))
            decision = replace(made, decision_id=uuid4(), late=sent)
            name = str(decision.decision_id)
            recorder.record_late(decision, lambda name=name: print(f"recorded {name}", flush=True))
            print(f"sent {name}", flush=True)
        await asyncio.sleep(0.01)


def decision_at(at: datetime) -> DecisionDraft:
    """A decision from readings taken at this moment."""
    solar = SolarStatus(site_id="bench", timestamp=at, source="bench", generation_kw=41.0, capacity_kwp=50.0)
    battery = BatteryStatus(site_id="bench", timestamp=at, source="bench", soc_percent=83.0, capacity_kwh=100.0)
    grid = GridLoad(site_id="bench", timestamp=at, source="bench", load_percent=61.0, load_kw=61.0, limit_kw=100.0)
    limits = AgeLimits()
    seen = Observation(
        at,
        {
            "solar": assess_reading(solar, at, limits, is_new=True),
            "battery": assess_reading(battery, at, limits, is_new=True),
            "grid": assess_reading(grid, at, limits, is_new=True),
        },
    )
    return DecisionDraft(uuid4(), seen, DecisionPipeline().decide(seen.decision_inputs()))


def write_again(folder: Path) -> None:
    """A new writer for each line on stdin, when the one before is gone."""
    for _ in sys.stdin:
        writer = os.fork()
        if writer == 0:
            print(os.getpid(), flush=True)
            asyncio.run(write(folder))
        os.waitpid(writer, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    if "--again" in sys.argv:
        write_again(Path(sys.argv[1]))
    elif "--late" in sys.argv:
        with patch.object(Store, "append", append_late), patch.object(recording, "WRITE_S", 0.01):
            asyncio.run(write_late(Path(sys.argv[1])))
    else:
        asyncio.run(write(Path(sys.argv[1])))
