"""How much of the charging power that chargers report the meter of the grid connection confirms.

A charger may report more than its car draws, by fault or on purpose. Power
that is only reported cannot be taken out of the load: it would be given to other cars, and be missing as soon as the
car really draws it. Two things must hold for power to count as confirmed:

- It was confirmed by a change: the report rose, and within a window the load rose as well. What was reported before
  the first observation, and what rose without the load, is not confirmed, until the report falls and rises again.
- It fits above the rest of the load. The rest never counts as less than it was known to be, until the load itself is
  seen below it: a car that stops while its charger goes on reporting frees nothing.

The second alone makes it safe: as long as the rest of the site takes the same, the confirmed power is never more than
what all cars draw, whatever the chargers report. The first keeps changes of the building from confirming anything.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

EvseKey = tuple[str, int]
"""Charger and EVSE."""

_TOLERANCE_KW = 1.0
_TOLERANCE_A = 4.5
"""What the building may change in a minute without making a charger look wrong [kW], and the same on one phase [A]."""

_AT_LIMIT_SHARE = 0.1
"""How far from its limit a car may draw that takes all it is offered, as a share of the limit."""

_LEAST_MATCHED_SHARE = 0.9
"""Share of a rise from limit to limit that the load must show before what was reported earlier is believed too."""

_LEAST_UNCONFIRMED_SHARE = 0.5
"""Share of its report that has to be unconfirmed before a charger is called contradicted."""


@dataclass(frozen=True, slots=True)
class ConnectionLoad:
    """What the connection carries, charging included."""

    measured_at: datetime
    """Aware UTC."""

    power_kw: float
    """What is drawn from the grid minus what is given to it [kW]."""

    current_a: tuple[float, ...] | None = None
    """On L1 [A], L2, L3, negative while that phase exports; None where it is not known."""

    voltage_v: float = 230.0
    """Between phase and neutral [V]."""

    others_kw: Mapping[str, float] = field(default_factory=dict[str, float])
    """What other meters of the site measure [kW], by name, e.g. battery and sun; positive is drawn. What they say
    has changed is no change of the building. On the phases it counts as even."""


@dataclass(frozen=True, slots=True)
class ReportedCharging:
    """What a charger reports that its car draws."""

    power_kw: float
    """>= 0 [kW]."""

    current_a: tuple[float, ...] = ()
    """On L1 [A], L2, L3 of the site; empty where the phases are not certain."""

    limit_a: float | None = None
    """The limit in force per phase [A]; None where it is not known."""


@dataclass(frozen=True, slots=True)
class ConfirmedCharging:
    """What the meter of the connection confirms of the reports; an EVSE that is not named has nothing confirmed."""

    power_kw: Mapping[EvseKey, float] = field(default_factory=dict[EvseKey, float])
    """By EVSE [kW], from 0 to what it reports."""

    current_a: tuple[Mapping[EvseKey, float], ...] = ()
    """The same on L1 [A], L2, L3; empty where the load is not known by phase."""

    contradicted: frozenset[EvseKey] = frozenset()
    """EVSEs that reported a rise which the load did not follow; small and passing differences are no contradiction."""

    by_change_kw: Mapping[EvseKey, float] = field(default_factory=dict[EvseKey, float])
    """What the load followed when it changed [kW], whether or not it still fits above the rest of the load.

    More than `power_kw`, and not safe: a car that stops while its charger goes on reporting counts until the report
    changes. Enough where a mistake costs energy from the grid and overloads nothing.
    """

    def phase_a(self, key: EvseKey, phase: int) -> float:
        """What is confirmed for an EVSE on L1, L2 or L3 [A]; 0 where it is not known."""
        return self.current_a[phase - 1].get(key, 0.0) if phase <= len(self.current_a) else 0.0


class ChargingEvidence:
    """Compares reports with the load of the connection, over time.

    Args:
        window_s: a change of a report and the change of the load that confirms it are at most this far apart [s].
            Chargers report every 10 to 60 s.
    """

    def __init__(self, window_s: float = 90.0) -> None:
        self._window = timedelta(seconds=window_s)
        self._total = _Balance(self._window, _TOLERANCE_KW)
        self._phases: tuple[_Balance, ...] = ()
        self._reports: dict[EvseKey, ReportedCharging] = {}
        self._obedience: dict[EvseKey, _Obedience] = {}
        self._observed_at: datetime | None = None
        self._others_kw: Mapping[str, float] = {}
        self._explained_kw = 0.0

    def observe(self, load: ConnectionLoad, reports: Mapping[EvseKey, ReportedCharging] | None) -> None:
        """Compare the reports with a load; one that was observed already changes nothing.

        Args:
            load: of the connection, charging included.
            reports: the newest of each EVSE, also of those without a car; an EVSE that is left out has none. None: they
                were not read since the load before. Nothing is confirmed then, and no more than fits into this load.
        """
        is_finite = all(map(math.isfinite, (load.power_kw, *(load.current_a or ()), *load.others_kw.values())))
        if load.measured_at == self._observed_at or not is_finite:
            return
        self._observed_at = load.measured_at
        self._explained_kw += sum(
            load.others_kw[name] - self._others_kw[name] for name in load.others_kw.keys() & self._others_kw.keys()
        )
        self._others_kw = load.others_kw
        currents = load.current_a or ()
        explained_a = self._explained_kw * 1000 / (load.voltage_v * max(1, len(currents)))
        phase_loads = [current_a - explained_a for current_a in currents]
        if reports is None:
            self._total.lower_to(load.power_kw - self._explained_kw)
            for phase, phase_load in zip(self._phases, phase_loads, strict=False):
                phase.lower_to(phase_load)
            return
        self._reports = {key: one for key, one in reports.items() if math.isfinite(one.power_kw) and one.power_kw >= 0}
        self._obedience = {key: self._obedience.get(key, _Obedience()) for key in self._reports}
        for key, obedience in self._obedience.items():
            obedience.observe(load.measured_at, self._reports[key], self._window)
        reported_kw = {key: one.power_kw for key, one in self._reports.items()}
        obedient = frozenset(key for key, one in self._obedience.items() if one.follows)
        self._total.observe(load.measured_at, load.power_kw - self._explained_kw, reported_kw, obedient)
        self._observe_phases(load.measured_at, phase_loads, obedient)

    def confirm(self) -> ConfirmedCharging:
        """What the meter confirms of the reports that were observed last."""
        by_phase = [phase.attribute() for phase in self._phases]
        power_kw = self._total.attribute()
        for key, one in self._reports.items():
            reported_a = sum(_current_a(one, phase) for phase in range(len(by_phase)))
            if reported_a > 0:
                share = min(1.0, sum(phase.get(key, 0.0) for phase in by_phase) / reported_a)
                power_kw[key] = one.power_kw * share
        return ConfirmedCharging(
            self._total.fitting(power_kw),
            tuple(phase.fitting(amounts) for phase, amounts in zip(self._phases, by_phase, strict=True)),
            self._total.contradicted.union(*(phase.contradicted for phase in self._phases)),
            power_kw,
        )

    def _observe_phases(self, at: datetime, loads: Sequence[float], obedient: frozenset[EvseKey]) -> None:
        if len(loads) != len(self._phases):
            # What was confirmed in total stays so when the phases become known.
            share = self._compute_confirmed_shares()
            self._phases = tuple(_Balance(self._window, _TOLERANCE_A) for _ in loads)
            for index, (phase, load) in enumerate(zip(self._phases, loads, strict=True)):
                known = {key: _current_a(one, index) * share.get(key, 0.0) for key, one in self._reports.items()}
                phase.start(at, load, self._currents(index), known)
            return
        for index, (phase, load) in enumerate(zip(self._phases, loads, strict=True)):
            phase.observe(at, load, self._currents(index), obedient)

    def _compute_confirmed_shares(self) -> Mapping[EvseKey, float]:
        confirmed = self._total.fitting(self._total.attribute())
        return {key: confirmed[key] / one.power_kw for key, one in self._reports.items() if one.power_kw > 0}

    def _currents(self, index: int) -> dict[EvseKey, float]:
        return {key: _current_a(one, index) for key, one in self._reports.items()}


@dataclass(slots=True)
class _Obedience:
    """Whether the newest change of a report was one from limit to limit."""

    limits: deque[tuple[datetime, float]] = field(default_factory=lambda: deque[tuple[datetime, float]]())
    reported_a: float = 0.0
    is_at_limit: bool = False
    follows: bool = False

    def observe(self, at: datetime, report: ReportedCharging, window: timedelta) -> None:
        reported_a = max(map(_usable, report.current_a), default=0.0)
        if report.limit_a is not None:
            self.limits.append((at, report.limit_a))
        while len(self.limits) > 1 and self.limits[1][0] <= at - window:
            self.limits.popleft()
        # A limit takes some time to act, and a report some time to come.
        is_at_limit = any(abs(reported_a - limit_a) <= _AT_LIMIT_SHARE * limit_a for _, limit_a in self.limits)
        if abs(reported_a - self.reported_a) > _AT_LIMIT_SHARE * self.reported_a:
            self.follows, self.is_at_limit = self.is_at_limit and is_at_limit, is_at_limit
        self.is_at_limit, self.reported_a = self.is_at_limit or is_at_limit, reported_a


@dataclass(slots=True)
class _Rise:
    """A rise of a report that the load has still to follow."""

    at: datetime
    amount: float


@dataclass(slots=True)
class _Report:
    """One EVSE: what it reports, what of it was confirmed by changes, and what it reported from the beginning."""

    reported: float = 0.0
    confirmed: float = 0.0
    initial: float = 0.0
    rises: deque[_Rise] = field(default_factory=lambda: deque[_Rise]())

    @property
    def awaited(self) -> float:
        return sum(rise.amount for rise in self.rises)

    @property
    def unconfirmed(self) -> float:
        """What the load did not follow in time."""
        return self.reported - self.confirmed - self.initial - self.awaited

    def change_to(self, reported: float, at: datetime) -> None:
        change, self.reported = reported - self.reported, reported
        if change > 0:
            self.rises.append(_Rise(at, change))
            return
        # What falls counts as confirmed power first: whether the load falls as well is seen later.
        self.confirmed = max(0.0, self.confirmed + change)
        self.initial = min(self.initial, max(0.0, reported - self.confirmed))
        self._shorten_rises(max(0.0, reported - self.confirmed - self.initial))

    def confirm(self, share: float) -> None:
        self.confirmed = min(self.reported, self.confirmed + share * self.awaited)
        for rise in self.rises:
            rise.amount *= 1 - share

    def believe(self, share: float) -> float:
        """Count a share of what it reported from the beginning as confirmed; how much that is."""
        believed, self.initial = share * self.initial, 0.0
        self.confirmed += believed
        return believed

    def forget_rises(self, before: datetime) -> None:
        while self.rises and self.rises[0].at < before:
            self.rises.popleft()

    def _shorten_rises(self, longest: float) -> None:
        excess = self.awaited - longest
        while self.rises and excess > 0:
            excess -= (cut := min(excess, self.rises[-1].amount))
            self.rises[-1].amount -= cut
            if self.rises[-1].amount <= 0:
                self.rises.pop()


class _Balance:
    """Reports against one measured quantity: the power in all, or the current of one phase.

    _rest: the load without what changes have confirmed; follows the building once a difference has lasted.
    _bound: at least what the load is without charging, if the rest of the site takes the same as before.
    """

    def __init__(self, window: timedelta, tolerance: float) -> None:
        self._window, self._tolerance = window, tolerance
        self._reports: dict[EvseKey, _Report] = {}
        self._load = self._rest = self._bound = 0.0
        self._surplus = deque[tuple[datetime, float]]()
        self._minutes = 1.0

    @property
    def contradicted(self) -> frozenset[EvseKey]:
        slack = self._tolerance * self._minutes
        return frozenset(
            key
            for key, one in self._reports.items()
            if one.unconfirmed > max(slack, _LEAST_UNCONFIRMED_SHARE * one.reported)
        )

    def start(
        self, at: datetime, load: float, reports: Mapping[EvseKey, float], confirmed: Mapping[EvseKey, float]
    ) -> None:
        """Begin with what is known: `confirmed` of the reports, the rest of them not."""
        self._reports = {
            key: _Report(reported, known := min(reported, confirmed.get(key, 0.0)), reported - known)
            for key, reported in reports.items()
        }
        self._load = load
        self._rest = self._bound = load - sum(one.confirmed for one in self._reports.values())
        self._surplus.append((at, 0.0))

    def lower_to(self, load: float) -> None:
        """Let no more count as confirmed than fits into a load to which there are no reports yet."""
        self._load, self._bound = load, min(self._bound, load)

    def observe(
        self, at: datetime, load: float, reports: Mapping[EvseKey, float], obedient: frozenset[EvseKey]
    ) -> None:
        """Compare the reports with a load; the first one confirms nothing.

        Args:
            at: when the load was measured.
            load: without what other meters explain.
            reports: of each EVSE.
            obedient: EVSEs whose reports went from limit to limit when they changed last.
        """
        if not self._surplus:
            self.start(at, load, reports, {})
            return
        doubted = self.contradicted
        self._pass_time(at)
        self._load = load
        for key in self._reports.keys() - reports.keys():
            del self._reports[key]
        for key, reported in reports.items():
            one = self._reports.setdefault(key, _Report())
            one.forget_rises(at - self._window)
            one.change_to(reported, at)
        surplus = self._settle(at, load - self._rest - sum(one.confirmed for one in self._reports.values()))
        for group in (self._reports.keys() - doubted, self._reports.keys() & doubted):
            surplus -= self._match(group, surplus, obedient)
        self._surplus.append((at, surplus))
        self._bound = min(load, max(self._bound, self._rest))

    def attribute(self) -> dict[EvseKey, float]:
        """What changes have confirmed, whether it fits above the rest or not."""
        return {key: one.confirmed for key, one in self._reports.items()}

    def fitting(self, amounts: Mapping[EvseKey, float]) -> dict[EvseKey, float]:
        """As much of these amounts, in proportion, as fits between the rest and the load."""
        most, total = max(0.0, self._load - self._bound), sum(amounts.values())
        share = 1.0 if total <= most else most / total
        return {key: amount * share for key, amount in amounts.items()}

    def _pass_time(self, at: datetime) -> None:
        last = self._surplus[-1][0]
        if at < last:
            # The clock was set back: no change is near another one any more.
            self._surplus = deque([(at, self._surplus[-1][1])])
            for one in self._reports.values():
                one.rises.clear()
        self._minutes = max(1.0, (at - last).total_seconds() / 60)

    def _settle(self, at: datetime, surplus: float) -> float:
        """Take for a change of the building what no report explains: a fall at once, a rise after the window."""
        since = at - self._window
        while len(self._surplus) > 1 and self._surplus[1][0] <= since:
            self._surplus.popleft()
        is_whole = self._surplus[0][0] <= since
        lasting = min(surplus, max(0.0, min(amount for _, amount in self._surplus)) if is_whole else 0.0)
        self._rest += lasting
        self._surplus = deque((moment, amount - lasting) for moment, amount in self._surplus)
        return surplus - lasting

    def _match(self, keys: Iterable[EvseKey], surplus: float, obedient: frozenset[EvseKey]) -> float:
        """Confirm rises of these reports, in proportion, up to what the load has risen; how much that is."""
        awaiting = [key for key in keys if self._reports[key].awaited > 0]
        awaited = sum(self._reports[key].awaited for key in awaiting)
        matched = min(surplus, awaited)
        if matched <= 0:
            return 0.0
        share = matched / awaited
        # Where the load rose by more, somebody draws what nobody reports.
        is_clear = share >= _LEAST_MATCHED_SHARE and _LEAST_MATCHED_SHARE * surplus <= awaited
        for key in awaiting:
            one = self._reports[key]
            one.confirm(share)
            if is_clear and key in obedient:
                believed = one.believe(share)
                self._rest -= believed
                self._bound -= believed
        return matched


def _current_a(report: ReportedCharging, index: int) -> float:
    """What is reported on a phase [A]; 0 where nothing usable is."""
    return _usable(report.current_a[index]) if index < len(report.current_a) else 0.0


def _usable(current_a: float) -> float:
    return current_a if math.isfinite(current_a) and current_a > 0 else 0.0
