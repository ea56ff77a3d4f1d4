"""The envelope of all cars: limits of chargers, phases, feeders and the site, and the headroom within them.

No request of an agent changes it. Currents are RMS amperes on the site's phases.
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

GRID_SIGNAL = "grid_signal"
"""`limited_by` of what the grid operator's signal made less."""


@dataclass(frozen=True, slots=True)
class EvseWiring:
    """Wiring of one EVSE."""

    key: EvseKey
    feeder_id: str
    phases: tuple[int, ...]
    """The site's phases on the charger's L1, L2, L3, in this order."""
    max_current_a: float
    """Rating per phase [A]."""
    can_switch_phases: bool = False

    def currents(self, limit_a: float, phases: int | None = None) -> Currents:
        """Convert a limit [A per phase] into currents on the site's phases, charging on the first `phases` of its own.

        >>> EvseWiring(("CP-1", 1), "main", (2, 3, 1), 32.0).currents(10.0, 2)
        (0.0, 10.0, 10.0)
        """
        used = self.phases if phases is None else self.phases[:phases]
        return (limit_a if 1 in used else 0.0, limit_a if 2 in used else 0.0, limit_a if 3 in used else 0.0)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The limits that several EVSEs share."""

    site_limit_kw: float
    voltage_v: float
    phases: int
    feeder_a: Mapping[str, float]
    """Limit of each phase by feeder [A]."""
    charging_limit_kw: float | None = None
    """Limit of all EVSEs together by the grid operator's signal, on whatever phases [kW]; None: there is none."""
    is_site_limit_by_signal: bool = False
    """Whether `site_limit_kw` is what the grid operator's signal allows the connection."""

    @property
    def charging_a(self) -> float:
        """Limit of all EVSEs together, summed over their phases [A]; infinite without a signal."""
        return math.inf if self.charging_limit_kw is None else self.charging_limit_kw * 1000 / self.voltage_v

    @property
    def site_a(self) -> float:
        """Limit of all phases together [A]."""
        return self.site_limit_kw * 1000 / self.voltage_v

    @property
    def phase_a(self) -> float:
        """Limit of each phase [A]."""
        return self.site_a / self.phases


@dataclass(slots=True)
class PhaseLoads:
    """Currents on each phase of the site and of its feeders [A]."""

    phase_a: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    feeder_a: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def add(self, wiring: EvseWiring, currents: Currents) -> None:
        """Add the currents of one EVSE."""
        feeder = self.feeder_a.setdefault(wiring.feeder_id, [0.0, 0.0, 0.0])
        for line, current_a in enumerate(currents):
            self.phase_a[line] += current_a
            feeder[line] += current_a

    def exceeds(self, envelope: Envelope) -> bool:
        """Return whether the envelope is exceeded by more than a rounding error."""
        headroom = [envelope.phase_a - current_a for current_a in self.phase_a[: envelope.phases]]
        headroom.append(envelope.charging_a - sum(self.phase_a))
        for feeder_id, feeder in self.feeder_a.items():
            headroom.extend(envelope.feeder_a[feeder_id] - current_a for current_a in feeder)
        return min(headroom) < -_ROUNDING_A


_ROUNDING_A = 1e-6


@dataclass(frozen=True, slots=True)
class CurrentRequest:
    """A limit that is requested for one EVSE."""

    wiring: EvseWiring
    limit_a: float
    """Requested limit per phase [A]."""
    phases: int | None
    """Number of phases to charge on; None: as wired."""
    counted: Currents
    """Currents that count in any case: fallback, draw above the limit, and earlier grants that it may still use."""


@dataclass(frozen=True, slots=True)
class CurrentGrant:
    """The result of a request."""

    limit_a: float
    """Granted limit per phase [A]."""
    limited_by: str | None = None
    """The limit that made it less than requested; None: none did."""


def max_currents(currents: Iterable[Currents]) -> Currents:
    """Return the maximum of each phase.

    >>> max_currents([(6.0, 6.0, 0.0), (0.0, 10.0, 0.0)])
    (6.0, 10.0, 0.0)
    """
    one = two = three = 0.0
    for first, second, third in currents:
        one, two, three = max(one, first), max(two, second), max(three, third)
    return one, two, three


