"""The port of a decision policy: what it is given, what it proposes, and what the agent makes of that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self

from pydantic import JsonValue

from charging_agent.charging.sharing import Car, CarKey
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus

SOLAR, BATTERY, GRID = "solar", "battery", "grid"
"""Names of the readings that the rules use."""


class Action(StrEnum):
    """Band of the charging power."""

    PAUSE = "pause"
    SLOW = "slow"
    NORMAL = "normal"
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What the grid connection leaves for charging, as far as it is known before the decision."""

    limit_kw: float
    """Limit of the connection, or the operator's if that is lower [kW]."""

    free_kw: float
    """What all cars that a limit reaches may draw together [kW]."""

    usable_kw: float = 0.0
    """What building and cars may draw together [kW]: the share of `limit_kw` that charging may bring the load to."""

    base_load_kw: float = 0.0
    """Measured load without the charging that is confirmed [kW]; export is not subtracted."""

    phases: int = 3
    """Phases of the site."""

    voltage_v: float = 230.0
    """Between phase and neutral [V]."""

    feeder_a: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """What the cars may draw on each phase of each feeder [A]."""


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """Everything that a policy may decide from. What is missing or too old is absent, never guessed."""

    at: datetime
    """Moment of the decision, UTC."""

    readings: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    """Readings younger than the stale limit by the name of their source (`solar`, `battery`, `grid`)."""

    forecasts: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    """Forecasts by the name of their source; empty while the site has none."""

    prices: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    """Prices by the name of their source; empty while the site has none."""

    cars: tuple[Car, ...] = ()
    """Cars that a limit reaches; empty where the decision is not carried out or the chargers cannot be read."""

    limits: ConnectionLimits | None = None
    """Limits of the connection; None where `cars` is empty or no grid reading is known."""

    @classmethod
    def from_readings(
        cls,
        at: datetime,
        solar: SolarStatus | None = None,
        battery: BatteryStatus | None = None,
        grid: GridLoad | None = None,
    ) -> Self:
        """Build the inputs of a decision from readings alone; None is a reading that is missing."""
        named = {SOLAR: solar, BATTERY: battery, GRID: grid}
        return cls(at, {name: reading for name, reading in named.items() if reading is not None})

    @property
    def solar(self) -> SolarStatus | None:
        """The reading of the panels; None when missing."""
        reading = self.readings.get(SOLAR)
        return reading if isinstance(reading, SolarStatus) else None

    @property
    def battery(self) -> BatteryStatus | None:
        """The reading of the battery; None when missing."""
        reading = self.readings.get(BATTERY)
        return reading if isinstance(reading, BatteryStatus) else None

    @property
    def grid(self) -> GridLoad | None:
        """The reading of the grid connection; None when missing."""
        reading = self.readings.get(GRID)
        return reading if isinstance(reading, GridLoad) else None


@dataclass(frozen=True, slots=True)
class ScheduledPower:
    """Power that a plan gives one car from a moment on."""

    interval_start: datetime
    """From here on, UTC."""

    power_kw: float
    """Planned power [kW], >= 0."""


@dataclass(frozen=True, slots=True)
class CarExplanation:
    """What a plan means for one car."""

    car: CarKey
    """Charger and EVSE."""

    text: str
    """In one sentence: power now, next change and when, what binds it, what falls short, what it costs."""

    departure: datetime | None
    """Departure that was planned with, UTC; None: not known, so the car is charged at once."""

    energy_kwh: float
    """Energy that it gets by the plan [kWh]."""

    shortfall_kwh: float
    """Energy that it does not get by departure [kWh]."""

    limited_by: str | None
    """Limit that costs this car most: `circuit NAME` or `peak`; None: none binds it."""

    limit_price_per_kwh: float
    """What one more kWh below that limit would save [currency/kWh]; 0 without a limit."""

    cost: float | None
    """Expected cost of its energy [currency]; None without prices."""

    cost_at_once: float | None
    """The same if it charged at full power from now on [currency]; None without prices."""


@dataclass(frozen=True, slots=True)
class PlanExplanation:
    """What a plan reckons with and what it comes to; `GET /plan` answers it."""

    ends_at: datetime
    """End of the plan, UTC; it begins with the decision."""

    currency: str | None
    """Currency of costs, ISO 4217; None: there are no prices, so power is planned by departure alone."""

    peak_kw: float
    """Highest import that is expected until then [kW]."""

    cars: tuple[CarExplanation, ...]
    """The cars that are planned, by key."""

    basis: tuple[str, ...]
    """What prices, load and departures were known, and what stands in for those that were not; one sentence each."""

    rule_ceiling_kw: float
    """What the rules would have given each charging point now [kW]."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a policy proposes. The guard may lower its ceilings and never raises them."""

    ceiling_kw: float
    """Ceiling for each charging point that `evse_ceilings_kw` does not name [kW]."""

    reason: str
    """Why, in one plain sentence with the numbers."""

    evse_ceilings_kw: Mapping[CarKey, float] = field(default_factory=dict[CarKey, float])
    """Ceilings of single charging points [kW]."""

    schedule: Mapping[CarKey, tuple[ScheduledPower, ...]] = field(
        default_factory=dict[CarKey, tuple[ScheduledPower, ...]]
    )
    """Plan by car: each power holds until the next one begins. It is recorded, the ceilings apply now."""

    plan: PlanExplanation | None = None
    """What `schedule` reckons with; None where there is no plan."""


class PolicyUnavailableError(Exception):
    """A policy cannot propose anything from these inputs, and says why in one clause; the rules propose instead."""


class DecisionPolicy(Protocol):
    """Proposes how much power the charging points may give.

    An implementation neither reads nor commands anything: the same inputs and parameters give the same proposal, so
    that a recorded decision can be made again.
    """

    @property
    def name(self) -> str:
        """Name in settings, answers and records, e.g. `rules`."""
        ...

    @property
    def version(self) -> str:
        """Rises when the same inputs and parameters may give another proposal than before."""
        ...

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """What the policy goes by beside its inputs and the rules' thresholds; recorded with each decision."""
        ...

    def propose(self, inputs: DecisionInputs) -> Proposal:
        """Propose ceilings for these inputs.

        Raises:
            PolicyUnavailableError: nothing can be proposed from them.
        """
        ...
