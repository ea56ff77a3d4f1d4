"""Inputs, result and memory of power sharing.

Currents are RMS amperes per phase; a limit counts on every phase that its car may draw from. A memory is sorted by key,
so that two memories of the same rounds are equal and serialize alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ev_service.charging import LEAST_CURRENT_A, ChargingMode

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
    """The EVSE, its cable or the car cannot take more."""
    FEEDER_LIMIT = "feeder_limit"
    PHASE_LIMIT = "phase_limit"
    HEADROOM = "headroom"
    """The power that the site has left for charging."""
    GRID_SIGNAL = "grid_signal"
    """What the grid operator's signal leaves to all cars, or to the connection."""
    SURPLUS = "surplus"
    """Surplus for its mode: there is too little, or it has not lasted yet."""
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
    """The plan asks for something that is no current, or for phases that the car cannot switch to."""


@dataclass(frozen=True, slots=True)
class Car:
    """A car at its EVSE, as far as sharing has to know it.

    Raises:
        ValueError: it has no phase.
    """

    key: CarKey
    """Where it charges."""
    phases: tuple[int, ...]
    """Phases of the site (1 to 3) that the EVSE is wired to, its own L1 first.

    The first is the one that is left when it is switched to one phase.
    """
    max_a: float
    """Most that EVSE, cable and car take per phase [A]."""
    least_a: float = LEAST_CURRENT_A
    """Lowest current with which it charges [A]; below it there is only 0."""
    priority: int = 0
    """Higher goes first when power is scarce."""
    guaranteed_a: float = 0.0
    """Per phase, what it gets wherever that is allowed [A]; 0: nothing is guaranteed.

    Between 0 and least_a it means least_a.
    """
    energy_left_kwh: float | None = None
    """Energy that is still wanted [kWh]; None: not known."""
    departure: datetime | None = None
    """When it wants to leave, aware; None: not known."""
    can_switch_phases: bool = False
    """Whether it can be switched between one phase and all its phases."""
    feeder_id: str = "main"
    """The feeder that it hangs on."""
    drawn_a: tuple[float, ...] | None = None
    """Measured on L1, L2, L3 of the site [A].

    None: no measurement that is young enough, it then counts as drawing its limit.
    """
    limit_a: float | None = None
    """The limit in force, the fallback where no limit is [A]; None: not known."""
    is_charging: bool = False
    """Whether it draws power now."""
    wants: bool = True
    """Whether a car is there that may take power."""
    mode: ChargingMode = ChargingMode.SMART
    """How it wants to be charged. In mode `surplus` nothing is guaranteed."""

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError(f"{self.key} has no phase")

    @property
    def is_on_surplus(self) -> bool:
        """Whether surplus bounds what it gets, all of it or what is above its minimum."""
        return self.mode in (ChargingMode.SURPLUS, ChargingMode.MINIMUM_AND_SURPLUS)


@dataclass(frozen=True, slots=True)
class SiteRoom:
    """What the limits of all cars together may come to: headroom, phases and feeders, without the building.

    What cars draw beyond their limits counts with the building in total_kw and, spread evenly, in phase_a; sharing
    takes off what that leaves out of a single phase, and all of it on the feeders.
    """

    total_kw: float
    """Power for all cars together [kW]; at most 0: none."""
    phase_a: tuple[float, ...]
    """Current for all cars together on L1, L2, L3 of the site [A]."""
    feeder_a: Mapping[str, tuple[float, ...]]
    """What each feeder carries on each of its phases [A]. A feeder that is not named here has no room."""
    voltage_v: float
    """Between phase and neutral, > 0 [V]."""
    ceiling_kw: float
    """What the decision allows each car that `evse_ceilings_kw` does not name [kW]."""
    pauses: bool = False
    """Whether the decision pauses all charging; then every limit is 0."""
    evse_ceilings_kw: tuple[tuple[CarKey, float], ...] = ()
    """Ceilings of single cars, by their EVSE [kW]."""
    total_limited_by: LimitedBy = LimitedBy.HEADROOM
    """What bounds `total_kw`: the headroom, or the grid operator's signal."""
    surplus_kw: float = 0.0
    """What cars on surplus may draw together, minimum currents apart [kW]."""

    def ceiling_of(self, key: CarKey) -> float:
        """What the decision allows one car [kW]."""
        return dict(self.evse_ceilings_kw).get(key, self.ceiling_kw)

    @property
    def highest_ceiling_kw(self) -> float:
        """The most that the decision allows any car [kW]."""
        return max([self.ceiling_kw, *(ceiling_kw for _, ceiling_kw in self.evse_ceilings_kw)])


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one car may draw."""

    key: CarKey
    limit_a: float
    """Per phase [A]; 0, or at least the car's least current."""
    phases: int | None = None
    """Charge on this many phases; None: as wired."""
    limited_by: LimitedBy | None = None
    """What kept it below the ceiling; None: nothing did."""


@dataclass(frozen=True, slots=True)
class LimitClamp:
    """One thing in a plan that the guard did not let through as it was."""

    key: CarKey
    asked_a: float | None
    """Per phase [A]; asked_a is None where the plan had nothing."""
    given_a: float
    """Per phase [A]; asked_a is None where the plan had nothing."""
    limited_by: LimitedBy


