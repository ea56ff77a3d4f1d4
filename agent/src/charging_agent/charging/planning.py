"""From a decision to the limit of each car: allocate, then clamp."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from charging_agent.charging.fleet import Fleet
from charging_agent.charging.headroom import Headroom
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

_logger = logging.getLogger(__name__)

SHARING_VERSION = "1"
"""Rises when the same cars, room and memory may give another plan than before."""

Allocator = Callable[[Sequence[Car], SiteRoom, Memory, datetime, SharingPolicy], AllocationResult]


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
    sharing: SharingPolicy = field(default_factory=SharingPolicy)
    """Parameters of the allocator."""
