"""How many decisions a second the rules make in one process, guard included.

Run it: `python tests/bench/decide.py`.
"""

import itertools
import json
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policy import DecisionInputs
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

_ROUNDS, _ROUND_S = 7, 0.2
_NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


def measure() -> dict[str, float]:
    """Decisions a second [1/s]: the median of short rounds over readings that meet every rule."""
    situations, pipeline = list(_situations()), DecisionPipeline()
    rates = [_rate(situations, pipeline) for _ in range(_ROUNDS)]
    return {"decisions_per_s": round(statistics.median(rates))}


def _rate(situations: list[DecisionInputs], pipeline: DecisionPipeline) -> float:
    made, started = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - started) < _ROUND_S:
        for inputs in situations:
            pipeline.decide(inputs)
        made += len(situations)
    return made / passed_s


def _situations() -> Iterator[DecisionInputs]:
    solars = [None] + [
        SolarStatus(site_id="bench", timestamp=_NOON, source="bench", generation_kw=kw, capacity_kwp=50.0)
        for kw in (0.0, 12.5, 29.99, 30.0, 47.123)
    ]
    batteries = [None] + [
        BatteryStatus(site_id="bench", timestamp=_NOON, source="bench", soc_percent=percent, capacity_kwh=100.0)
        for percent in (40.0, 69.9, 70.0)
    ]
    grids = [None] + [
        GridLoad(site_id="bench", timestamp=_NOON, source="bench", load_percent=load, load_kw=load, limit_kw=100.0)
        for load in (30.0, 61.7, 85.0, 85.1)
    ]
    return itertools.starmap(partial(DecisionInputs.from_readings, _NOON), itertools.product(solars, batteries, grids))


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
