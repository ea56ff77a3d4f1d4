"""Plays one day: moves the run's clock from step to step and asks the agent at each.

The clock runs at speed 1 while a decision is made and jumps between decisions. After a jump the devices say how they
are before the agent is told to look.
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

# Devices look at the clock twenty times a second, and a message takes a few milliseconds.
_DEVICES_SPEAK_S = 0.12
_COMMANDED_WITHIN_S, _ASKED_AGAIN_AFTER_S = 30.0, 4.0
_LONGEST_AGENT_PERIOD = timedelta(hours=1)
_PERIODS_IN_STEPS = 1.5
LONGEST_STEP = _LONGEST_AGENT_PERIOD / _PERIODS_IN_STEPS
"""Longest time between two decisions: with a longer one the agent would look by itself in the middle of a jump."""
_LOOKED_S = 10.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class CarPower:
    """One car that is there.

    car_id: which. place: where it stands. power_kw [kW], current_a [A, on L1, L2, L3]: what it draws.
    limit_a [A per phase]: what it may draw.
    """

    car_id: str
    place: str
    power_kw: float
    current_a: tuple[float, ...]
    limit_a: float


@dataclass(frozen=True, slots=True)
class PhaseLoad:
    """One phase of the connection.

    load_a [A]: what it carries, positive drawn from the grid. charging_a [A]: what of that the cars draw.
    limit_a [A]: what it may carry.
    """

    load_a: float
    charging_a: float
    limit_a: float


@dataclass(frozen=True, slots=True)
class Charging:
    """What the devices of the site did once the limits were set.

    load_kw [kW]: drawn from the grid, cars included. limit_kw [kW]: what the connection may carry.
    phases: the same by phase.
    is_commanded: whether the agent set limits for this step.
    """

    cars: tuple[CarPower, ...]
    load_kw: float
    limit_kw: float
    phases: tuple[PhaseLoad, ...]
    is_commanded: bool

    @property
    def charging_kw(self) -> float:
        """What all cars draw [kW]."""
        return sum(car.power_kw for car in self.cars)


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of the day, as the agent told it, and what came of it.

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
    charging: Charging


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Which day is played and how.

    step: time between two decisions. pace_s [s]: real time that a step takes at least.
    is_recorded: whether the load is replayed, and so knows nothing of these cars.
    """

    day: date
    timezone: str
    step: timedelta = timedelta(minutes=10)
    pace_s: float = 0.1
    is_recorded: bool = False

    @property
    def agent_period(self) -> timedelta:
        """The agent's own period: longer than a step, so that its rounds begin when it is told to look."""
        return _PERIODS_IN_STEPS * self.step

    def moments(self) -> Iterator[datetime]:
        """The moments of the decisions, local midnight to local midnight."""
        zone = ZoneInfo(self.timezone)
        moment = datetime.combine(self.day, time_of_day(), zone)
        end = datetime.combine(self.day + timedelta(days=1), time_of_day(), zone)
        while moment < end:
            yield moment
            # Added in UTC, so that a day with a clock change has its 23 or 25 hours.
            moment = (moment.astimezone(ZoneInfo("UTC")) + self.step).astimezone(zone)


def play(plan: DayPlan, agent_url: str, twin_url: str, clock_file: Path) -> Iterator[Step]:
    """Play the day and give each decision as it is made and carried out."""
    with httpx.Client(timeout=10, trust_env=False) as client:
        for moment in plan.moments():
            started = time.monotonic()
            write_clock_file(clock_file, moment)
            time.sleep(_DEVICES_SPEAK_S)
            former = _chargers(client, agent_url).get("valid_until")
            client.post(f"{agent_url}/recheck").raise_for_status()
            is_commanded = _wait_for_command(client, agent_url, former)
            decided = client.get(f"{agent_url}/optimize-charging").raise_for_status().json()
            site = client.get(f"{twin_url}/site").raise_for_status().json()
            others_percent = decided["readings"]["grid"].get("load_percent") if plan.is_recorded else None
            yield _step(moment, decided, _charging(site, others_percent, is_commanded=is_commanded))
            time.sleep(max(0.0, plan.pace_s - (time.monotonic() - started)))


def _wait_for_command(client: httpx.Client, agent_url: str, former: str | None) -> bool:
    """Wait until the agent has polled the chargers and, where a car is, set limits anew; return whether it did.

    Its own next round, which would repeat a command that got lost, is an hour of the run away: it is asked for.
    """
    deadline = time.monotonic() + _COMMANDED_WITHIN_S
    ask_again_s = time.monotonic() + _ASKED_AGAIN_AFTER_S
    while time.monotonic() < deadline:
        if time.monotonic() > ask_again_s:
            ask_again_s += _ASKED_AGAIN_AFTER_S
            client.post(f"{agent_url}/recheck").raise_for_status()
        told = _chargers(client, agent_url)
        has_looked = told.get("age_s") is not None and told["age_s"] < _LOOKED_S
        if has_looked and (not told["cars"] or told.get("valid_until") != former):
            return True
        time.sleep(_POLL_S)
    return False


def _chargers(client: httpx.Client, agent_url: str) -> dict[str, Any]:
    status = client.get(f"{agent_url}/site-status").raise_for_status().json()
    return status.get("chargers") or {}


def _charging(site: dict[str, Any], others_percent: float | None, *, is_commanded: bool) -> Charging:
    """What the twin says of its cars, upon its own load or upon a recorded one [% of the limit]."""
    cars = tuple(
        CarPower(
            car["car_id"],
            f"{car['charger_id']}/{car['evse_id']}",
            car["power_kw"],
            tuple(car["current_a"]),
            car["limit_a"],
        )
        for car in site["cars"]
    )
    load_kw, limit_kw, limit_a = site["load_kw"], site["limit_kw"], site["limit_a"]
    cars_a = [sum(car.current_a[line] for car in cars) for line in range(len(site["connection_current_a"]))]
    load_a = site["connection_current_a"]
    if others_percent is not None:
        load_kw = others_percent / 100 * limit_kw + sum(car.power_kw for car in cars)
        # A recording does not tell the phases apart; the agent takes its load as even too.
        load_a = [others_percent / 100 * limit_a + current_a for current_a in cars_a]
    phases = tuple(PhaseLoad(load, cars, limit_a) for load, cars in zip(load_a, cars_a, strict=True))
    return Charging(cars, load_kw, limit_kw, phases, is_commanded)


def _step(moment: datetime, told: dict[str, Any], charging: Charging) -> Step:
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
        charging=charging,
    )
