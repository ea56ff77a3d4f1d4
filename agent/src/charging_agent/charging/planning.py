"""From a decision to the limit of each car: compute the headroom, allocate it, clamp the result.

Charging itself never causes an overload: everything that is not known for certain counts against the cars.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from charging_agent.charging.fleet import (
    Fleet,
    MeterHistory,
    UncontrolledCar,
    iter_evses,
    limit_in_force_a,
    power_kw,
)
from charging_agent.charging.sharing import (
    AllocationResult,
    Allotment,
    Car,
    CarKey,
    LimitClamp,
    LimitedBy,
    Memory,
    SharingPolicy,
    SiteRoom,
    allocate,
    clamp_plan,
)
from charging_agent.charging.surplus import Surplus
from charging_agent.decision.pipeline import Decision
from charging_agent.decision.policy import ConnectionLimits
from ev_service.charging import Chargers, SignalScope
from ev_service.charging_evidence import ConfirmedCharging
from ev_service.telemetry import GridLoad

_logger = logging.getLogger(__name__)

SHARING_VERSION = "1"
"""Rises when the same cars, room and memory may give another plan than before."""

Allocator = Callable[[Sequence[Car], SiteRoom, Memory, datetime, SharingPolicy], AllocationResult]


@dataclass(frozen=True, slots=True)
class Headroom:
    """What the grid connection carries, and how much of it is charging."""

    percent: float
    """Share of `limit_kw` that building and cars may use together [%]."""
    limit_kw: float
    """Limit of the connection, or the operator's if that is lower [kW]."""
    load_kw: float
    """Measured load [kW]; at most 0 while the site exports."""
    charging_kw: float
    """Part of the load that is known to be controlled charging [kW]; the real value may be higher."""
    reserved_kw: float
    """Power that uncontrolled cars may draw [kW]; what they draw now is part of the load as well."""
    current_a: tuple[float, ...] | None = None
    """Measured on L1, L2, L3 [A], negative while that phase exports; None: not known."""
    charging_a: tuple[float, ...] = ()
    """Part of `current_a` that is known to be controlled charging [A]; empty where it is not known."""
    unconfirmed_kw: float = 0.0
    """Further power that controlled cars report and the connection's meter does not confirm [kW]."""
    charging_limit_kw: float | None = None
    """What all cars together may take by the grid operator's signal [kW]; None: they are not limited."""
    is_limit_by_signal: bool = False
    """Whether `limit_kw` is what the grid operator's signal allows the connection."""
    surplus: Surplus | None = None
    """What the site gives to the grid and to cars on surplus; None: not measured, there is none then."""

    @property
    def other_kw(self) -> float:
        """Everything but charging [kW]. Not negative: what the sun gives beyond the building may be gone at once."""
        return max(0.0, self.load_kw - self.charging_kw)

    @property
    def free_kw(self) -> float:
        """What all cars may take together, those that no limit reaches included [kW]."""
        return max(0.0, self.percent / 100 * self.limit_kw - self.other_kw)

    @property
    def total_kw(self) -> float:
        """What the cars that a limit reaches may take together [kW]."""
        free_kw = self.free_kw if self.charging_limit_kw is None else min(self.free_kw, self.charging_limit_kw)
        return max(0.0, free_kw - self.reserved_kw)

    @property
    def surplus_kw(self) -> float:
        """What cars on surplus may draw together, minimum currents apart [kW]."""
        return 0.0 if self.surplus is None else self.surplus.power_kw

    @property
    def total_limited_by(self) -> LimitedBy:
        """What bounds `total_kw`."""
        is_charging_limit = self.charging_limit_kw is not None and self.charging_limit_kw < self.free_kw
        return LimitedBy.GRID_SIGNAL if is_charging_limit or self.is_limit_by_signal else LimitedBy.HEADROOM

    def free_a(self, phase: int, phases: int, voltage_v: float) -> float:
        """What all cars may take on one phase, those that no limit reaches included [A].

        Never more than an even part of all that is free: a phase that exports gives nothing to the others.

        Args:
            phase: 1, 2 or 3.
            phases: how many the site has.
            voltage_v: between phase and neutral [V].
        """
        even_a = self.free_kw * 1000 / (voltage_v * phases)
        if self.current_a is None:
            return even_a
        share_a = self.percent / 100 * self.limit_kw * 1000 / (voltage_v * phases)
        other_a = max(0.0, self.current_a[phase - 1] - self.charging_a[phase - 1])
        return max(0.0, min(even_a, share_a - other_a))


