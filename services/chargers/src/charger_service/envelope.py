"""What all cars together may draw: limits of chargers, phases, feeders and the site, and what still fits in them.

Nothing an agent says can move it. Currents are RMS amperes on the site's phases.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ev_service.charging import LEAST_CURRENT_A

EvseKey: TypeAlias = tuple[str, int]
"""A charger's identity and the number of its EVSE."""

Currents: TypeAlias = tuple[float, float, float]
"""Amperes on L1, L2, L3 of the site."""

NOTHING: Currents = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class EvseWiring:
    """One EVSE as it is wired.

    phases: the site's phases on the charger's L1, L2, L3, in this order. max_current_a [A]: per phase.
    """

    key: EvseKey
    feeder_id: str
    phases: tuple[int, ...]
    max_current_a: float
    can_switch_phases: bool = False

    def currents(self, limit_a: float, phases: int | None = None) -> Currents:
        """What a limit [A per phase] allows on the site's phases, charging on the first `phases` of its own.

        >>> EvseWiring(("CP-1", 1), "main", (2, 3, 1), 32.0).currents(10.0, 2)
        (0.0, 10.0, 10.0)
        """
        used = self.phases if phases is None else self.phases[:phases]
        return (limit_a if 1 in used else 0.0, limit_a if 2 in used else 0.0, limit_a if 3 in used else 0.0)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The limits that several EVSEs share.

    feeder_a [A]: what each phase of a feeder may carry.
    """

    site_limit_kw: float
    voltage_v: float
    phases: int
    feeder_a: Mapping[str, float]

    @property
    def site_a(self) -> float:
        """What all phases together may carry [A]."""
        return self.site_limit_kw * 1000 / self.voltage_v

    @property
    def phase_a(self) -> float:
        """What each phase may carry [A]."""
        return self.site_a / self.phases


@dataclass(slots=True)
class PhaseLoads:
    """How much is drawn, or may be, on each phase of the site and of its feeders [A]."""

    phase_a: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    feeder_a: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def add(self, wiring: EvseWiring, currents: Currents) -> None:
        """Count what one EVSE may draw."""
        feeder = self.feeder_a.setdefault(wiring.feeder_id, [0.0, 0.0, 0.0])
        for line, current_a in enumerate(currents):
            self.phase_a[line] += current_a
            feeder[line] += current_a

    def exceeds(self, envelope: Envelope) -> bool:
        """Whether it is more than the envelope allows, by more than a rounding error."""
        room = [envelope.phase_a - current_a for current_a in self.phase_a[: envelope.phases]]
        for feeder_id, feeder in self.feeder_a.items():
            room.extend(envelope.feeder_a[feeder_id] - current_a for current_a in feeder)
        return min(room) < -_ROUNDING_A


_ROUNDING_A = 1e-6


@dataclass(frozen=True, slots=True)
class CurrentRequest:
    """A limit that is asked for one EVSE.

    counted: what counts for it whatever it is granted: its fallback, what the car draws in spite of a limit, and what
        it was granted before and may still use.
    """

    wiring: EvseWiring
    limit_a: float
    phases: int | None
    counted: Currents


@dataclass(frozen=True, slots=True)
class CurrentGrant:
    """What is granted [A per phase], and what made it less than asked."""

    limit_a: float
    limited_by: str | None = None


def max_currents(currents: Iterable[Currents]) -> Currents:
    """The highest on each phase.

    >>> max_currents([(6.0, 6.0, 0.0), (0.0, 10.0, 0.0)])
    (6.0, 10.0, 0.0)
    """
    one = two = three = 0.0
    for first, second, third in currents:
        one, two, three = max(one, first), max(two, second), max(three, third)
    return one, two, three


def grant(asks: Sequence[CurrentRequest], others: PhaseLoads, envelope: Envelope) -> list[CurrentGrant]:
    """Grant as much of what is asked as fits beside what others may draw, earlier asks first.

    Every grant is 0 or at least 6 A, in tenths. The sum of what others may draw and of the higher of grant and
    `counted` stays within the envelope, or, where it is beyond already, no grant adds to it.

    Args:
        asks: one for each EVSE at most.
        others: what all other EVSEs may draw; what the asks count themselves is added to it here, and their grants.
        envelope: the shared limits.
    """
    for ask in asks:
        others.add(ask.wiring, ask.counted)
    granted: list[CurrentGrant] = []
    for ask in asks:
        room_a, limited_by = compute_headroom(ask, others, envelope)
        limit_a = round_down(min(ask.limit_a, room_a))
        if limit_a < ask.limit_a - _ROUNDING_A:
            granted.append(CurrentGrant(limit_a, limited_by if room_a < ask.limit_a - _ROUNDING_A else None))
        else:
            granted.append(CurrentGrant(limit_a))
        others.add(ask.wiring, exceed_by(ask.wiring.currents(limit_a, ask.phases), ask.counted))
    return granted


def round_down(limit_a: float) -> float:
    """A current as it can be set: 0 or at least 6 A, down to tenths, which is what OCPP carries; never to nearest.

    >>> round_down(8.29), round_down(5.9)
    (8.2, 0.0)
    """
    limit_a = math.floor(limit_a * 10 + _ROUNDING_A) / 10
    return limit_a if limit_a >= LEAST_CURRENT_A else 0.0


def compute_headroom(ask: CurrentRequest, loads: PhaseLoads, envelope: Envelope) -> tuple[float, str]:
    """The highest limit [A per phase] that still fits for one EVSE, and what bounds it; below 0: too much is drawn.

    Args:
        ask: the EVSE; what it counts already is part of `carried`.
        loads: what all may draw.
        envelope: the shared limits.
    """
    wiring, counted = ask.wiring, ask.counted
    used = wiring.phases if ask.phases is None else wiring.phases[: ask.phases]
    feeder = loads.feeder_a.get(wiring.feeder_id, [0.0, 0.0, 0.0])
    feeder_limit_a = envelope.feeder_a[wiring.feeder_id]
    # The site comes first among equals: with balanced cars phases and site end together.
    site_a = (envelope.site_a - sum(loads.phase_a)) / len(used) + min(counted[phase - 1] for phase in used)
    rooms = [
        (wiring.max_current_a, "charger_limit"),
        (site_a, "site_limit"),
        (min(envelope.phase_a - loads.phase_a[phase - 1] + counted[phase - 1] for phase in used), "phase_limit"),
        (min(feeder_limit_a - feeder[phase - 1] + counted[phase - 1] for phase in used), "feeder_limit"),
    ]
    return min(rooms, key=lambda one: round(one[0], 6))


def exceed_by(currents: Currents, counted: Currents) -> Currents:
    """By how much currents are higher than what is counted already, on each phase."""
    first, second, third = (max(0.0, current_a - known_a) for current_a, known_a in zip(currents, counted, strict=True))
    return first, second, third


def choose_fallbacks(
    wirings: Sequence[EvseWiring], envelope: Envelope, *, building_kw: float | None, fallback_a: float
) -> dict[EvseKey, float]:
    """Give the fallback to as many EVSEs as it fits for, in their order, and 0 A to the others.

    Args:
        wirings: all EVSEs, in the order in which they are served.
        envelope: the shared limits.
        building_kw: highest load of the building that is expected [kW], spread evenly over the phases; None: not
            known, so that nothing can be promised to any EVSE.
        fallback_a: current per phase [A], 0 or at least 6.

    >>> site = Envelope(10.0, 230.0, 1, {"main": 100.0})
    >>> wirings = [EvseWiring((name, 1), "main", (1,), 32.0) for name in ("CP-1", "CP-2")]
    >>> choose_fallbacks(wirings, site, building_kw=8.0, fallback_a=6.0)
    {('CP-1', 1): 6.0, ('CP-2', 1): 0.0}
    """
    fallbacks = {wiring.key: 0.0 for wiring in wirings}
    if building_kw is None or building_kw >= envelope.site_limit_kw:
        return fallbacks
    beside = replace(envelope, site_limit_kw=envelope.site_limit_kw - building_kw)
    loads = PhaseLoads()
    for wiring in wirings:
        wanted_a = min(fallback_a, wiring.max_current_a)
        # All or nothing: a fallback that is lower here and there would be one more thing to explain.
        if compute_headroom(CurrentRequest(wiring, wanted_a, None, NOTHING), loads, beside)[0] >= wanted_a:
            loads.add(wiring, wiring.currents(wanted_a))
            fallbacks[wiring.key] = wanted_a
    return fallbacks
