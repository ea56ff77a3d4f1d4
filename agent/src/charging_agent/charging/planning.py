"""From one decision to the limit of each car: share, then guard.

Pure: is given everything, also what it remembers of the round before.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """The limits of one round, with all that they were made from.

    at: the moment for which it was made. headroom: None where nobody may charge whatever room there is.
    before, after: what sharing remembers. allotments: as the guard let them through, for each car.
    clamps: what the guard changed. idle: EVSEs without a car; where all is paused they are told so too, for whoever
        comes meanwhile.
    """

    at: datetime
    cars: tuple[Car, ...]
    room: SiteRoom
    headroom: Headroom | None
    before: Memory
    policy: SharingPolicy
    allotments: tuple[Allotment, ...]
    clamps: tuple[LimitClamp, ...]
    after: Memory
    idle: tuple[CarKey, ...] = ()

    @property
    def limits(self) -> tuple[Allotment, ...]:
        """What is commanded, the most important cars first: where not all fit, earlier ones come first."""
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
    """Share the room among the cars and let through of it what fits, whoever shared.

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