def compute_headroom(
    grid: GridLoad,
    reading: Chargers,
    fleet: Fleet,
    meter_history: MeterHistory,
    confirmed: ConfirmedCharging,
    now: datetime,
    percent: float,
    surplus: Surplus | None = None,
) -> Headroom:
    """Compute the headroom at the time of a grid reading.

    Args:
        grid: the load, with or without charging in it.
        reading: the chargers.
        fleet: what was found in that reading.
        meter_history: what the cars are reported to draw.
        confirmed: what of that the connection's meter confirms.
        now: the run's time.
        percent: share of the limit that may be used [%].
        surplus: as measured for the same readings; None: there is none.
    """
    reached, at, voltage_v = {car.key for car in fleet.cars}, grid.timestamp, reading.voltage_v
    cars = [(key, evse) for key, _, evse in iter_evses(reading) if key in reached and grid.includes_charging]
    # What a car draws beyond its limit is nothing that sharing could give to another.
    reported_kw = {
        key: min(
            power_kw(limit_in_force_a(evse), len(evse.phases), voltage_v), meter_history.min_power_kw(key, at, now)
        )
        for key, evse in cars
    }
    charging_kw = sum(min(car_kw, confirmed.power_kw.get(key, 0.0)) for key, car_kw in reported_kw.items())
    charging_a = dict.fromkeys(range(1, reading.phases + 1), 0.0)
    for key, evse in cars:
        for phase in set(evse.phases) & set(charging_a):
            least_a = meter_history.min_current_a(key, phase, at, now, voltage_v)
            charging_a[phase] += min(limit_in_force_a(evse), least_a, confirmed.phase_a(key, phase))
    reserved_kw = sum(power_kw(one.may_draw_a, len(one.phases), voltage_v) for one in fleet.uncontrolled)
    is_by_phase = grid.current_a is not None and len(grid.current_a) == reading.phases
    return Headroom(
        percent,
        min(grid.limit_kw, reading.site_limit_kw),
        grid.load_kw,
        charging_kw,
        reserved_kw,
        grid.current_a if is_by_phase else None,
        tuple(charging_a.values()) if is_by_phase else (),
        sum(reported_kw.values()) - charging_kw,
        reading.charging_limit_kw,
        reading.site_limit_kw < grid.limit_kw and _is_site_limit_by_signal(reading),
        surplus,
    )


def compute_room(headroom: Headroom, reading: Chargers, fleet: Fleet, decision: Decision) -> SiteRoom:
    """Compute what the cars may draw: in total, per phase, per feeder and per car.

    Where the grid reading does not tell the phases apart, the building's load is taken as even on them.
    """
    phases = range(1, reading.phases + 1)
    return SiteRoom(
        total_kw=headroom.total_kw,
        phase_a=tuple(
            max(
                0.0,
                headroom.free_a(phase, reading.phases, reading.voltage_v) - _sum_reserved_a(fleet.uncontrolled, phase),
            )
            for phase in phases
        ),
        feeder_a=compute_feeder_room(reading, fleet),
        voltage_v=reading.voltage_v,
        ceiling_kw=decision.charging_power_kw if decision.ceiling_kw is None else decision.ceiling_kw,
        pauses=is_pause(decision),
        evse_ceilings_kw=tuple(sorted(decision.evse_ceilings_kw.items())),
        total_limited_by=headroom.total_limited_by,
        surplus_kw=headroom.surplus_kw,
    )


def compute_feeder_room(reading: Chargers, fleet: Fleet) -> dict[str, tuple[float, ...]]:
    """Compute what the cars that a limit reaches may draw on each phase of each feeder [A]."""
    return {
        feeder.feeder_id: tuple(
            max(0.0, feeder.limit_a - _sum_reserved_a(fleet.uncontrolled, phase, feeder.feeder_id))
            for phase in range(1, reading.phases + 1)
        )
        for feeder in reading.feeders
    }


def build_connection_limits(
    headroom: Headroom, feeder_a: Mapping[str, tuple[float, ...]], phases: int, voltage_v: float
) -> ConnectionLimits:
    """Build the limits that a policy is given, for a decision and for its replay.

    Args:
        headroom: what the connection carries.
        feeder_a: what the cars may draw on each phase of each feeder [A].
        phases: of the site.
        voltage_v: between phase and neutral [V].
    """
    return ConnectionLimits(
        headroom.limit_kw,
        headroom.total_kw,
        headroom.percent / 100 * headroom.limit_kw,
        headroom.load_kw - headroom.charging_kw,
        phases,
        voltage_v,
        feeder_a,
    )


