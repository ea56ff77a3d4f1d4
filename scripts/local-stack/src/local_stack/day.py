"""Plays one day: moves the run's clock from step to step and asks the agent at each.

The clock runs at speed 1 while a decision is made and jumps between decisions. After a jump the devices report their
state before the agent is asked to read it.
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

# Devices read the clock twenty times a second, and a message takes a few milliseconds.
_DEVICE_REPORT_S = 0.12
_COMMAND_TIMEOUT_S, _RECHECK_INTERVAL_S = 30.0, 4.0
_LONGEST_AGENT_PERIOD = timedelta(hours=1)
_PERIODS_IN_STEPS = 1.5
LONGEST_STEP = _LONGEST_AGENT_PERIOD / _PERIODS_IN_STEPS
"""Longest time between two decisions: with a longer one a round of the agent's own would begin during a jump."""
_FRESH_S = 10.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class CarPower:
    """A connected car."""

    car_id: str
    """Identifies the car."""

    place: str
    """Charger and EVSE, such as `garage-1/1`."""

    power_kw: float
    """Charging power [kW]."""

    current_a: tuple[float, ...]
    """Current on L1, L2, L3 [A]."""

    limit_a: float
    """Limit of the EVSE [A per phase]."""


@dataclass(frozen=True, slots=True)
class PhaseLoad:
    """One phase of the connection."""

    load_a: float
    """Current [A]; positive is drawn from the grid."""

    charging_a: float
    """The cars' part of it [A]."""

    limit_a: float
    """Rated current of the connection [A]."""


@dataclass(frozen=True, slots=True)
class Charging:
    """State of the site's devices after the limits were set."""

    cars: tuple[CarPower, ...]
    """Connected cars."""

    load_kw: float
    """Power drawn from the grid, cars included [kW]."""

    limit_kw: float
    """Rated power of the connection [kW]."""

    phases: tuple[PhaseLoad, ...]
    """Load and limit of each phase."""

    is_commanded: bool
    """Whether the agent set limits in this step."""

    @property
    def charging_kw(self) -> float:
        """Charging power of all cars [kW]."""
        return sum(car.power_kw for car in self.cars)


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of the day as the agent reports it, and its effect."""

    at: datetime
    """Local time of the site."""

    generation_kw: float | None
    """Power of the panels [kW]; None if the reading was missing, as with the two below."""

    soc_percent: float | None
    """State of charge of the site's battery [%]."""

    load_percent: float | None
    """Load of the connection [% of its limit]."""

    action: str
    """`pause`, `slow`, `normal` or `fast`."""

    rule: str
    """The rule that decided."""

    charging_power_kw: float
    """Ceiling of each car [kW]."""

    reason: str
    """The agent's explanation."""

    is_degraded: bool
    """Whether a reading was missing or stale."""

    charging: Charging
    """The devices afterwards."""


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Which day is played and how."""

    day: date
    """Date at the site."""

    timezone: str
    """IANA time zone of the site."""

    step: timedelta = timedelta(minutes=10)
    """Time between two decisions."""

    pace_s: float = 0.1
    """Minimum real time of a step [s]."""

    is_recorded: bool = False
    """Whether the load is replayed from a recording, which does not include these cars."""

    @property
    def agent_period(self) -> timedelta:
        """The agent's own period: longer than a step, so that its rounds begin only when requested."""
        return _PERIODS_IN_STEPS * self.step

    def moments(self) -> Iterator[datetime]:
        """Yield the moments of the decisions, from local midnight to local midnight."""
        zone = ZoneInfo(self.timezone)
        moment = datetime.combine(self.day, time_of_day(), zone)
        end = datetime.combine(self.day + timedelta(days=1), time_of_day(), zone)
        while moment < end:
            yield moment
            # Added in UTC, so that a day with a clock change has its 23 or 25 hours.
            moment = (moment.astimezone(ZoneInfo("UTC")) + self.step).astimezone(zone)


def play(plan: DayPlan, agent_url: str, twin_url: str, clock_file: Path) -> Iterator[Step]:
    """Play the day and yield each decision after it was carried out."""
    with httpx.Client(timeout=10, trust_env=False) as client:
        for moment in plan.moments():
            started = time.monotonic()
            write_clock_file(clock_file, moment)
            time.sleep(_DEVICE_REPORT_S)
            previous_end = _read_chargers(client, agent_url).get("valid_until")
            client.post(f"{agent_url}/recheck").raise_for_status()
            is_commanded = _wait_for_command(client, agent_url, previous_end)
            decision = client.get(f"{agent_url}/optimize-charging").raise_for_status().json()
            site = client.get(f"{twin_url}/site").raise_for_status().json()
            others_percent = decision["readings"]["grid"].get("load_percent") if plan.is_recorded else None
            yield _build_step(moment, decision, _parse_charging(site, others_percent, is_commanded=is_commanded))
            time.sleep(max(0.0, plan.pace_s - (time.monotonic() - started)))


def _wait_for_command(client: httpx.Client, agent_url: str, previous_end: str | None) -> bool:
    """Wait until the agent has polled the chargers and, where a car is, set limits anew; return whether it did.

    If a command got lost, the round that repeats it is requested here: the agent's own next one is an hour away.
    """
    deadline = time.monotonic() + _COMMAND_TIMEOUT_S
    next_recheck_s = time.monotonic() + _RECHECK_INTERVAL_S
    while time.monotonic() < deadline:
        if time.monotonic() > next_recheck_s:
            next_recheck_s += _RECHECK_INTERVAL_S
            client.post(f"{agent_url}/recheck").raise_for_status()
        chargers = _read_chargers(client, agent_url)
        is_fresh = chargers.get("age_s") is not None and chargers["age_s"] < _FRESH_S
        if is_fresh and (not chargers["cars"] or chargers.get("valid_until") != previous_end):
            return True
        time.sleep(_POLL_S)
    return False


def _read_chargers(client: httpx.Client, agent_url: str) -> dict[str, Any]:
    status = client.get(f"{agent_url}/site-status").raise_for_status().json()
    return status.get("chargers") or {}


def _parse_charging(site: dict[str, Any], others_percent: float | None, *, is_commanded: bool) -> Charging:
    """Parse the twin's state of the site; a recorded load [% of the limit] replaces the twin's own."""
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
        # A recording has no phases; the agent assumes an even load too.
        load_a = [others_percent / 100 * limit_a + current_a for current_a in cars_a]
    phases = tuple(PhaseLoad(load, cars, limit_a) for load, cars in zip(load_a, cars_a, strict=True))
    return Charging(cars, load_kw, limit_kw, phases, is_commanded)


def _build_step(moment: datetime, decision: dict[str, Any], charging: Charging) -> Step:
    readings = decision["readings"]
    return Step(
        at=moment,
        generation_kw=readings["solar"].get("generation_kw"),
        soc_percent=readings["battery"].get("soc_percent"),
        load_percent=readings["grid"].get("load_percent"),
        action=decision["action"],
        rule=decision["rule"],
        charging_power_kw=decision["charging_power_kw"],
        reason=decision["reason"],
        is_degraded=decision["degraded"],
        charging=charging,
    )
