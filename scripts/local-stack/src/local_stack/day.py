"""Plays one day: moves the run's clock from step to step and asks the agent at each.

The clock runs at speed 1 while a decision is made and jumps between decisions.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from ev_service.clock import write_clock_file


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of the day, as the agent told it.

    at: local time of the site. Powers in kW, shares in percent; None where the reading was missing.
    """

    at: datetime
    generation_kw: float | None
    soc_percent: float | None
    load_percent: float | None
    action: str
    rule: str
    charging_power_kw: float
    reason: str
    is_degraded: bool


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Which day is played and how.

    step: time between two decisions. pace_s [s]: real time that a step takes at least.
    """

    day: date
    timezone: str
    step: timedelta = timedelta(minutes=5)
    pace_s: float = 0.1

    def moments(self) -> Iterator[datetime]:
        """The moments of the decisions, local midnight to local midnight."""
        zone = ZoneInfo(self.timezone)
        moment = datetime.combine(self.day, time_of_day(), zone)
        end = datetime.combine(self.day + timedelta(days=1), time_of_day(), zone)
        while moment < end:
            yield moment
            # Added in UTC, so that a day with a clock change has its 23 or 25 hours.
            moment = (moment.astimezone(ZoneInfo("UTC")) + self.step).astimezone(zone)


def play(plan: DayPlan, agent_url: str, clock_file: Path) -> Iterator[Step]:
    """Play the day and give each decision as it is made."""
    with httpx.Client(base_url=agent_url, timeout=10, trust_env=False) as agent:
        for moment in plan.moments():
            started = time.monotonic()
            write_clock_file(clock_file, moment)
            answer = agent.get("/optimize-charging").raise_for_status()
            yield _step(moment, answer.json())
            time.sleep(max(0.0, plan.pace_s - (time.monotonic() - started)))


def _step(moment: datetime, told: dict[str, Any]) -> Step:
    readings = told["readings"]
    return Step(
        at=moment,
        generation_kw=readings["solar"].get("generation_kw"),
        soc_percent=readings["battery"].get("soc_percent"),
        load_percent=readings["grid"].get("load_percent"),
        action=told["action"],
        rule=told["rule"],
        charging_power_kw=told["charging_power_kw"],
        reason=told["reason"],
        is_degraded=told["degraded"],
    )
