"""What must hold at the site whatever happens, judged from outside: by what flows and by what chargers were told."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.safety.charge_point import ChargePoint
from tests.safety.site import Site

LONGEST_OVERLOAD_S = 5.0
LONGEST_WITHOUT_COMMANDER_S = 60.0
SETTLES_S = 10.0
"""After a charger came back, or the charger service restarted, so long counts apart [s]."""


@dataclass(slots=True)
class Findings:
    """What was seen.

    violations: what must not be, once each. apart: seconds that do not count, by reason. seen: how often
    something happened, by name: a run in which nothing happens proves nothing.
    """

    violations: list[str] = field(default_factory=list[str])
    apart: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    seen: Counter[str] = field(default_factory=Counter[str])
    longest_overload_s: float = 0.0


@dataclass(slots=True)
class Checks:
    """Looks at the site ten times a second.

    fallback_a [A]: what a charger may give without a commander.
    service_up_since_s, commander_gone_since_s: monotonic time; None: it is down, or there is one.
    """

    site: Site
    points: Sequence[ChargePoint]
    fallback_a: float
    findings: Findings = field(default_factory=Findings)
    service_up_since_s: float | None = None
    commander_gone_since_s: float | None = None
    _began_s: float = field(default_factory=time.monotonic)
    _over_since_s: dict[int, float] = field(default_factory=dict[int, float])
    _told: set[str] = field(default_factory=set[str])

    def look(self, elapsed_s: float) -> None:
        """Judge this moment."""
        moment_s = time.monotonic()
        self._judge_overload(moment_s, elapsed_s)
        self._judge_fallbacks(moment_s, elapsed_s)

    def forbid_limit(self, charger_id: str, limit_a: float) -> None:
        """A charger was sent a current that no car charges with."""
        self._violate(f"{charger_id} was sent {limit_a} A", f"forbidden {charger_id}")

    def _judge_overload(self, moment_s: float, elapsed_s: float) -> None:
        over = set(self.site.overloaded_phases())
        for phase in (1, 2, 3):
            if phase not in over:
                self._over_since_s.pop(phase, None)
                continue
            drawing = [point for point in self.points if point.obeys and phase in point.phases and point.drawn_a > 0]
            responsible = [point for point in drawing if self._is_steady(point, moment_s)]
            if not responsible or not self._is_service_steady(moment_s):
                self._over_since_s.pop(phase, None)
                if drawing:
                    self.findings.apart["overload: charger away or charger service restarting [s]"] += elapsed_s
                continue
            if phase not in self._over_since_s:
                # It counts from the first reading that shows it.
                if phase in self.site.shown_phases:
                    self._over_since_s[phase] = moment_s
                    self.findings.seen["overloads"] += 1
                continue
            lasted_s = moment_s - self._over_since_s[phase]
            self.findings.longest_overload_s = max(self.findings.longest_overload_s, lasted_s)
            if lasted_s > LONGEST_OVERLOAD_S:
                cars = ", ".join(f"{one.charger_id} {one.drawn_a:g} A ({one.fault})" for one in responsible)
                carried = [round(current_a, 1) for current_a in self.site.currents_a()]
                self._violate(
                    f"L{phase} over {self.site.phase_limit_a:.1f} A for {lasted_s:.1f} s at {carried}: {cars}",
                    f"overload {phase} {self._over_since_s[phase]}",
                )

    def _judge_fallbacks(self, moment_s: float, elapsed_s: float) -> None:
        gone_since_s = self.commander_gone_since_s
        if gone_since_s is None or moment_s - gone_since_s <= LONGEST_WITHOUT_COMMANDER_S:
            return
        self.findings.seen["looks without a commander"] += 1
        for point in self.points:
            if point.allowed_a() <= self.fallback_a + 0.05:
                continue
            is_steady = self._is_steady(point, moment_s) and self._is_service_steady(moment_s)
            if not is_steady:
                self.findings.apart["above the fallback: charger away or charger service restarting [s]"] += elapsed_s
                continue
            gone_s = moment_s - gone_since_s
            self._violate(
                f"{point.charger_id} may draw {point.allowed_a():g} A, {gone_s:.0f} s without a commander",
                f"fallback {point.charger_id} {gone_since_s}",
            )

    def _is_steady(self, point: ChargePoint, moment_s: float) -> bool:
        since_s = point.connected_since_s
        return since_s is not None and moment_s - max(since_s, point.fault_since_s) >= SETTLES_S

    def _is_service_steady(self, moment_s: float) -> bool:
        return self.service_up_since_s is not None and moment_s - self.service_up_since_s >= SETTLES_S

    def _violate(self, sentence: str, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self.findings.violations.append(f"{time.monotonic() - self._began_s:6.1f} s  {sentence}")
