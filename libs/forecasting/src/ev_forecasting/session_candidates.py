"""How a running session may go on: similar ended sessions, weighted and pooled over driver, station, site and prior.

Every ended session is a candidate. Its likeness falls with the distance of what was known at the beginning (time of
day, weekend, entered stay and energy) and with its age. Driver, station and site get shares by the number of their
similar sessions (partial pooling), and the prior gets the rest.

Source: kernel estimate of a conditional distribution, Nadaraya (1964) and Watson (1964); the shares are those of
Buehlmann's credibility n / (n + k), Mathematical Methods in Risk Theory (1970).
"""

import math
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from ev_forecasting.series import FloatArray
from ev_forecasting.session_archive import UNKNOWN, SessionArchive, SessionFeatures
from ev_forecasting.sessions import ForecastBasis

_PRIOR_LEVELS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
_PRIOR_SIZE: Final = len(_PRIOR_LEVELS) ** 2
_STANDARD_NORMAL: Final = NormalDist()
_NEGLIGIBLE_SHARE: Final = 0.02
"""Candidates that together have no more than this share are not worth the time of sorting."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """How far apart two sessions may be and still tell something of each other.

    Found on the first 2,200 sessions of Caltech (2019), 1,500 of Trondheim and 900 of one workplace of Asensio et al.;
    the minimum is flat: half or twice of a value changes the losses by 1 to 2 %.
    """

    hour_h: float = 1.2
    """Time of day of the arrival [h]."""

    entered_stay_log: float = 0.35
    """Natural logarithm of the ratio of the entered stays."""

    entered_energy_log: float = 0.5
    """Natural logarithm of the ratio of the entered energies."""

    other_day_type: float = 1.0
    """Distance between a working day and a weekend."""

    only_one_entered: float = 1.5
    """Distance between a session with an entry and one without."""

    memory_days: float = 120.0
    """After so many days a session weighs 1/e."""

    driver_width: float = 2.0
    """Sessions of the same driver may be so many times further apart."""

    site_width: float = 3.0
    """The widest ring: sessions anywhere at the site may be so many times further apart."""

    driver_count: float = 3.0
    """So many similar sessions of the driver weigh as much as all that is known besides."""

    station_count: float = 10.0
    """The same of the station."""

    site_count: float = 4.0
    """The same of the site."""

    prior_count: float = 4.0
    """So many sessions at the site weigh as much as the prior."""

    stay_shift: float = 0.5
    """Share of a difference between entered stays by which a candidate's stay is moved, 0 to 1."""

    energy_shift: float = 0.9
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

    def candidates(self, features: SessionFeatures, age_h: float, charged_kwh: float) -> tuple[FloatArray, FloatArray]:
        """Equally likely stays [h] and energies [kWh], shape (25,), above what has passed and is charged."""
        has_stay = not math.isnan(features.entered_stay_h)
        has_energy = not math.isnan(features.entered_energy_kwh)
        stay_h = features.entered_stay_h * self.entered_stay_factor if has_stay else self.stay_h
        energy_kwh = features.entered_energy_kwh * self.entered_energy_factor if has_energy else self.energy_kwh
        stays_h = _remaining_log_normal(stay_h, self.stay_log_sigma, age_h)
        energies = _remaining_log_normal(energy_kwh, self.energy_log_sigma, charged_kwh)
        return np.repeat(stays_h, len(energies)), np.tile(energies, len(stays_h))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Weighted ways in which a session may end, one per element of each array."""

    stay_h: FloatArray
    """Whole stay [h], not below the age of the session."""

    energy_kwh: FloatArray
    """Energy of the whole session [kWh], not below what is charged."""

    weights: FloatArray
    """Probabilities; their sum is 1."""

    basis: ForecastBasis
    """Whose sessions they are."""


class RelatedSessions:
    """The ended sessions as one session sees them at a moment.

    Args:
        archive: The ended sessions; those that ended after `now` do not count.
        features: What was known at the beginning of the session.
        now: Moment, aware.
        similarity: How sessions tell of each other.
        prior: What is expected without any history.
    """

    def __init__(
        self,
        archive: SessionArchive,
        features: SessionFeatures,
        now: datetime,
        similarity: Similarity,
        prior: Prior,
    ) -> None:
        self._features, self._prior = features, prior
        now_s = now.timestamp()
        distance = _distance(archive, features, similarity)
        age_s = now_s - archive.column("departure_s")
        fading = np.where(age_s >= 0, np.exp(np.minimum(0.0, -age_s / (similarity.memory_days * 86_400))), 0.0)
        self.stay_h, self.energy_kwh = _shift(archive, features, similarity)
        near = fading * np.exp(-distance)
        wide = fading * np.exp(distance * (-1 / similarity.site_width**2))
        own = np.zeros_like(near)
        if features.driver != UNKNOWN:
            mine = np.flatnonzero(archive.column("driver") == features.driver)
            own[mine] = fading[mine] * np.exp(distance[mine] * (-1 / similarity.driver_width**2))
        same_station = near * (archive.column("station") == features.station) * (features.station != UNKNOWN)
        self._rings = np.stack((own, same_station, near, wide))
        self._counts = (
            similarity.driver_count,
            similarity.station_count,
            similarity.site_count,
            similarity.prior_count,
        )

    def candidates(self, age_h: float, charged_kwh: float) -> Candidates:
        """How the session may end once it has lasted this long and has charged this much.

        Args:
            age_h: Time since the arrival [h], >= 0.
            charged_kwh: Energy charged so far [kWh], >= 0.
        """
        # An energy that was scaled by the entry may miss by a little what was charged by now.
        is_possible = (self.stay_h > age_h) & (self.energy_kwh >= 0.98 * charged_kwh)
        rings = self._rings * is_possible
        left = 1.0
        shares: list[float] = []
        factors: list[float] = []
        for total, count in zip(rings.sum(axis=1).tolist(), self._counts, strict=True):
            share = left * total / (total + count)
            shares.append(share)
            factors.append(share / total if total > 0 else 0.0)
            left -= share
        ended = np.asarray(factors) @ rings
        is_used = ended > _NEGLIGIBLE_SHARE / max(1, len(ended))
        prior_h, prior_kwh = self._prior.candidates(self._features, age_h, charged_kwh)
        weights = np.concatenate((ended[is_used], np.full(_PRIOR_SIZE, max(left, 1e-9) / _PRIOR_SIZE)))
        return Candidates(
            stay_h=np.concatenate((self.stay_h[is_used], prior_h)),
            energy_kwh=np.maximum(charged_kwh, np.concatenate((self.energy_kwh[is_used], prior_kwh))),
            weights=weights / weights.sum(),
            basis=ForecastBasis(driver=shares[0], station=shares[1], site=shares[2] + shares[3], prior=left),
        )


def _distance(archive: SessionArchive, features: SessionFeatures, similarity: Similarity) -> FloatArray:
    """Half the squared distance of each ended session from one session."""
    hours = np.abs(archive.column("hour") - features.hour)
    hours = np.minimum(hours, 24 - hours) / similarity.hour_h
    distance = hours**2
    distance += similarity.other_day_type**2 * (archive.column("day_type") != features.day_type)
    pairs = (
        (features.entered_stay_h, archive.column("log_entered_stay"), similarity.entered_stay_log),
        (features.entered_energy_kwh, archive.column("log_entered_energy"), similarity.entered_energy_log),
    )
    for value, column, width in pairs:
        missing = np.isnan(column)
        if math.isnan(value):
            distance += np.where(missing, 0.0, similarity.only_one_entered**2)
        else:
            apart = (column - math.log(value)) / width
            distance += np.where(missing, similarity.only_one_entered**2, apart**2)
    return 0.5 * distance


def _shift(archive: SessionArchive, features: SessionFeatures, similarity: Similarity) -> tuple[FloatArray, FloatArray]:
    """Stays [h] and energies [kWh] of the ended sessions, moved toward what was entered now."""
    stays_h, energies = archive.column("stay_h"), archive.column("energy_kwh")
    if not math.isnan(features.entered_stay_h):
        entered = archive.column("entered_stay_h")
        moved = stays_h + similarity.stay_shift * (features.entered_stay_h - entered)
        stays_h = np.where(np.isnan(entered) | (moved <= 0), stays_h, moved)
    if not math.isnan(features.entered_energy_kwh):
        apart = math.log(features.entered_energy_kwh) - archive.column("log_entered_energy")
        energies = energies * np.where(np.isnan(apart), 1.0, np.exp(similarity.energy_shift * apart))
    return stays_h, energies


def _remaining_log_normal(median: float, log_sigma: float, above: float) -> FloatArray:
    """Five equally likely values of a log-normal quantity that is known to be above a value."""
    survival = 1.0
    if above > 0:
        survival = max(1e-9, 1 - _STANDARD_NORMAL.cdf((math.log(above) - math.log(median)) / log_sigma))
    scores = [-_STANDARD_NORMAL.inv_cdf(survival * (1 - level)) for level in _PRIOR_LEVELS]
    return np.maximum(above, median * np.exp(log_sigma * np.array(scores)))


def read_quantiles(values: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of weighted values, by interpolation over the middles of their weights.

    Args:
        values: At least one.
        weights: Probability of each, sum 1.
        levels: Probabilities, 0 to 1, shape (n,).
    """
    order = np.argsort(values)
    ordered = weights[order]
    return np.interp(levels, np.cumsum(ordered) - 0.5 * ordered, values[order])