def create_empty_room(reading: Chargers) -> SiteRoom:
    """Nothing for anybody."""
    nothing = (0.0,) * reading.phases
    feeders = {feeder.feeder_id: nothing for feeder in reading.feeders}
    return SiteRoom(0.0, nothing, feeders, reading.voltage_v, 0.0, pauses=True)


def is_pause(decision: Decision) -> bool:
    """Whether a decision lets no car charge. Written so that a power that cannot be compared pauses too."""
    return not decision.charging_power_kw > 0


def _is_site_limit_by_signal(reading: Chargers) -> bool:
    return any(
        one.is_in_force and one.applies_to is SignalScope.CONNECTION and one.limit_kw <= reading.site_limit_kw
        for one in reading.grid_signals
    )


def _sum_reserved_a(cars: Sequence[UncontrolledCar], phase: int, feeder_id: str | None = None) -> float:
    return sum(
        car.may_draw_a for car in cars if phase in car.phases and (feeder_id is None or car.feeder_id == feeder_id)
    )


@dataclass(frozen=True, slots=True)
class ChargingPlan:
    """Limits of one round, with all inputs they were computed from."""

    at: datetime
    """Time for which the plan was made."""
    cars: tuple[Car, ...]
    """Cars to share power among."""
    room: SiteRoom
    """What the cars may draw together."""
    headroom: Headroom | None
    """How `room` was computed; None where charging is paused."""
    before: Memory
    """Memory of the allocator before this round."""
    policy: SharingPolicy
    """Delays, hysteresis and ramp of the allocator."""
    allotments: tuple[Allotment, ...]
    """Limit of each car after clamping."""
    clamps: tuple[LimitClamp, ...]
    """What clamping changed."""
    after: Memory
    """Memory of the allocator after this round."""
    idle: tuple[CarKey, ...] = ()
    """EVSEs without a car; they get 0 A during a pause, in case a car is plugged in."""

    @property
    def limits(self) -> tuple[Allotment, ...]:
        """Limits to set, the most important cars first: where not all fit into a call, earlier ones take precedence."""
        priority = {car.key: car.priority for car in self.cars}
        first = sorted(self.allotments, key=lambda one: (-priority[one.key], one.key))
        idle = self.idle if self.room.pauses else ()
        return (*first, *(Allotment(key, 0.0, None, LimitedBy.PAUSE) for key in idle))


def make_plan(
    fleet: Fleet,
    room: SiteRoom,
    headroom: Headroom | None,
    memory: Memory,
    at: datetime,
    policy: SharingPolicy,
    allocator: Allocator = allocate,
) -> ChargingPlan:
    """Allocate the room to the cars and clamp the result to what fits.

    Args:
        fleet: the cars, and who else would be told.
        room: what they may draw together.
        headroom: how the room was reckoned.
        memory: of the round before.
        at: the moment of this round.
        policy: how calmly limits change.
        allocator: shares the room; its plan is clamped.
    """
    try:
        shared = allocator(fleet.cars, room, memory, at, policy)
        proposed, after = shared.allotments, shared.memory
    except Exception:
        # A round without limits would leave the cars with those of the last one.
        _logger.exception("sharing failed, every car is given nothing")
        proposed, after = (), Memory.initial()
    allotments, clamps = clamp_plan(proposed, fleet.cars, room)
    return ChargingPlan(at, fleet.cars, room, headroom, memory, policy, allotments, clamps, after, fleet.idle)


@dataclass(frozen=True, slots=True)
class ChargingParameters:
    """Parameters of power sharing and of its alarms."""

    headroom_percent: float = 85.0
    """Share of the connection's limit that building and cars may use together [%]."""
    overdraw_s: float = 60.0
    """Time for which a car may exceed its limit before an alarm [s]."""
    meter_lost_s: float = 90.0
    """Age at which a meter value is no longer used [s]."""
    is_before_battery: bool = False
    """Whether cars on surplus go before the stationary battery."""
    sharing: SharingPolicy = field(default_factory=SharingPolicy)
    """Parameters of the allocator."""
