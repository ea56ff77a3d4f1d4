"""Forecasts of sessions from similar ended ones, pooled over driver, station, site and prior.

Every ended session is a candidate for how a running one goes on. Its weight falls with the distance of what was known
at the beginning (time of day, weekend, entered stay and energy) and with its age. Driver, station and site get shares
by the number of their similar sessions (partial pooling), and the prior gets the rest.

Source: weighted distributional conformal prediction, Chernozhukov, Wuethrich, Zhu, PNAS 118 (2021), for the
calibration of levels; Nadaraya-Watson weights for the distribution.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ev_forecasting.arrivals import expect_arrivals
from ev_forecasting.calibration import AdaptiveConformal
from ev_forecasting.series import FloatArray
from ev_forecasting.session_archive import UNKNOWN, PendingSessions, SessionArchive, SessionFeatures
from ev_forecasting.sessions import (
    ArrivalInterval,
    CompletedSession,
    DepartureQuantiles,
    EnergyQuantiles,
    ForecastBasis,
    RunningSession,
    SessionForecast,
    SessionScenario,
)

LEVELS: Final = (0.1, 0.5, 0.9)
CALIBRATED_AGES_H: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Ages of a session [h] at which the levels are calibrated; a session counts as the newest of these it has reached."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """How far apart two sessions may be and still tell something of each other; found on Caltech, 2019."""

    hour_h: float = 1.5
    """Time of day of the arrival [h]."""

    entered_stay_log: float = 0.35
    """Natural logarithm of the ratio of the entered stays."""

    entered_energy_log: float = 0.5
    """Natural logarithm of the ratio of the entered energies."""

    other_day_type: float = 1.5
    """Distance between a working day and a weekend."""

    only_one_entered: float = 1.5
    """Distance between a session with an entry and one without."""

    memory_days: float = 120.0
    """After so many days a session weighs 1/e."""

    driver_width: float = 2.0
    """Sessions of the same driver may be so many times further apart."""

    site_width: float = 3.0
    """The widest ring: sessions anywhere at the site may be so many times further apart."""

    driver_count: float = 2.0
    """So many similar sessions of the driver weigh as much as all that is known besides."""

    station_count: float = 30.0
    """The same of the station."""

    site_count: float = 8.0
    """The same of the site."""

    prior_count: float = 4.0
    """So many sessions at the site weigh as much as the prior."""

    stay_shift: float = 0.5
    """Share of a difference between entered stays by which a candidate's stay is moved, 0 to 1."""

    energy_shift: float = 0.5
    """Power of the ratio of entered energies by which a candidate's energy is scaled, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is expected without any history: log-normal stay and energy. From Caltech, May to August 2019."""

    stay_h: float = 4.0
    """Median stay [h] where no departure was entered."""

    stay_log_sigma: float = 1.0
    """Standard deviation of the logarithm of the stay."""

    entered_stay_factor: float = 1.1
    """Median of stay over entered stay."""

    energy_kwh: float = 8.0
    """Median energy [kWh] where none was entered."""

    entered_energy_factor: float = 0.55
    """Median of energy over entered energy."""

    energy_log_sigma: float = 0.8
    """Standard deviation of the logarithm of the energy."""


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Weighted ways in which a session may end."""

    stay_h: FloatArray
    energy_kwh: FloatArray
    weights: FloatArray
    """Sum 1."""
    basis: ForecastBasis


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
        self._scenario_levels = (np.arange(scenarios) + 0.5) / scenarios
        self._departure_levels = _LevelCalibration(len(CALIBRATED_AGES_H))
        self._energy_levels = _LevelCalibration(1)

    def learn(self, ended: CompletedSession) -> None:
        """Take up one session that is over; one that is implausible is left out."""
        if ended.is_plausible:
            self._pending.push(ended)

    def forecast(self, running: RunningSession, now: datetime) -> SessionForecast:
        """Forecast one running session, with the state of `now`, aware. Works without any history."""
        self._take_up_ended(now)
        features = self._archive.features(running)
        age_h = max(0.0, (now - running.arrival).total_seconds() / 3600)
        charged_kwh = running.energy_kwh if math.isfinite(running.energy_kwh) else 0.0
        found = self._candidates(features, age_h, max(0.0, charged_kwh), now)
        departure_at = self._departure_levels.levels(_age_step(age_h))
        energy_at = self._energy_levels.levels(0)
        stays_h = _quantiles(found.stay_h, found.weights, np.interp((*LEVELS, *self._scenario_levels), *departure_at))
        energies = _quantiles(found.energy_kwh, found.weights, np.interp((*LEVELS, *self._scenario_levels), *energy_at))
        remaining_h = np.maximum(0.0, stays_h - age_h)
        times = [now + timedelta(hours=hours) for hours in remaining_h.tolist()]
        if running.has_stopped_drawing:
            energies = np.full_like(energies, max(0.0, charged_kwh))
        order = _energy_order(found, len(self._scenario_levels))
        paired = energies[len(LEVELS) :][order].tolist()
        return SessionForecast(
            issued_at=now,
            departure=DepartureQuantiles(*times[: len(LEVELS)]),
            energy_kwh=EnergyQuantiles(*energies[: len(LEVELS)].tolist()),
            scenarios=tuple(map(SessionScenario, times[len(LEVELS) :], paired)),
            basis=found.basis,
        )

    def expected_arrivals(
        self, now: datetime, horizon: timedelta, resolution: timedelta
    ) -> tuple[ArrivalInterval, ...]:
        """Forecast the arrivals of each interval from `now` to `now + horizon`; the first begins at `now`."""
        self._take_up_ended(now)
        return expect_arrivals(self._archive, self._timezone, now, horizon, resolution)

    def _take_up_ended(self, now: datetime) -> None:
        for ended in self._pending.pop_ended(now):
            self._take_up(ended)

    def _take_up(self, ended: CompletedSession) -> None:
        """Score what would have been forecast of the session, then let it count."""
        features = self._archive.features(ended)
        stay_h = (ended.departure - ended.arrival).total_seconds() / 3600
        ranks = np.full(len(CALIBRATED_AGES_H), np.nan)
        for step, age_h in enumerate(CALIBRATED_AGES_H):
            if age_h >= stay_h:
                break
            found = self._candidates(features, age_h, 0.0, ended.arrival + timedelta(hours=age_h))
            ranks[step] = _rank(found.stay_h, found.weights, stay_h)
            if step == 0:
                self._energy_levels.observe(np.array([_rank(found.energy_kwh, found.weights, ended.energy_kwh)]))
        self._departure_levels.observe(ranks)
        self._archive.append(ended)

    def _candidates(self, features: SessionFeatures, age_h: float, charged_kwh: float, now: datetime) -> _Candidates:
        stays_h, energies = self._shift(features)
        now_s = now.timestamp()
        ended_s = self._archive.column("departure_s")
        is_possible = (ended_s <= now_s) & (stays_h > age_h) & (energies >= 0.98 * charged_kwh)
        age_s = np.where(is_possible, now_s - ended_s, np.inf)
        weights = np.zeros(len(stays_h) + _PRIOR_SIZE)
        left = 1.0
        shares: list[float] = []
        for ring, count in self._rings(features, age_s):
            total = float(ring.sum())
            share = left * total / (total + count)
            if share > 0:
                weights[: len(ring)] += ring * (share / total)
            left -= share
            shares.append(share)
        weights[len(stays_h) :] = left / _PRIOR_SIZE
        prior_h, prior_kwh = self._prior_candidates(features, age_h, charged_kwh)
        # What hardly weighs is not worth the time of sorting.
        is_used = weights > 1e-5
        used = weights[is_used]
        return _Candidates(
            stay_h=np.concatenate((stays_h, prior_h))[is_used],
            energy_kwh=np.maximum(charged_kwh, np.concatenate((energies, prior_kwh))[is_used]),
            weights=used / used.sum(),
            basis=ForecastBasis(driver=shares[0], station=shares[1], site=shares[2] + shares[3], prior=left),
        )

    def _rings(self, features: SessionFeatures, age_s: FloatArray) -> tuple[tuple[FloatArray, float], ...]:
        """Likeness of each ended session, 0 to 1, within driver, station, site and wider, and the count of each ring.

        Args:
            features: Of the session that is forecast.
            age_s: Time since the end of each ended session [s]; infinite where it cannot be a candidate.
        """
        similar = self._similarity
        distance = self._distance(features)
        fading = age_s / (similar.memory_days * 86_400)
        is_driver = (self._archive.column("driver") == features.driver) & (features.driver != UNKNOWN)
        is_station = (self._archive.column("station") == features.station) & (features.station != UNKNOWN)
        near = np.exp(-fading - distance)
        return (
            (np.exp(-fading - distance / similar.driver_width**2) * is_driver, similar.driver_count),
            (near * is_station, similar.station_count),
            (near, similar.site_count),
            (np.exp(-fading - distance / similar.site_width**2), similar.prior_count),
        )

    def _distance(self, features: SessionFeatures) -> FloatArray:
        """Half the squared distance of each ended session from one session."""
        similar = self._similarity
        archive = self._archive
        hours = np.abs(archive.column("hour") - features.hour)
        hours = np.minimum(hours, 24 - hours) / similar.hour_h
        distance = hours**2 + similar.other_day_type**2 * (archive.column("day_type") != features.day_type)
        pairs = (
            (features.entered_stay_h, archive.column("entered_stay_h"), similar.entered_stay_log),
            (features.entered_energy_kwh, archive.column("entered_energy_kwh"), similar.entered_energy_log),
        )
        for value, column, width in pairs:
            missing = np.isnan(column)
            if math.isnan(value):
                distance += np.where(missing, 0.0, similar.only_one_entered**2)
            else:
                apart = (np.log(column) - math.log(value)) / width
                distance += np.where(missing, similar.only_one_entered**2, np.minimum(apart**2, 50.0))
        return 0.5 * distance

    def _shift(self, features: SessionFeatures) -> tuple[FloatArray, FloatArray]:
        """Stays [h] and energies [kWh] of the ended sessions, moved toward what was entered now."""
        stays_h, energies = self._archive.column("stay_h"), self._archive.column("energy_kwh")
        if not math.isnan(features.entered_stay_h):
            entered = self._archive.column("entered_stay_h")
            moved = stays_h + self._similarity.stay_shift * (features.entered_stay_h - entered)
            stays_h = np.where(np.isnan(entered) | (moved <= 0), stays_h, moved)
        if not math.isnan(features.entered_energy_kwh):
            entered = self._archive.column("entered_energy_kwh")
            scale = (features.entered_energy_kwh / entered) ** self._similarity.energy_shift
            energies = np.where(np.isnan(entered), energies, energies * scale)
        return stays_h, energies

    def _prior_candidates(
        self, features: SessionFeatures, age_h: float, charged_kwh: float
    ) -> tuple[FloatArray, FloatArray]:
        prior = self._prior
        has_stay = not math.isnan(features.entered_stay_h)
        has_energy = not math.isnan(features.entered_energy_kwh)
        stay_h = features.entered_stay_h * prior.entered_stay_factor if has_stay else prior.stay_h
        energy_kwh = features.entered_energy_kwh * prior.entered_energy_factor if has_energy else prior.energy_kwh
        stays_h = _remaining_log_normal(stay_h, prior.stay_log_sigma, age_h)
        energies = _remaining_log_normal(energy_kwh, prior.energy_log_sigma, charged_kwh)
        return np.repeat(stays_h, len(energies)), np.tile(energies, len(stays_h))


_PRIOR_LEVELS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
_PRIOR_SIZE: Final = len(_PRIOR_LEVELS) ** 2
_STANDARD_NORMAL: Final = NormalDist()


def _remaining_log_normal(median: float, log_sigma: float, above: float) -> FloatArray:
    """Five equally likely values of a log-normal quantity that is known to be above a value."""
    survival = 1.0
    if above > 0:
        survival = max(1e-9, 1 - _STANDARD_NORMAL.cdf(math.log(above / median) / log_sigma))
    scores = [-_STANDARD_NORMAL.inv_cdf(survival * (1 - level)) for level in _PRIOR_LEVELS]
    return np.maximum(above, median * np.exp(log_sigma * np.array(scores)))


class _LevelCalibration:
    """At which levels of the pooled distribution its quantiles have to be read, by the age of a session."""

    def __init__(self, steps: int, doubt: float = 40.0) -> None:
        self._ranks = AdaptiveConformal(steps, levels=LEVELS, window=400, neighbours=0, rate=0.01)
        self._count = np.zeros(steps)
        self._doubt = doubt
        self._levels = np.tile(np.asarray(LEVELS), (steps, 1))

    def observe(self, ranks: FloatArray) -> None:
        """Take up the rank of what happened in what was forecast, 0 to 1, per step; NaN: the car had left."""
        self._ranks.observe(ranks - 0.5)
        self._count += ~np.isnan(ranks)
        share = (self._count / (self._count + self._doubt))[:, None]
        offsets = self._ranks.offsets()
        learned = np.where(np.isnan(offsets), LEVELS, offsets + 0.5)
        self._levels = np.clip(share * learned + (1 - share) * np.asarray(LEVELS), 0.001, 0.999)

    def levels(self, step: int) -> tuple[FloatArray, FloatArray]:
        """Wanted levels, and those at which they are to be read: for `np.interp`."""
        return np.array((0.0, *LEVELS, 1.0)), np.concatenate(((0.0,), self._levels[step], (1.0,)))


def _age_step(age_h: float) -> int:
    return int(np.searchsorted(CALIBRATED_AGES_H, age_h, side="right")) - 1


def _quantiles(values: FloatArray, weights: FloatArray, levels: npt.NDArray[np.float64]) -> FloatArray:
    """Quantiles of weighted values, between them by interpolation over the middles of their weights."""
    order = np.argsort(values, kind="stable")
    ordered = weights[order]
    middles = np.cumsum(ordered) - 0.5 * ordered
    return np.interp(levels, middles, values[order])


def _rank(values: FloatArray, weights: FloatArray, actual: float) -> float:
    """Share of the weight below a value, half of that on it included, 0 to 1."""
    below = float(weights[values < actual].sum())
    return min(1.0, below + 0.5 * float(weights[values == actual].sum()))


def _energy_order(found: _Candidates, count: int) -> npt.NDArray[np.intp]:
    """Which rank of energy goes with each rank of departure, so that both keep their distribution.

    Within each of `count` strata of the stay one energy is read, at levels that spread evenly (the golden ratio).

    Source: Clark et al., The Schaake Shuffle, J. Hydrometeorology 5 (2004).
    """
    order = np.argsort(found.stay_h, kind="stable")
    weights = found.weights[order]
    strata = np.minimum(count - 1, ((np.cumsum(weights) - 0.5 * weights) * count).astype(np.intp))
    energies = found.energy_kwh[order]
    picked = np.empty(count)
    for stratum in range(count):
        first, last = np.searchsorted(strata, (stratum, stratum + 1))
        last = max(last, first + 1)
        level = (stratum * 0.6180339887) % 1
        part = slice(min(first, len(energies) - 1), last)
        picked[stratum] = _quantiles(energies[part], weights[part] / weights[part].sum(), np.array([level]))[0]
    return np.argsort(np.argsort(picked, kind="stable"), kind="stable")
