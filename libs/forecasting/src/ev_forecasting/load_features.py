"""What a load forecast may know of an interval: the calendar, temperature, and the load before it is issued.

Lags are whole days of at least `lead_days`; beside them stand the last hours before the forecast is issued.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import numpy.typing as npt

from ev_forecasting.series import FloatArray, TimeSeries

IntArray = npt.NDArray[np.int64]

WORKDAY, SATURDAY, REST_DAY, BRIDGE_DAY = 0, 1, 2, 3
"""Kinds of days: Sundays and holidays are rest days, workdays from 23 December to 3 January bridge days."""

_LAG_DAYS = (1, 2, 3, 6, 7, 8, 14, 21, 28)
_LAST_HOURS = (0, 1, 2, 3, 5, 8, 12, 16, 20)
"""Hours before a forecast is issued whose load is a feature."""

_SIMILAR_DAYS = 28
"""Days back in which days of the same kind are looked for."""

_SPREAD = 7919
"""A prime: its multiples spread evenly over the intervals of a day."""

_WEEK_DECAY = 0.7
"""Weight of a week in the mean of the same weekday, relative to the week after it."""


@dataclass(frozen=True, slots=True)
class CalendarDays:
    """The calendar in local time, one entry per interval."""

    hour: FloatArray
    """Local time of day [h], 0 to below 24."""

    weekday: IntArray
    """0 (Monday) to 6."""

    kind: IntArray
    """`WORKDAY`, `SATURDAY`, `REST_DAY` or `BRIDGE_DAY`."""

    holiday: FloatArray
    """Share of the country's regions in which the day is a holiday, 0 to 1."""

    holiday_before: FloatArray
    """The same of the day before."""

    holiday_after: FloatArray
    """The same of the day after."""

    season: FloatArray
    """Time of the year as an angle, 0 to 2π."""


@dataclass(frozen=True)
class LoadCalendar:
    """Where the load is: its time zone and its holidays.

    Raises:
        ValueError: the country is not known.
    """

    zone: ZoneInfo
    """Time zone of the site."""

    country: str | None = None
    """Country as in ISO 3166-1, such as `DE`; None: holidays are not known."""

    region: str | None = None
    """Region as in ISO 3166-2 without the country, such as `BY`; None: holidays of all regions count by their share."""

    def __post_init__(self) -> None:
        """Look the country up.

        Raises:
            ValueError: country or region are not known.
        """
        if self.country is not None:
            try:
                holidays.country_holidays(self.country, subdiv=self.region)
            except NotImplementedError as error:
                raise ValueError(f"holidays are not known for {self.country} {self.region or ''}".rstrip()) from error

    @cached_property
    def _shares_by_year(self) -> dict[int, Mapping[int, float]]:
        return {}

    def days_of(self, series: TimeSeries) -> CalendarDays:
        """The calendar of each interval of a series."""
        seconds = series.timestamps().astype(np.int64)
        moments = [datetime.fromtimestamp(int(second), UTC).astimezone(self.zone) for second in seconds]
        ordinals = np.array([moment.toordinal() for moment in moments], dtype=np.int64)
        unique, inverse = np.unique(ordinals, return_inverse=True)
        shares = np.array([self._share(int(day) + offset) for offset in (-1, 0, 1) for day in unique])
        before, own, after = shares.reshape(3, -1)[:, inverse]
        weekday = (ordinals - 1) % 7
        kind = np.where((own > 0.5) | (weekday == 6), REST_DAY, np.where(weekday == 5, SATURDAY, WORKDAY))
        bridges = np.array(
            [(m.month == 12 and m.day >= 23) or (m.month == 1 and m.day <= 3) for m in moments], dtype=np.bool_
        )
        kind = np.where(bridges & (kind == WORKDAY) & (self.country is not None), BRIDGE_DAY, kind)
        hour = np.array([moment.hour + moment.minute / 60 for moment in moments])
        season = np.array([2 * np.pi * moment.timetuple().tm_yday / 365.25 for moment in moments])
        return CalendarDays(hour, weekday, kind.astype(np.int64), own, before, after, season)

    def _share(self, ordinal: int) -> float:
        if self.country is None:
            return 0.0
        year = datetime.fromordinal(ordinal).year
        if year not in self._shares_by_year:
            self._shares_by_year[year] = _holiday_shares(self.country, self.region, year)
        return self._shares_by_year[year].get(ordinal, 0.0)


def _holiday_shares(country: str, region: str | None, year: int) -> dict[int, float]:
    """Share of the regions that have a holiday, by ordinal of the day."""
    national = holidays.country_holidays(country, subdiv=region, years=year)
    shares = {day.toordinal(): 1.0 for day in national}
    regions = tuple(national.subdivisions) if region is None else ()
    for one in regions:
        for day in holidays.country_holidays(country, subdiv=one, years=year):
            ordinal = day.toordinal()
            if shares.get(ordinal, 0.0) < 1.0:
                shares[ordinal] = min(1.0, shares.get(ordinal, 0.0) + 1 / len(regions))
    return shares


