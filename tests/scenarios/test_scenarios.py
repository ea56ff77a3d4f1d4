"""Plays every situation in this folder: readings in, the whole answer of the agent out.

Each file is one situation, named as the sentence that must hold in it. A reading is its fields, with `age_s` [s],
whether it was fetched for this decision (`is_new`) and what stood in the way of a newer one (`trouble`); without
fields, or null, there never was one.
"""

from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from charging_agent.agent import DecisionResult
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policy import Action
from charging_agent.decision.rules import Rule
from charging_agent.gateway.calls import FailureReason, R
from charging_agent.readings.assessment import AgeLimits, AssessedReading, Status, assess_reading
from charging_agent.readings.observer import Observation
from charging_agent.web.schemas import build_decision_answer
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

NOW = datetime(2026, 6, 21, 12, tzinfo=UTC)
NAMES = ("solar", "battery", "grid")
SCENARIOS = sorted(Path(__file__).parent.glob("*.json"))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GivenReading(_Strict):
    """One reading as the agent holds it."""

    age_s: float = 0.1
    is_new: bool = True
    trouble: FailureReason | None = None
    generation_kw: float | None = None
    capacity_kwp: float | None = None
    soc_percent: float | None = None
    load_percent: float | None = None


class ExpectedDecision(_Strict):
    """What the answer must say."""

    rule: Rule
    action: Action
    charging_power_kw: float
    degraded: bool
    statuses: dict[str, Status] = {}
    errors: dict[str, FailureReason] = {}


class Scenario(_Strict):
    """One situation."""

    readings: dict[str, GivenReading | None]
    expected: ExpectedDecision


def assess(model: type[R], given: GivenReading | None, **unsaid: Any) -> AssessedReading[R]:
    given = given or GivenReading()
    fields = given.model_dump(exclude_none=True, exclude={"age_s", "is_new", "trouble"})
    reading = None
    if fields:
        at = NOW - timedelta(seconds=given.age_s)
        reading = model.model_validate({"site_id": "site", "timestamp": at, "source": "test"} | unsaid | fields)
    return assess_reading(reading, NOW, AgeLimits(), is_new=given.is_new, failure=given.trouble)


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_scenario(file: Path) -> None:
    scenario = Scenario.model_validate_json(file.read_bytes())
    given, expected = scenario.readings, scenario.expected
    observation = Observation(
        NOW,
        {
            "solar": assess(SolarStatus, given["solar"]),
            "battery": assess(BatteryStatus, given["battery"], capacity_kwh=100.0),
            "grid": assess(GridLoad, given["grid"], load_kw=61.0, limit_kw=100.0),
        },
    )

    decision = DecisionPipeline().decide(observation.decision_inputs()).decision
    said = build_decision_answer(DecisionResult("id", NOW, decision, observation), "site")

    assert (said.rule, said.action, said.charging_power_kw) == (
        expected.rule,
        expected.action,
        expected.charging_power_kw,
    )
    assert said.degraded is expected.degraded
    readings = {name: getattr(said.readings, name) for name in NAMES}
    assert {name: readings[name].status for name in expected.statuses} == expected.statuses
    assert {name: readings[name].error for name in expected.errors} == expected.errors
    assert any(reading.error for reading in readings.values()) is expected.degraded


def test_every_rule_and_every_kind_of_trouble_that_a_reading_can_have_has_a_scenario() -> None:
    scenarios = [Scenario.model_validate_json(file.read_bytes()) for file in SCENARIOS]

    assert {scenario.expected.rule for scenario in scenarios} == set(Rule)
    assert {status for scenario in scenarios for status in scenario.expected.statuses.values()} == set(Status)
    assert {trouble for scenario in scenarios for trouble in scenario.expected.errors.values()} >= {
        FailureReason.TOO_OLD,
        FailureReason.INVALID_READING,
        FailureReason.THROTTLED,
    }


def test_every_combination_of_missing_readings_has_a_scenario() -> None:
    gaps = {
        frozenset(name for name in NAMES if scenario.expected.statuses.get(name) is Status.MISSING)
        for scenario in (Scenario.model_validate_json(file.read_bytes()) for file in SCENARIOS)
    }

    assert gaps == {frozenset(gap) for size in range(4) for gap in combinations(NAMES, size)}
