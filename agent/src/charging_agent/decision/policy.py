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
    """What all cars may draw together [kW]."""


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
    """Power that a plan gives one car in one interval."""

    interval_start: datetime
    """Start of the interval, UTC."""

    power_kw: float
    """Planned power [kW], >= 0."""


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
    """Plan by car and interval; it is recorded, the ceilings apply now."""


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
        """Propose ceilings for these inputs."""
        ...