@dataclass(frozen=True, slots=True)
class LoadFeatures:
    """Features of each interval of a series, known `lead_days` before it."""

    matrix: FloatArray
    """Shape (intervals, features); NaN where not known."""

    names: tuple[str, ...]
    """Name of each feature."""

    level: FloatArray
    """Mean load of a week, the last that is known [unit of the load]."""

    scale: FloatArray
    """Mean absolute load of four weeks, the last that are known; above 0 [unit of the load]."""

    baselines: Mapping[str, FloatArray]
    """Seasonal forecasts by name [unit of the load]; NaN where the days that they repeat are not known."""


def spread_origins(load: TimeSeries, lead_days: int) -> IntArray:
    """Origins for training: each row is forecast from 0 to below `lead_days` days before, all leads alike often."""
    rows = np.arange(len(load))
    return rows - (rows * _SPREAD) % (lead_days * load.intervals_per_day)


def find_midnights(load: TimeSeries, calendar: CalendarDays) -> IntArray:
    """Origins of day-ahead forecasts: the row of each row's local midnight."""
    # By the turn of the date, not by the hour: a day of 25 hours has one of them twice.
    turns = np.diff(calendar.hour, prepend=calendar.hour[:1]) < -12
    return np.maximum.accumulate(np.where(turns, np.arange(len(load)), 0))


def build_load_features(
    load: TimeSeries,
    calendar: CalendarDays,
    lead_days: int,
    origins: IntArray,
    temperature_c: FloatArray | None = None,
) -> LoadFeatures:
    """Compute the features of each interval of a series.

    Args:
        load: measured load, NaN where it is not known.
        calendar: of the same intervals.
        lead_days: days before an interval from which on its load's past is not known, >= 1.
        origins: row that begins when the interval's forecast is issued, at most `lead_days` days before it.
        temperature_c: temperature that is expected in each interval, as it is known `lead_days` before [°C].
    """
    day, values = load.intervals_per_day, load.values
    level = _lag(_rolling_mean(values, 7 * day), lead_days * day)
    scale = np.maximum(_lag(_rolling_mean(np.abs(values), 28 * day), lead_days * day), 1e-9)
    lags = {days: _lag(values, days * day) for days in range(lead_days, _SIMILAR_DAYS + 1)}
    kinds = {days: _lag(calendar.kind.astype(np.float64), days * day) for days in lags}
    similar, similar_before = _find_similar(lags, kinds, calendar.kind)
    weeks = _mean_of_weeks(lags, kinds, calendar)
    profile = _mean_of_kind(lags, kinds, calendar.kind)
    features: dict[str, FloatArray] = {}
    for days in sorted({max(days, lead_days) for days in _LAG_DAYS}):
        features[f"lag_{days}_days"] = (lags[days] - level) / scale
    features["similar_day"] = (similar - level) / scale
    features["similar_day_before"] = (similar_before - level) / scale
    features["same_weekday"] = (weeks - level) / scale
    features["profile"] = (profile - level) / scale
    last_day = _lag(_rolling_mean(values, day), lead_days * day)
    features["last_day"] = (last_day - level) / scale
    features["last_day_to_week_before"] = (last_day - _lag(_rolling_mean(values, day), (lead_days + 7) * day)) / scale
    features["lag_to_week_before"] = (lags[lead_days] - _lag(values, (lead_days + 7) * day)) / scale
    features["next_lag_to_week_before"] = (lags[lead_days + 1] - _lag(values, (lead_days + 8) * day)) / scale
    features["trend_of_week"] = (level - _lag(level, 7 * day)) / scale
    features["trend_of_month"] = (level - _lag(_rolling_mean(values, 28 * day), lead_days * day)) / scale
    features["kind_of_lag"], features["kind_of_week_before"] = kinds[lead_days], kinds[max(7, lead_days)]
    features["holiday_of_lag"] = _lag(calendar.holiday, lead_days * day)
    features["holiday_of_week_before"] = _lag(calendar.holiday, 7 * day)
    features |= _calendar_features(calendar)
    features |= _origin_features(values, origins, day, level, scale)
    if temperature_c is not None:
        features |= _temperature_features(temperature_c, day, lead_days)
    baselines = {
        "week before": lags[max(7, lead_days)],
        "day before": lags[lead_days],
        "similar day": similar,
        "same weekday": weeks,
        "profile": profile,
    }
    return LoadFeatures(np.column_stack(list(features.values())), tuple(features), level, scale, baselines)


