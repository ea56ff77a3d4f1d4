"""Forecasts of sessions with calibrated quantiles: what similar ended sessions did, read at levels that held so far.

Source: Chernozhukov, Wuethrich, Zhu, Distributional conformal prediction, PNAS 118 (2021): the ranks of what happened
in what was forecast tell at which levels the next quantiles have to be read.
"""

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ev_forecasting.arrivals import expect_arrivals
from ev_forecasting.series import FloatArray
from ev_forecasting.session_archive import PendingSessions, SessionArchive, SessionFeatures
from ev_forecasting.session_candidates import (
    Candidates,
    Prior,
    RelatedSessions,
    Similarity,
    compute_rank,
    pair_energies,
    read_quantiles,
)
from ev_forecasting.sessions import (
    ArrivalInterval,
    CompletedSession,
    DepartureQuantiles,
    EnergyQuantiles,
    RunningSession,
    SessionForecast,
    SessionScenario,
)

LEVELS: Final = (0.1, 0.5, 0.9)
CALIBRATED_AGES_H: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Ages of a session [h] at which the levels are calibrated; a session counts as the newest of these it has reached."""
_NAIVE_SESSIONS: Final = 50
"""The naive model's median is that of so many sessions of the site."""


@dataclass(frozen=True, slots=True)
class SessionErrors:
    """Mean absolute errors of forecasts made at arrival, over the sessions that ended last.

    The naive model takes what the driver entered, and the median of the site's newest sessions where nothing was.
    """

    sessions: int
    """Number of sessions, >= 1."""

    days: float
    """Time from the end of the first of them to that of the last [days]."""

    departure_h: float
    """Error of the median departure [h]."""

    naive_departure_h: float
    """The same of the naive model [h]."""

    energy_kwh: float
    """Error of the median energy [kWh]."""

    naive_energy_kwh: float
    """The same of the naive model [kWh]."""