def grant(requests: Sequence[CurrentRequest], others: PhaseLoads, envelope: Envelope) -> list[CurrentGrant]:
    """Grant as much of the requests as fits next to what others may draw, earlier requests first.

    Every grant is 0 or at least 6 A, in tenths. The sum of what others may draw and of the higher of grant and
    `counted` stays within the envelope, or, where it is beyond already, no grant adds to it.

    Args:
        requests: at most one per EVSE.
        others: what all other EVSEs may draw; what counts of the requests and their grants is added to it here.
        envelope: the shared limits.
    """
    for request in requests:
        others.add(request.wiring, request.counted)
    granted: list[CurrentGrant] = []
    for request in requests:
        headroom_a, limited_by = compute_headroom(request, others, envelope)
        limit_a = round_down(min(request.limit_a, headroom_a))
        if limit_a < request.limit_a - _ROUNDING_A:
            granted.append(CurrentGrant(limit_a, limited_by if headroom_a < request.limit_a - _ROUNDING_A else None))
        else:
            granted.append(CurrentGrant(limit_a))
        others.add(request.wiring, exceed_by(request.wiring.currents(limit_a, request.phases), request.counted))
    return granted


def round_down(limit_a: float) -> float:
    """Round a current down to what OCPP carries: tenths, and 0 below 6 A.

    >>> round_down(8.29), round_down(5.9)
    (8.2, 0.0)
    """
    limit_a = math.floor(limit_a * 10 + _ROUNDING_A) / 10
    return limit_a if limit_a >= LEAST_CURRENT_A else 0.0


def compute_headroom(request: CurrentRequest, loads: PhaseLoads, envelope: Envelope) -> tuple[float, str]:
    """Compute the highest limit [A per phase] that fits for one EVSE, and what bounds it; negative: it is exceeded.

    Args:
        request: the EVSE; what counts of it already is part of `loads`.
        loads: what all EVSEs may draw.
        envelope: the shared limits.
    """
    wiring, counted = request.wiring, request.counted
    used = wiring.phases if request.phases is None else wiring.phases[: request.phases]
    feeder = loads.feeder_a.get(wiring.feeder_id, [0.0, 0.0, 0.0])
    feeder_limit_a = envelope.feeder_a[wiring.feeder_id]
    # The site comes first among equals: with balanced cars phases and site end together.
    own_a, total_a = min(counted[phase - 1] for phase in used), sum(loads.phase_a)
    is_by_signal = envelope.is_site_limit_by_signal
    phase_limit_a = min(envelope.phase_a - loads.phase_a[phase - 1] + counted[phase - 1] for phase in used)
    bounds = [
        (wiring.max_current_a, "charger_limit"),
        ((envelope.charging_a - total_a) / len(used) + own_a, GRID_SIGNAL),
        ((envelope.site_a - total_a) / len(used) + own_a, GRID_SIGNAL if is_by_signal else "site_limit"),
        (phase_limit_a, GRID_SIGNAL if is_by_signal else "phase_limit"),
        (min(feeder_limit_a - feeder[phase - 1] + counted[phase - 1] for phase in used), "feeder_limit"),
    ]
    return min(bounds, key=lambda one: round(one[0], 6))


def exceed_by(currents: Currents, counted: Currents) -> Currents:
    """Compute by how much currents exceed what is counted already, on each phase."""
    first, second, third = (max(0.0, current_a - known_a) for current_a, known_a in zip(currents, counted, strict=True))
    return first, second, third


def choose_fallbacks(
    wirings: Sequence[EvseWiring], envelope: Envelope, *, building_kw: float | None, fallback_a: float
) -> dict[EvseKey, float]:
    """Give the fallback to as many EVSEs as it fits for, in their order, and 0 A to the others.

    Args:
        wirings: all EVSEs, in the order in which they are served.
        envelope: the shared limits.
        building_kw: highest expected load of the building [kW], spread evenly over the phases; None: not known, so
            that no EVSE gets a fallback.
        fallback_a: current per phase [A], 0 or at least 6.

    >>> site = Envelope(10.0, 230.0, 1, {"main": 100.0})
    >>> wirings = [EvseWiring((name, 1), "main", (1,), 32.0) for name in ("CP-1", "CP-2")]
    >>> choose_fallbacks(wirings, site, building_kw=8.0, fallback_a=6.0)
    {('CP-1', 1): 6.0, ('CP-2', 1): 0.0}
    """
    fallbacks = {wiring.key: 0.0 for wiring in wirings}
    if building_kw is None or building_kw >= envelope.site_limit_kw:
        return fallbacks
    for_cars = replace(envelope, site_limit_kw=envelope.site_limit_kw - building_kw)
    loads = PhaseLoads()
    for wiring in wirings:
        wanted_a = min(fallback_a, wiring.max_current_a)
        # All or nothing: fallbacks of different height would be harder to explain.
        if compute_headroom(CurrentRequest(wiring, wanted_a, None, NOTHING), loads, for_cars)[0] >= wanted_a:
            loads.add(wiring, wiring.currents(wanted_a))
            fallbacks[wiring.key] = wanted_a
    return fallbacks
