"""How good forecasts of sessions would have been: each is forecast at several ages, and learned at its end."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from ev_forecasting.measures import coverage_percent, mean_absolute_error, mean_pinball_loss
from ev_forecasting.series import FloatArray
from ev_forecasting.sessions import CompletedSession, RunningSession, SessionForecaster

AGES_H: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Ages of a session at which it is forecast [h]."""
_NAIVE_SESSIONS: Final = 50
_COLUMNS: Final = (
    "age_h", "stay_h", "stay_p10", "stay_p50", "stay_p90", "stay_entry", "stay_naive",
    "energy", "energy_p10", "energy_p50", "energy_p90", "energy_entry", "energy_naive", "is_drawing", "driver_share",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuantityScore:
    """Quality of forecasts of one quantity: stays in hours, or energies in kWh."""

    forecasts: int
    """Number of forecasts."""

    coverage_p10_p90_percent: float
    """Share of what happened between p10 and p90 [%]; 80 is wanted."""

    pinball: float
    """Mean pinball loss of p10, p50 and p90."""

    naive_pinball: float
    """The same of the median of the site's last 50 sessions, in the place of all three."""

    median_error: float
    """Mean absolute error of p50."""

    with_entry: int
    """Number of forecasts of sessions for which the driver entered the quantity."""

    with_entry_pinball: float
    """Mean pinball loss over these; NaN: none."""

    entry_pinball: float
    """The same of what was entered, in the place of all three."""

    with_entry_median_error: float
    """Mean absolute error of p50 over these; NaN: none."""

    entry_error: float
    """Mean absolute error of what was entered."""


@dataclass(frozen=True, slots=True)
class AgeScore:
    """Quality of forecasts at one age of the sessions."""

    age_h: float
    """Time since the arrival [h]."""

    departure: QuantityScore
    """Of the departure, as the whole stay [h]."""

    energy: QuantityScore
    """Of the energy of the session [kWh], of cars that still draw power at this age."""


@dataclass(frozen=True, slots=True)
class SessionScores:
    """Quality of the forecasts of all sessions of a backtest."""

    sessions: int
    """Sessions that were forecast."""

    ages: tuple[AgeScore, ...]
    """By age, the youngest first."""

    coverage_range_percent: tuple[float, float]
    """Lowest and highest coverage of departures at arrival in the tenths of the sessions, by their order [%]."""

    driver_share_percent: float
    """Mean share of the driver's own sessions in the forecasts at arrival [%]."""


def run_backtest(
    sites: Iterable[Sequence[CompletedSession]],
    make_forecaster: Callable[[], SessionForecaster],
    *,
    power_kw: float = 6.6,
    skip: int = 100,
) -> SessionScores:
    """Forecast each session of each site at several ages, from the sessions of this site that have ended by then.

    Files tell no course of charging: a car is taken to draw `power_kw`, or its mean power where that is more, until it
    has what it took.

    Args:
        sites: Sessions of each site.
        make_forecaster: Makes the forecaster of one site, without history.
        power_kw: Power of a car [kW], > 0.
        skip: The first sessions of each site, which are learned and not scored.

    Raises:
        ValueError: No session is left to be scored.
    """
    rows = [row for sessions in sites for row in _replay(sessions, make_forecaster(), power_kw, skip)]
    if not rows:
        raise ValueError(f"no site has more than {skip} sessions")
    table = np.array(rows)
    columns = {name: table[:, number] for number, name in enumerate(_COLUMNS)}
    at_arrival = columns["age_h"] == 0
    parts = np.array_split(np.flatnonzero(at_arrival), 10)
    coverages = [coverage_percent(*(columns[name][part] for name in _STAY_BAND)) for part in parts if len(part)]
    ages = [age_h for age_h in AGES_H if (columns["age_h"] == age_h).any()]
    return SessionScores(
        sessions=int(at_arrival.sum()),
        ages=tuple(_score_age(columns, age_h) for age_h in ages),
        coverage_range_percent=(min(coverages), max(coverages)),
        driver_share_percent=100 * float(columns["driver_share"][at_arrival].mean()),
    )


_STAY_BAND: Final = ("stay_h", "stay_p10", "stay_p90")


def _replay(
    sessions: Sequence[CompletedSession], forecaster: SessionForecaster, power_kw: float, skip: int
) -> list[tuple[float, ...]]:
    """Forecast and learn in the order of time; an end counts before a forecast at the same moment."""
    events = [(session.departure, 0, number, 0.0) for number, session in enumerate(sessions)]
    for number, session in enumerate(sessions[skip:], start=skip):
        moments = [(session.arrival + timedelta(hours=age_h), 1, number, age_h) for age_h in AGES_H]
        events += [event for event in moments if event[0] < session.departure]
    ended: list[CompletedSession] = []
    rows: list[tuple[float, ...]] = []
    for now, is_forecast, number, age_h in sorted(events):
        session = sessions[number]
        if is_forecast:
            rows.append(_compare(forecaster, session, now, age_h, power_kw, ended[-_NAIVE_SESSIONS:]))
        else:
            forecaster.learn(session)
            ended.append(session)
    return rows


def _compare(
    forecaster: SessionForecaster,
    session: CompletedSession,
    now: datetime,
    age_h: float,
    power_kw: float,
    newest: Sequence[CompletedSession],
) -> tuple[float, ...]:
    """One row of `_COLUMNS`."""
    stay_h = _hours(session.departure - session.arrival)
    charged_kwh = min(session.energy_kwh, max(power_kw, session.energy_kwh / stay_h) * age_h)
    is_drawing = charged_kwh < session.energy_kwh
    running = RunningSession(
        session.arrival,
        session.station_id,
        charged_kwh,
        session.driver_id,
        session.entered_energy_kwh,
        session.entered_departure,
        has_stopped_drawing=not is_drawing,
    )
    found = forecaster.forecast(running, now)
    departure, energy = found.departure, found.energy_kwh
    stays = [_hours(moment - session.arrival) for moment in (departure.p10, departure.p50, departure.p90)]
    entered = session.entered_departure
    entry_h = math.nan if entered is None else max(age_h, _hours(entered - session.arrival))
    entry_kwh = math.nan if session.entered_energy_kwh is None else max(charged_kwh, session.entered_energy_kwh)
    naive_h = naive_kwh = math.nan
    if newest:
        naive_h = max(age_h, float(np.median([_hours(one.departure - one.arrival) for one in newest])))
        naive_kwh = max(charged_kwh, float(np.median([one.energy_kwh for one in newest])))
    return (
        age_h, stay_h, *stays, entry_h, naive_h,
        session.energy_kwh, energy.p10, energy.p50, energy.p90, entry_kwh, naive_kwh,
        float(is_drawing), found.basis.driver,
    )  # fmt: skip


def _hours(duration: timedelta) -> float:
    return duration.total_seconds() / 3600


def _score_age(columns: dict[str, FloatArray], age_h: float) -> AgeScore:
    is_age = columns["age_h"] == age_h
    is_drawing = is_age & (columns["is_drawing"] > 0)
    stays = [columns[f"stay_{name}"][is_age] for name in ("h", "p10", "p50", "p90", "entry", "naive")]
    energies = [columns["energy"][is_drawing]]
    energies += [columns[f"energy_{name}"][is_drawing] for name in ("p10", "p50", "p90", "entry", "naive")]
    return AgeScore(age_h, _score(*stays), _score(*energies))


def _score(
    actual: FloatArray, p10: FloatArray, p50: FloatArray, p90: FloatArray, entry: FloatArray, naive: FloatArray
) -> QuantityScore:
    has = ~np.isnan(entry)
    return QuantityScore(
        forecasts=len(actual),
        coverage_p10_p90_percent=coverage_percent(actual, p10, p90),
        pinball=mean_pinball_loss(actual, p10, p50, p90),
        naive_pinball=mean_pinball_loss(actual, naive, naive, naive),
        median_error=mean_absolute_error(actual, p50),
        with_entry=int(has.sum()),
        with_entry_pinball=mean_pinball_loss(actual[has], p10[has], p50[has], p90[has]),
        entry_pinball=mean_pinball_loss(actual[has], entry[has], entry[has], entry[has]),
        with_entry_median_error=mean_absolute_error(actual[has], p50[has]),
        entry_error=mean_absolute_error(actual[has], entry[has]),
    )


def generate_sessions(days: int, *, seed: int = 1, per_day: int = 12) -> tuple[CompletedSession, ...]:
    """Sessions of a made-up workplace: 30 drivers with habits of their own, most of whom enter too much.

    Args:
        days: Number of days, >= 1.
        seed: Same seed, same sessions.
        per_day: Sessions of each working day; weekends have none.
    """
    random = np.random.default_rng(seed)
    first = datetime(2026, 1, 5, tzinfo=UTC)
    hour = random.uniform(6.5, 10.5, 30)
    stay = random.uniform(1.5, 9.0, 30)
    energy = random.uniform(3.0, 20.0, 30)
    sessions: list[CompletedSession] = []
    for day in range(days):
        for driver in random.permutation(30)[: per_day if day % 7 < 5 else 0].tolist():
            arrival = first + timedelta(days=day, hours=float(random.normal(hour[driver], 0.4)))
            stay_h = max(0.2, float(stay[driver] * random.lognormal(0, 0.3)))
            energy_kwh = max(0.3, float(energy[driver] * random.lognormal(0, 0.4)))
            is_entered = driver % 6 > 0
            sessions.append(
                CompletedSession(
                    arrival,
                    arrival + timedelta(hours=stay_h),
                    energy_kwh,
                    f"CP-{int(random.integers(8))}",
                    f"driver-{driver}",
                    float(energy[driver] * 1.8) if is_entered else None,
                    arrival + timedelta(hours=max(0.5, round(float(stay[driver]) - 0.5))) if is_entered else None,
                )
            )
    return tuple(sorted(sessions, key=lambda session: session.arrival))
