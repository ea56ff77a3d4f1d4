"""Expected arrivals of cars by time of day, with the spread of days that are busier than others."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from ev_forecasting.series import FloatArray
from ev_forecasting.session_archive import SessionArchive
from ev_forecasting.sessions import ArrivalInterval

SLOTS_PER_DAY = 96
"""Quarters of an hour, local time."""

_SPAN_DAYS = 84
"""Older arrivals do not count."""
_MEMORY_DAYS = 28.0
"""After so many days an arrival weighs 1/e."""
_LAG_DAYS = 2
"""A session is known when it ends: so many days after their arrival nearly all have."""
_SHARED_DAYS = 2.0
"""So many days of one kind weigh as much as what is known of all days."""
_SMOOTHING = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
"""Arrivals count for the quarters of an hour around them too."""
_MAX_COUNT = 500


def expect_arrivals(
    archive: SessionArchive, timezone: ZoneInfo, now: datetime, horizon: timedelta, resolution: timedelta
) -> tuple[ArrivalInterval, ...]:
    """Forecast the arrivals of each interval from `now` on, from the arrivals at this time on days of this kind.

    Days are Monday to Friday, or weekends. Without history none is expected.

    Args:
        archive: The ended sessions.
        timezone: Zone of the site, for times of day.
        now: Start of the first interval, aware.
        horizon: Length of the forecast, > 0.
        resolution: Length of each interval, > 0; the last may reach beyond the horizon.

    Source: a Poisson count whose rate varies by a gamma distribution is negative binomial.
    """
    rates, energies, shape = _rates(archive, timezone, now)
    intervals: list[ArrivalInterval] = []
    quarter = timedelta(minutes=15)
    pieces = max(1, math.ceil(resolution / quarter))
    for number in range(math.ceil(horizon / resolution)):
        start = now + number * resolution
        moments = [(start + (piece + 0.5) / pieces * resolution).astimezone(timezone) for piece in range(pieces)]
        slots = [(int(at.weekday() >= 5), (at.hour * 60 + at.minute) * SLOTS_PER_DAY // 1440) for at in moments]
        weight = resolution / quarter / pieces
        mean = weight * sum(float(rates[slot]) for slot in slots)
        energy_kwh = weight * sum(float(rates[slot]) * float(energies[slot]) for slot in slots)
        p10, p50, p90 = _count_quantiles(mean, shape)
        intervals.append(ArrivalInterval(start, mean, p10, p50, p90, energy_kwh))
    return tuple(intervals)


def _rates(archive: SessionArchive, timezone: ZoneInfo, now: datetime) -> tuple[FloatArray, FloatArray, float]:
    """Arrivals per quarter of an hour and their mean energy, shape (2, 96), and the shape of the days' gamma factor."""
    rates, energies = np.zeros((2, SLOTS_PER_DAY)), np.zeros((2, SLOTS_PER_DAY))
    today = now.astimezone(timezone).date()
    ended_s = archive.column("departure_s")
    arrival_s = ended_s - archive.column("stay_h") * 3600
    offset_s = (now.astimezone(timezone).utcoffset() or timedelta()).total_seconds()
    midnight_s = datetime(today.year, today.month, today.day, tzinfo=UTC).timestamp() - offset_s
    # 1: yesterday. An hour of clock change moves few arrivals over midnight.
    days_ago = np.ceil((midnight_s - arrival_s) / 86_400)
    is_known = (ended_s <= now.timestamp()) & (days_ago >= _LAG_DAYS) & (days_ago <= _SPAN_DAYS)
    if not is_known.any():
        return rates, energies, math.inf
    oldest = int(days_ago[is_known].max())
    ages = np.arange(_LAG_DAYS, oldest + 1)
    kinds = np.array([int((today - timedelta(days=age)).weekday() >= 5) for age in ages.tolist()])
    fading = np.exp(-ages / _MEMORY_DAYS)
    index = days_ago[is_known].astype(np.intp) - _LAG_DAYS
    slot = np.minimum(SLOTS_PER_DAY - 1, (archive.column("hour")[is_known] * 4).astype(np.intp))
    energy = archive.column("energy_kwh")[is_known]
    counts, sums = np.zeros_like(rates), np.zeros_like(rates)
    np.add.at(counts, (kinds[index], slot), fading[index])
    np.add.at(sums, (kinds[index], slot), fading[index] * energy)
    counts, sums = _smooth(counts), _smooth(sums)
    days = np.array([fading[kinds == kind].sum() for kind in (0, 1)])
    of_all = counts.sum(axis=0) / days.sum()
    rates = (counts + _SHARED_DAYS * of_all) / (days[:, None] + _SHARED_DAYS)
    mean_kwh = float(sums.sum() / counts.sum())
    energies = (sums + 3 * mean_kwh) / (counts + 3)
    totals = np.bincount(index, minlength=len(ages)).astype(np.float64)
    return rates, energies, _gamma_shape(totals, rates.sum(axis=1)[kinds])


def _smooth(counts: FloatArray) -> FloatArray:
    """Spread each quarter's value over its neighbours, around midnight."""
    reach = len(_SMOOTHING) // 2
    shifts = range(-reach, reach + 1)
    moved = [weight * np.roll(counts, shift, axis=1) for shift, weight in zip(shifts, _SMOOTHING, strict=True)]
    return np.sum(moved, axis=0)


def _gamma_shape(totals: FloatArray, expected: FloatArray) -> float:
    """Shape of the gamma factor by which days differ; infinite where they differ by chance only."""
    excess = float(((totals - expected) ** 2 - expected).mean())
    return float((expected**2).mean()) / excess if excess > 0 else math.inf


def _count_quantiles(mean: float, shape: float) -> tuple[int, int, int]:
    """10, 50 and 90 % quantiles of a negative binomial count; infinite shape: Poisson."""
    if mean <= 0:
        return 0, 0, 0
    is_poisson = not math.isfinite(shape) or shape > 1e6
    log_none = -mean if is_poisson else -shape * math.log1p(mean / shape)
    step = 0.0 if is_poisson else mean / (shape + mean)
    probability = math.exp(log_none)
    total, count = probability, 0
    found: list[int] = []
    for level in (0.1, 0.5, 0.9):
        while total < level and count < _MAX_COUNT:
            count += 1
            factor = mean / count if is_poisson else step * (shape + count - 1) / count
            probability *= factor
            total += probability
        found.append(count)
    return found[0], found[1], found[2]