def compute_rank(values: FloatArray, weights: FloatArray, actual: float) -> float:
    """Probability of less than a value, half of that of the value itself included, 0 to 1."""
    below = float(weights @ (values < actual))
    return min(1.0, below + 0.5 * float(weights @ (values == actual)))


def pair_energies(found: Candidates, count: int) -> npt.NDArray[np.intp]:
    """Which rank of energy goes with each rank of departure, so that both keep their distribution.

    In each of `count` equally likely ranges of the stay one candidate is picked, at shares of the range's energies that
    spread evenly (golden ratio).

    Source: Clark et al., The Schaake Shuffle, J. Hydrometeorology 5 (2004).
    """
    order = np.argsort(found.stay_h)
    weights = found.weights[order]
    strata = np.minimum(count - 1, (np.cumsum(weights) - 0.5 * weights) * count).astype(np.intp)
    energies = found.energy_kwh[order]
    within = np.argsort(strata + energies / (1.001 * float(energies.max()) + 1e-9))
    totals = np.cumsum(weights[within])
    at = (np.arange(count) + (np.arange(1, count + 1) * 0.6180339887) % 1) / count
    picked = energies[within][np.minimum(len(totals) - 1, np.searchsorted(totals, at))]
    return np.argsort(np.argsort(picked, kind="stable"), kind="stable")