@dataclass(frozen=True, slots=True)
class SharingPolicy:
    """Delays, hysteresis, ramp and rounding; none of them holds back a reduction that a limit asks for."""

    turn_s: float = 900.0
    """Minimum on time.

    Where there is not enough for everyone, a car charges this long before another one of its priority takes its
    place [s]. A quarter of an hour: cars that are stopped often may refuse to go on.
    """
    minimum_off_s: float = 60.0
    """A stopped car stays off this long [s]. evcc waits 1 min before it starts, openWB 30 s."""
    calm_s: float = 180.0
    """Until this long after a change smaller changes than hysteresis_kw are put off, and a stopped car starts only with
    hysteresis_kw to spare [s]. evcc waits 3 min before it stops.
    """
    hysteresis_kw: float = 1.0
    """OpenWB's users found 0.25 kW too little, 1 to 2 kW is advised there [kW]."""
    ramp_percent_per_s: float = 3.0
    """How fast a limit rises [% of the car's highest current per second]. OpenEMS takes 3 %."""
    phase_switch_s: float = 600.0
    """Between a switch of phases and the next one up [s]; down is at once. EVerest takes 600 s."""
    settle_s: float = 60.0
    """For this long after a change what a car draws says nothing about what it could [s].

    Chargers may take 30 s until a limit acts; evcc ignores readings for 60 s after a switch.
    """
    tolerance_a: float = 1.0
    """A car that draws up to this much below its limit takes all it is offered [A].

    One that draws up to this much above it keeps to it. Cars draw 6.1 A at 6 A.
    """
    rise_a: float = 2.0
    """Room to rise that is kept for a car that takes less than it is offered, more than tolerance_a [A]."""
    step_a: float = 0.1
    """Limits are whole multiples of it, rounded down [A]; OCPP takes 0.1 A, some chargers whole amperes only."""
    surplus_start_s: float = 60.0
    """A car in mode `surplus` starts once there has been enough for its least current for so long [s]. evcc 1 min."""
    surplus_stop_s: float = 180.0
    """It keeps its least current until surplus has been too little for it for so long [s]. evcc 3 min."""
    surplus_hysteresis_kw: float = 0.3
    """Takes the place of hysteresis_kw for cars that charge on surplus [kW].

    They change at most once in surplus_settle_s anyway, and with 1 kW would follow the sun that much behind.
    """
    surplus_settle_s: float = 60.0
    """For so long after surplus was shared otherwise than before, cars on surplus keep their limits [s].

    Meter values come every 10 to 60 s; until then a change of what they draw looks like one of the surplus.
    """


@dataclass(frozen=True, slots=True)
class CarMemory:
    """What is remembered of one car."""

    key: CarKey
    """Charger and EVSE."""
    limit_a: float
    """Last allotted limit [A]; 0: off."""
    phases: int
    """Number of phases it was last allotted."""
    since: datetime
    """Time at which it was last switched on or off, or arrived."""
    has_stopped: bool = False
    """Whether it charged before and was stopped; a car that has just come has not."""
    changed_at: datetime | None = None
    """When limit or phases last changed; None: not since it came."""
    raised_at: datetime | None = None
    """When it was last offered more; None: not since it came."""
    switched_at: datetime | None = None
    """When its EVSE was last switched from one number of phases to another; None: never."""
    enough_since: datetime | None = None
    """Since when there is enough surplus for it; None: there is not, or it is not in mode `surplus`."""
    lack_since: datetime | None = None
    """Since when there is too little surplus for it while it charges; None: there is enough."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of the cars that were there in the last round."""

    cars: tuple[CarMemory, ...] = ()
    """Cars of the last round, sorted by key."""
    at: datetime | None = None
    """Time of the last round; None: there was none."""
    surplus_at: datetime | None = None
    """When surplus was last shared otherwise than before; None: never."""

    @classmethod
    def initial(cls) -> "Memory":
        """Nothing remembered: the first round."""
        return cls()

    def as_of(self, now: datetime) -> "Memory":
        """The same with no moment ahead: where the clock was set back, no delay lasts longer than it is meant to."""
        if self.at is None or self.at <= now:
            return self
        return Memory(tuple(_as_of(car, now) for car in self.cars), now, _no_later(self.surplus_at, now))


def remember(car: Car, before: CarMemory | None, limit_a: float, phases: int, now: datetime) -> CarMemory:
    """What is known of a car after it was allotted that limit [A] on so many phases."""
    if before is None:
        before = CarMemory(car.key, limit_a=car.limit_a or 0.0, phases=len(car.phases), since=now)
    has_changed = limit_a != before.limit_a or phases != before.phases
    has_more = limit_a > before.limit_a or (phases != before.phases and limit_a > 0)
    was_on, is_on = before.limit_a > 0, limit_a > 0
    return CarMemory(
        key=car.key,
        limit_a=limit_a,
        phases=phases,
        # Nobody waits where no car is: the next one has just come.
        since=before.since if was_on == is_on and car.wants else now,
        has_stopped=car.wants and not is_on and (was_on or before.has_stopped),
        changed_at=now if has_changed else before.changed_at,
        raised_at=now if has_more else before.raised_at,
        switched_at=now if phases != before.phases else before.switched_at,
    )


def _as_of(car: CarMemory, now: datetime) -> CarMemory:
    return replace(
        car,
        since=min(car.since, now),
        changed_at=_no_later(car.changed_at, now),
        raised_at=_no_later(car.raised_at, now),
        switched_at=_no_later(car.switched_at, now),
        enough_since=_no_later(car.enough_since, now),
        lack_since=_no_later(car.lack_since, now),
    )


def _no_later(moment: datetime | None, now: datetime) -> datetime | None:
    return None if moment is None else min(moment, now)
