"""Decisions to be recorded, and ledgers that hold some."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.gateway.calls import Call, FailureReason
from charging_agent.ledger.keys import SigningKey
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.record_signing import ChainHead, DecisionDraft, RunMetadata, build_policy_record, sign_record
from charging_agent.ledger.records import SignedRecord
from charging_agent.readings.assessment import AgeLimits, AssessedReading, Status, assess_reading
from charging_agent.readings.observer import Observation
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


def observation(at: datetime = NOON, *, generation_kw: float = 41.0, load_percent: float = 61.0) -> Observation:
    told: dict[str, Any] = {"site_id": "greensboro", "timestamp": at - timedelta(seconds=0.25), "source": "simulated"}
    solar = SolarStatus(**told, generation_kw=generation_kw, capacity_kwp=50.0)
    battery = BatteryStatus(**told, soc_percent=83.0, capacity_kwh=100.0)
    grid = GridLoad(**told, load_percent=load_percent, load_kw=load_percent, limit_kw=100.0)
    return Observation(
        at,
        {
            "solar": assess_reading(solar, at, AgeLimits(), is_new=True),
            "battery": assess_reading(battery, at, AgeLimits(), is_new=True),
            "grid": assess_reading(grid, at, AgeLimits(), is_new=True),
        },
    )


def unknown(at: datetime = NOON, error: FailureReason = FailureReason.THROTTLED) -> Observation:
    missing: AssessedReading[Reading] = AssessedReading(Status.MISSING, error=error)
    return Observation(at, dict.fromkeys(("solar", "battery", "grid"), missing))


def made_from(seen: Observation) -> DecisionDraft:
    return DecisionDraft(uuid4(), seen, DecisionPipeline().decide(seen.decision_inputs()))


def call(at: datetime = NOON, *, api: str = "GridAPI", status: int | None = 200, **changes: Any) -> Call:
    told: dict[str, Any] = {
        "protocol": "rest",
        "resource": "GET /grid/1.0.0/grid-load",
        "outcome": "ok" if status == 200 else "throttled",
        "correlation_id": "round-1",
    }
    return Call(api=api, at=at, status=status, **(told | changes))


def maker() -> RunMetadata:
    return RunMetadata(uuid4(), "0.1.0", "greensboro", build_policy_record(DecisionPipeline(), AgeLimits()))


def chain(key: SigningKey, length: int, *, calls: Callable[[int], list[Call]] = lambda _: []) -> list[SignedRecord]:
    """Records that follow each other, a minute apart."""
    head, by, sealed = ChainHead(), maker(), list[SignedRecord]()
    for number in range(length):
        at = NOON + timedelta(minutes=number)
        sealed.append(
            sign_record(made_from(observation(at, generation_kw=float(number))), calls(number), head, by, key)
        )
        head = ChainHead(number + 1, sealed[-1].sha256)
    return sealed


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncGenerator[Ledger]:
    made = Ledger(tmp_path / "state", maker())
    await made.open()
    yield made
    await made.close()