def _origin_features(
    values: FloatArray, origins: IntArray, day: int, level: FloatArray, scale: FloatArray
) -> dict[str, FloatArray]:
    """The last hours before the forecast is issued, beside the same hours a day and a week before."""
    last = origins - 1
    features = {"lead": (np.arange(len(values)) - origins) / day}
    for hours in (1, 4, 24):
        recent = _rolling_mean(values, max(1, hours * day // 24))
        for days in (1, 7):
            before = _pick(recent, last) - _pick(recent, last - days * day)
            features[f"last_{hours}_h_to_{days}_days_before"] = before / scale
    for hours in _LAST_HOURS:
        before = _pick(values, last - hours * day // 24)
        features[f"load_{hours}_h_before_issue"] = (before - level) / scale
    for hours in (0, 6, 12, 18):
        rows = last - hours * day // 24
        features[f"change_of_day_{hours}_h_before_issue"] = (_pick(values, rows) - _pick(values, rows - day)) / scale
    return features


def _calendar_features(calendar: CalendarDays) -> dict[str, FloatArray]:
    return {
        "hour": calendar.hour,
        "weekday": calendar.weekday.astype(np.float64),
        "kind": calendar.kind.astype(np.float64),
        "holiday": calendar.holiday,
        "holiday_before": calendar.holiday_before,
        "holiday_after": calendar.holiday_after,
        "season_sine": np.sin(calendar.season),
        "season_cosine": np.cos(calendar.season),
    }


def _pick(values: FloatArray, rows: IntArray) -> FloatArray:
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)


def _temperature_features(temperature_c: FloatArray, day: int, lead_days: int) -> dict[str, FloatArray]:
    before = _lag(temperature_c, lead_days * day)
    return {
        "temperature": temperature_c,
        "temperature_of_lag": before,
        "temperature_change": temperature_c - before,
        "temperature_change_of_week": temperature_c - _lag(temperature_c, 7 * day),
        "temperature_of_day": _rolling_mean(temperature_c, day),
        "temperature_of_three_days": _rolling_mean(temperature_c, 3 * day),
        "cooling_degrees": np.maximum(temperature_c - 22.0, 0.0),
        "heating_degrees": np.maximum(15.0 - temperature_c, 0.0),
    }


def _find_similar(
    lags: Mapping[int, FloatArray], kinds: Mapping[int, FloatArray], kind: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Load at the same time of the last day of the same kind, and of the one before that."""
    last, before = np.full(len(kind), np.nan), np.full(len(kind), np.nan)
    for days, lag in lags.items():
        matches = (kinds[days] == kind) & ~np.isnan(lag)
        second = matches & ~np.isnan(last) & np.isnan(before)
        first = matches & np.isnan(last)
        before[second], last[first] = lag[second], lag[first]
    return last, before


def _mean_of_weeks(
    lags: Mapping[int, FloatArray], kinds: Mapping[int, FloatArray], calendar: CalendarDays
) -> FloatArray:
    """Mean load at the same time of the same weekday in four weeks, without holidays, the last weeks weighing most."""
    parts = [
        (_WEEK_DECAY**week, lags[days], (kinds[days] <= SATURDAY) | (calendar.weekday == 6))
        for week, days in enumerate((7, 14, 21, 28))
        if days in lags
    ]
    return _weighted_mean(parts, len(calendar.kind))


def _mean_of_kind(lags: Mapping[int, FloatArray], kinds: Mapping[int, FloatArray], kind: IntArray) -> FloatArray:
    """Mean load at the same time of all days of the same kind; of all days where there is none of that kind."""
    own = _weighted_mean([(0.93**days, lag, kinds[days] == kind) for days, lag in lags.items()], len(kind))
    every = _weighted_mean(
        [(0.93**days, lag, np.ones(len(kind), dtype=np.bool_)) for days, lag in lags.items()], len(kind)
    )
    return np.where(np.isnan(own), every, own)


def _weighted_mean(parts: list[tuple[float, FloatArray, npt.NDArray[np.bool_]]], length: int) -> FloatArray:
    total, weights = np.zeros(length), np.zeros(length)
    for weight, values, counts in parts:
        known = counts & ~np.isnan(values)
        total += np.where(known, weight * values, 0.0)
        weights += np.where(known, weight, 0.0)
    return np.divide(total, weights, out=np.full(length, np.nan), where=weights > 0)


def _lag(values: FloatArray, intervals: int) -> FloatArray:
    lagged = np.full(len(values), np.nan)
    if intervals < len(values):
        lagged[intervals:] = values[: len(values) - intervals]
    return lagged


def _rolling_mean(values: FloatArray, intervals: int) -> FloatArray:
    """Mean of the known values among the last `intervals`, the own one included; NaN without any."""
    known = ~np.isnan(values)
    sums = np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0))))
    counts = np.concatenate(([0], np.cumsum(known)))
    first = np.maximum(np.arange(1, len(values) + 1) - intervals, 0)
    total, count = sums[1:] - sums[first], counts[1:] - counts[first]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
