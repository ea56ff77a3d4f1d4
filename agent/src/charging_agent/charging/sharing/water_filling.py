"""Equal shares: the currents of several cars rise together until something stops each of them (max-min fairness).

The level rises from the lowest car's current. A car joins when the level reaches what it already has, and leaves at its
own top or when one of its limits is full. Between two such moments nothing changes, so that the level may leap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from charging_agent.charging.sharing.demand import CarDemand, PhaseMode
from charging_agent.charging.sharing.quantization import RemainingCapacity


@dataclass(slots=True)
class Grant:
    """A car that charges: its claim, how it charges, and the steps it has so far."""

    claim: CarDemand
    mode: PhaseMode
    steps: int


def raise_to(grant: Grant, steps: int, left: RemainingCapacity) -> int:
    """Give one car as much of that as still fits, never less than it has; returns by how much it rose."""
    more = max(0, min(steps - grant.steps, left.max_steps(grant.mode.units)))
    left.take(grant.mode.units, more)
    grant.steps += more
    return more


def raise_together(grants: Sequence[Grant], tops: Sequence[int], left: RemainingCapacity) -> None:
    """Raise all of them alike, each up to its top; the last steps that are too few for all go to the first in line."""
    rising = _RisingGroup(grants, left)
    bounds = [(grant, top) for grant, top in zip(grants, tops, strict=True) if grant.steps < top]
    events = [(grant.steps, 0, place) for place, (grant, _) in enumerate(bounds)]
    events += [(top, 1, place) for place, (_, top) in enumerate(bounds)]
    for level, leaves, place in sorted(events):
        rising.rise_to(level)
        if leaves:
            rising.leave(bounds[place][0])
        else:
            rising.join(bounds[place][0])
    while sum(raise_to(grant, min(top, grant.steps + 1), left) for grant, top in bounds):
        pass


class _RisingGroup:
    """The cars whose current is at the level now."""

    def __init__(self, grants: Sequence[Grant], left: RemainingCapacity) -> None:
        self._left, self._level = left, 0
        self._weights = [0] * len(left.steps)
        # Insertion order, so that nothing depends on hashes.
        self._members: dict[int, Grant] = {}
        self._users: list[dict[int, Grant]] = [{} for _ in left.steps]

    def join(self, grant: Grant) -> None:
        self._members[id(grant)] = grant
        for index, weight in grant.mode.units:
            self._weights[index] += weight
            self._users[index][id(grant)] = grant

    def leave(self, grant: Grant) -> None:
        if self._members.pop(id(grant), None) is None:
            return
        grant.steps = self._level
        for index, weight in grant.mode.units:
            self._weights[index] -= weight
            del self._users[index][id(grant)]

    def rise_to(self, level: int) -> None:
        while self._members and self._level < level:
            left = self._left.steps
            loaded = [(index, weight) for index, weight in enumerate(self._weights) if weight]
            rise = min(level - self._level, *(left[index] // weight for index, weight in loaded))
            for index, weight in loaded:
                left[index] -= weight * rise
            self._level += rise
            if self._level < level:
                full = [index for index, weight in loaded if left[index] < weight]
                for grant in [grant for index in full for grant in self._users[index].values()]:
                    self.leave(grant)
        self._level = max(self._level, level)
