"""A writer to be killed: records decisions without end and names each on stdout once it is acknowledged.

Run it: `python tests/integration/ledger/writer.py FOLDER`. With `--again` a new process starts to write for each line
on stdin, forked from one that has everything imported, and tells its id first.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

# The agent loads it with the first record; here it must be there before the first fork.
import charging_agent.ledger.store  # noqa: F401  # pyright: ignore[reportUnusedImport]
from charging_agent.calls import Call, CallLog
from charging_agent.decision import Policy, decide, explain, guard
from charging_agent.ledger.errors import LedgerUnavailable
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.recorder import Recorder
from charging_agent.ledger.sealing import Made, Maker, policy_record
from charging_agent.observer import Observation
from charging_agent.readings import AgeLimits, judge
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


async def write(folder: Path) -> None:
    """Record one decision after the other, each with a call; refused ones are named too."""
    log = CallLog()
    ledger = Ledger(folder, Maker(uuid4(), "0.1.0", "bench", policy_record("rules", Policy(), AgeLimits())))
    await ledger.open()
    recorder = Recorder(ledger, log)
    print("open", flush=True)
    for number in count():
        at = NOON + timedelta(milliseconds=number)
        log.add(Call("GridAPI", "rest", "GET /grid/1.0.0/grid-load", at, 200, "ok", None, str(uuid4())))
        try:
            made = await recorder.recorded(decision_at(at))
        except LedgerUnavailable as refused:
            print(f"refused {refused.message}", flush=True)
            await asyncio.sleep(0.05)
        else:
            print(f"recorded {made.decision_id}", flush=True)


def decision_at(at: datetime) -> Made:
    """A decision from readings taken at this moment."""
    policy = Policy()
    solar = SolarStatus(site_id="bench", timestamp=at, source="bench", generation_kw=41.0, capacity_kwp=50.0)
    battery = BatteryStatus(site_id="bench", timestamp=at, source="bench", soc_percent=83.0, capacity_kwh=100.0)
    grid = GridLoad(site_id="bench", timestamp=at, source="bench", load_percent=61.0, load_kw=61.0, limit_kw=100.0)
    limits = AgeLimits()
    seen = Observation(
        at,
        judge(solar, at, limits, is_new=True),
        judge(battery, at, limits, is_new=True),
        judge(grid, at, limits, is_new=True),
    )
    proposed = decide(seen.known(), policy)
    decision = guard(proposed, seen.known(), policy)
    return Made(uuid4(), seen, proposed, decision, explain(decision, seen.known(), policy))


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
    else:
        asyncio.run(write(Path(sys.argv[1])))
