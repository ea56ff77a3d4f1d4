"""What sharing is asked and what it answers: cars, the room for them, and what each one may draw.

Pure data. Currents are RMS amperes per phase; a limit counts on every phase that its car may draw from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ev_service.charging import LEAST_CURRENT_A

CarKey = tuple[str, int]
"""`(charger_id, evse_id)`: the place where the car charges."""


class LimitedBy(StrEnum):
    """What kept a car below the ceiling of the decision."""

    PAUSE = "pause"
    """The decision or the fail-safe pauses all charging."""
    NOT_WANTED = "not_wanted"
    """No car is there that would take power."""
    CEILING = "ceiling"
    """The ceiling is below the least power with which this car can charge."""
    CHARGER_LIMIT = "charger_limit"
    """The EVSE, its cable or the car can not take more."""
    FEEDER_LIMIT = "feeder_limit"
    PHASE_LIMIT = "phase_limit"
    HEADROOM = "headroom"
    """The power that the site has left for charging."""
    MINIMUM_OFF_TIME = "minimum_off_time"
    """It stopped a moment ago and may not start yet."""
    HYSTERESIS = "hysteresis"
    """More would fit, by too little to change for already."""
    RAMP = "ramp"
    """It is on its way up."""
    LEAST_CURRENT = "least_current"
    """The plan asked for a current between 0 and the least one."""
    NOT_PLANNED = "not_planned"
    """The plan has nothing for this car."""
    UNKNOWN_CAR = "unknown_car"
    """The plan names a car that is not there."""
    DUPLICATE = "duplicate"
    """The plan names the car a second time."""
    INVALID = "invalid"
    """The plan asks for something that is no current, or for phases that the car can not switch to."""


@dataclass(frozen=True, slots=True)
class Car:
    """A car at its EVSE, as far as sharing has to know it.

    key: where it charges.
    phases: phases of the site (1 to 3) that the EVSE is wired to, its own L1 first; the first is the one that is left
        when it is switched to one phase.
    max_a [A]: most that EVSE, cable and car take per phase.
    least_a [A]: lowest current with which it charges; below it there is only 0.
    priority: higher goes first when power is scarce.
    guaranteed_a [A]: per phase, what it gets wherever that is allowed; 0: nothing is guaranteed. Between 0 and least_a
        it means least_a.
    energy_left_kwh [kWh]: energy that is still wanted; None: not known.
    departure: when it wants to leave, aware; None: not known.
    can_switch_phases: whether it can be switched between one phase and all its phases.
    feeder_id: the feeder that it hangs on.
    drawn_a [A]: measured on L1, L2, L3 of the site; None: no measurement that is young enough, it then counts as
        drawing its limit.
    limit_a [A]: the limit in force, the fallback where no limit is; None: not known.
    is_charging: whether it draws power now.
    wants: whether a car is there that may take power.

    Raises:
        ValueError: it has no phase.
    """

    key: CarKey
    phases: tuple[int, ...]
    max_a: float
    least_a: float = LEAST_CURRENT_A
    priority: int = 0
    guaranteed_a: float = 0.0
    energy_left_kwh: float | None = None
    departure: datetime | None = None
    can_switch_phases: bool = False
    feeder_id: str = "main"
    drawn_a: tuple[float, ...] | None = None
    limit_a: float | None = None
    is_charging: bool = False
    wants: bool = True

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError(f"{self.key} has no phase")


@dataclass(frozen=True, slots=True)
class SiteRoom:
    """What the limits of all cars together may come to: headroom, phases and feeders, without the building.

    What cars draw beyond their limits counts with the building in total_kw and, spread evenly, in phase_a; sharing
    takes off what that leaves out of a single phase, and all of it on the feeders.

    total_kw [kW]: power for all cars together; at most 0: none.
    phase_a [A]: current for all cars together on L1, L2, L3 of the site.
    feeder_a [A]: what each feeder carries on each of its phases. A feeder that is not named here has no room.
    voltage_v [V]: between phase and neutral, > 0.
    ceiling_kw [kW]: what the decision allows each car that `evse_ceilings_kw` does not name.
    pauses: whether the decision pauses all charging; then every limit is 0.
    evse_ceilings_kw [kW]: what the decision allows single cars, by their EVSE.
    """

    total_kw: float
    phase_a: tuple[float, ...]
    feeder_a: Mapping[str, tuple[float, ...]]
    voltage_v: float
    ceiling_kw: float
    pauses: bool = False
    evse_ceilings_kw: tuple[tuple[CarKey, float], ...] = ()

    def ceiling_of(self, key: CarKey) -> float:
        """What the decision allows one car [kW]."""
        return dict(self.evse_ceilings_kw).get(key, self.ceiling_kw)

    @property
    def highest_ceiling_kw(self) -> float:
        """The most that the decision allows any car [kW]."""
        return max([self.ceiling_kw, *(ceiling_kw for _, ceiling_kw in self.evse_ceilings_kw)])


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one car may draw.

    limit_a [A]: per phase; 0, or at least the car's least current.
    phases: charge on this many phases; None: as wired.
    limited_by: what kept it below the ceiling; None: nothing did.
    """

    key: CarKey
    limit_a: float
    phases: int | None = None
    limited_by: LimitedBy | None = None


@dataclass(frozen=True, slots=True)
class LimitClamp:
    """One thing in a plan that the guard did not let through as it was.

    asked_a, given_a [A]: per phase; asked_a is None where the plan had nothing.
    """

    key: CarKey
    asked_a: float | None
    given_a: float
    limited_by: LimitedBy