class PooledSessionForecaster:
    """Learns ended sessions and forecasts running ones; deterministic, without training.

    Args:
        timezone: Zone of the site, for times of day.
        capacity: Most ended sessions that are kept.
        scenarios: Equally likely scenarios of a forecast, >= 1.
        similarity: How sessions tell of each other.
        prior: What is expected without any history.
    """

    name: Final = "pooled-sessions"

    def __init__(
        self,
        timezone: ZoneInfo,
        *,
        capacity: int = 2_000,
        scenarios: int = 10,
        similarity: Similarity | None = None,
        prior: Prior | None = None,
    ) -> None:
        self._timezone = timezone
        self._archive = SessionArchive(timezone, capacity)
        self._pending = PendingSessions()
        self._similarity = similarity or Similarity()
        self._prior = prior or Prior()
        self._levels = np.concatenate((LEVELS, (np.arange(scenarios) + 0.5) / scenarios))
        self._departure_levels = [LevelCalibration() for _ in CALIBRATED_AGES_H]
        self._energy_levels = LevelCalibration()
        self._errors: deque[tuple[float, ...]] = deque(maxlen=200)

    def learn(self, ended: CompletedSession) -> None:
        """Take up one session that is over; one that is implausible is left out."""
        if ended.is_plausible:
            self._pending.push(ended)

    def catch_up(self, now: datetime) -> None:
        """Do now the work for sessions that were learned and have ended, which the next forecast would do."""
        for ended in self._pending.pop_ended(now):
            self._take_up(ended)

    def forecast(self, running: RunningSession, now: datetime) -> SessionForecast:
        """Forecast one running session, with the state of `now`, aware. Works without any history."""
        self.catch_up(now)
        age_h = max(0.0, (now - running.arrival).total_seconds() / 3600)
        charged_kwh = max(0.0, running.energy_kwh) if math.isfinite(running.energy_kwh) else 0.0
        # Those who took more than a car that is full are no better examples of when it leaves.
        at_least_kwh = 0.0 if running.has_stopped_drawing else charged_kwh
        found = self._relate(self._archive.features(running), now).candidates(age_h, at_least_kwh)
        departure_levels = self._departure_levels[_age_step(age_h)].convert(self._levels)
        remaining_h = np.maximum(0.0, read_quantiles(found.stay_h, found.weights, departure_levels) - age_h)
        energy_levels = self._energy_levels.convert(self._levels)
        energies = read_quantiles(found.energy_kwh, found.weights, energy_levels)
        if running.has_stopped_drawing:
            energies = np.full_like(energies, charged_kwh)
        count = len(LEVELS)
        times = [now + timedelta(hours=hours) for hours in remaining_h.tolist()]
        paired = energies[count:][pair_energies(found, len(times) - count)].tolist()
        return SessionForecast(
            issued_at=now,
            departure=DepartureQuantiles(*times[:count]),
            energy_kwh=EnergyQuantiles(*energies[:count].tolist()),
            scenarios=tuple(map(SessionScenario, times[count:], paired)),
            basis=found.basis,
        )

    def expected_arrivals(
        self, now: datetime, horizon: timedelta, resolution: timedelta
    ) -> tuple[ArrivalInterval, ...]:
        """Forecast the arrivals of each interval from `now` to `now + horizon`; the first begins at `now`."""
        self.catch_up(now)
        return expect_arrivals(self._archive, self._timezone, now, horizon, resolution)

    @property
    def learned_sessions(self) -> int:
        """Number of ended sessions that forecasts are made of."""
        return len(self._archive)

    def recent_errors(self) -> SessionErrors | None:
        """Errors of the forecasts at arrival of the sessions that ended last, at most 200; None: of too few."""
        if len(self._errors) < 2:
            return None
        ends_s, *errors = np.array(self._errors).T
        means: list[float] = [float(error.mean()) for error in errors]
        return SessionErrors(len(ends_s), float(np.ptp(ends_s)) / 86_400, *means)

    def _relate(self, features: SessionFeatures, now: datetime) -> RelatedSessions:
        return RelatedSessions(self._archive, features, now, self._similarity, self._prior)

    def _take_up(self, ended: CompletedSession) -> None:
        """Score what would have been forecast of the session at its arrival and later, then let it count."""
        features = self._archive.features(ended)
        stay_h = (ended.departure - ended.arrival).total_seconds() / 3600
        related = self._relate(features, ended.arrival)
        found = related.candidates(0.0, 0.0)
        self._note_errors(ended, features, found)
        self._energy_levels.observe(compute_rank(found.energy_kwh, found.weights, ended.energy_kwh))
        for age_h, levels in zip(CALIBRATED_AGES_H, self._departure_levels, strict=True):
            if age_h < stay_h:
                found = related.candidates(age_h, 0.0)
                levels.observe(compute_rank(found.stay_h, found.weights, stay_h))
        self._archive.append(ended)

    def _note_errors(self, ended: CompletedSession, features: SessionFeatures, found: Candidates) -> None:
        naive_h, naive_kwh = features.entered_stay_h, features.entered_energy_kwh
        newest = slice(-_NAIVE_SESSIONS, None)
        if not len(self._archive):
            return
        if math.isnan(naive_h):
            naive_h = float(np.median(self._archive.column("stay_h")[newest]))
        if math.isnan(naive_kwh):
            naive_kwh = float(np.median(self._archive.column("energy_kwh")[newest]))
        median = np.array(LEVELS[1:2])
        model_h = float(read_quantiles(found.stay_h, found.weights, self._departure_levels[0].convert(median))[0])
        model_kwh = float(read_quantiles(found.energy_kwh, found.weights, self._energy_levels.convert(median))[0])
        stay_h = (ended.departure - ended.arrival).total_seconds() / 3600
        self._errors.append(
            (
                ended.departure.timestamp(),
                abs(model_h - stay_h),
                abs(naive_h - stay_h),
                abs(model_kwh - ended.energy_kwh),
                abs(naive_kwh - ended.energy_kwh),
            )
        )


class LevelCalibration:
    """At which levels of a forecast distribution its quantiles have to be read so that they hold.

    Args:
        window: So many of the newest ranks count.
        doubt: So many ranks weigh as much as the assumption that the levels are right as they are.
    """

    def __init__(self, window: int = 250, doubt: float = 40.0) -> None:
        self._ranks: deque[float] = deque(maxlen=window)
        self._doubt = doubt
        self._levels: FloatArray | None = None

    def observe(self, rank: float) -> None:
        """Take up the rank of what happened in what was forecast, 0 to 1."""
        self._ranks.append(rank)
        self._levels = None

    def convert(self, levels: FloatArray) -> FloatArray:
        """Levels at which quantiles have to be read that are to hold with the given probabilities."""
        if self._levels is None:
            nominal = np.array(LEVELS)
            self._levels = nominal
            if count := len(self._ranks):
                # The rank counts one value more than there are, so that few values widen.
                places = np.arange(1, count + 1) / (count + 1)
                learned = np.interp(nominal, places, np.sort(np.array(self._ranks)))
                self._levels = (count * learned + self._doubt * nominal) / (count + self._doubt)
        return np.interp(levels, (0.0, *LEVELS, 1.0), (0.0, *self._levels.tolist(), 1.0))


def _age_step(age_h: float) -> int:
    return int(np.searchsorted(CALIBRATED_AGES_H, age_h, side="right")) - 1
