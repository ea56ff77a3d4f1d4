"""Forecasts of the running sessions, learned from the ended ones that the service stores."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from charger_service.envelope import EvseKey
from charger_service.evse_facts import ChargingSession
from charger_service.persistence import EndedSession, parse_ended_sessions
from charger_service.site import ChargingSite
from charger_service.store import StateStore
from ev_forecasting.session_model import PooledSessionForecaster
from ev_forecasting.sessions import ArrivalInterval, CompletedSession, RunningSession, SessionForecast
from ev_service.charging import EvseState
from ev_service.clock import Clock, sleep_until_s
from ev_service.forecasts import RecentError
from ev_service.session_forecasts import (
    ArrivalsInterval,
    ExpectedDeparture,
    ExpectedEnergy,
    ExpectedSession,
    ForecastShares,
    SessionForecasts,
)

LEARNS_EVERY_S: Final = 60.0
ARRIVALS_RESOLUTION: Final = timedelta(hours=1)
_OVERLAP: Final = timedelta(hours=1)
"""Sessions that ended so long before the last reading are read again: their ends may be written late."""
_SPAN: Final = timedelta(days=90)
"""How far back sessions are read after a start."""
_PAGE: Final = 200
"""Sessions that are learned at once, about 0.2 s of computing in a thread of its own."""
_REMEMBERED: Final = 10_000
"""After the clock was set back the sessions of days may be read a second time."""
_NAIVE_MODEL: Final = "entry-or-site-median"

_logger = logging.getLogger(__name__)


class SessionForecasting:
    """Learns ended sessions in the background and forecasts running ones.

    Args:
        site: the chargers and their sessions.
        store: where ended sessions are kept.
        clock: the run's clock.
    """

    def __init__(self, site: ChargingSite, store: StateStore, clock: Clock) -> None:
        self._site, self._store, self._clock = site, store, clock
        self._forecaster = PooledSessionForecaster(ZoneInfo(site.rules.settings.timezone))
        self._read_until: datetime | None = None
        self._learned: dict[str, None] = {}
        """Sessions that a next reading may repeat, in the order of learning."""
        # The forecaster is used by one thread at a time.
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Learn until cancelled."""
        while True:
            started_s = self._clock.monotonic_s()
            try:
                await self.learn()
            except Exception:
                # Charging does not need forecasts.
                _logger.exception("sessions could not be learned; it is tried again")
            await sleep_until_s(self._clock, started_s + LEARNS_EVERY_S)

    async def learn(self) -> None:
        """Learn the sessions that ended since the last call; where they cannot be read the next call tries again."""
        now = self._clock.now()
        # After the clock was set back, what ends now has to be read all the same.
        since = now - _SPAN if self._read_until is None else min(self._read_until, now) - _OVERLAP
        while True:
            rows = await self._store.read_ended_since(since, _PAGE)
            if rows is None:
                return
            ended = parse_ended_sessions(rows)
            async with self._lock:
                await asyncio.to_thread(self._learn_page, ended, now)
            newest = max((datetime.fromisoformat(row["ended_at"]) for row in rows), default=since)
            if len(rows) < _PAGE or newest <= since:
                break
            since = newest
        self._read_until = now
        for name in list(self._learned)[:-_REMEMBERED]:
            del self._learned[name]

    async def forecast(self, hours: int) -> SessionForecasts:
        """Forecast the running sessions, and arrivals per hour.

        Args:
            hours: Hours for which arrivals are forecast, >= 1.
        """
        now = self._clock.now()
        running = [
            (key, session, self._site.evses[key].state)
            for key in self._site.evses
            if (session := self._site.get_session(key)) is not None
        ]
        running.sort(key=lambda one: one[1].started_at)
        async with self._lock:
            return await asyncio.to_thread(self._compute, running, now, hours)

    def _learn_page(self, ended: Sequence[EndedSession], now: datetime) -> None:
        for one in ended:
            if one.session.session_id not in self._learned:
                self._learned[one.session.session_id] = None
                self._forecaster.learn(_to_completed(one))
        self._forecaster.catch_up(now)

    def _compute(
        self, running: Sequence[tuple[EvseKey, ChargingSession, EvseState]], now: datetime, hours: int
    ) -> SessionForecasts:
        forecaster = self._forecaster
        sessions = tuple(
            _describe_session(key, session, forecaster.forecast(_to_running(key, session, state), now))
            for key, session, state in running
        )
        arrivals = forecaster.expected_arrivals(now, timedelta(hours=hours), ARRIVALS_RESOLUTION)
        departure_error = energy_error = None
        if (errors := forecaster.recent_errors()) is not None and errors.days > 0:
            departure_error = _describe_error(errors.departure_h, errors.naive_departure_h, errors.days)
            energy_error = _describe_error(errors.energy_kwh, errors.naive_energy_kwh, errors.days)
        return SessionForecasts(
            site_id=self._site.rules.settings.id,
            issued_at=now,
            model=forecaster.name,
            learned_sessions=forecaster.learned_sessions,
            departure_error=departure_error,
            energy_error=energy_error,
            sessions=sessions,
            resolution_s=int(ARRIVALS_RESOLUTION.total_seconds()),
            arrivals=tuple(map(_describe_arrivals, arrivals)),
        )


def _to_completed(ended: EndedSession) -> CompletedSession:
    session = ended.session
    return CompletedSession(
        arrival=session.started_at,
        departure=ended.ended_at,
        energy_kwh=session.energy_kwh,
        station_id=_station(ended.key),
        driver_id=session.driver and session.driver.driver_id,
        entered_energy_kwh=session.energy_wanted_kwh,
        entered_departure=session.departure,
    )


def _to_running(key: EvseKey, session: ChargingSession, state: EvseState) -> RunningSession:
    return RunningSession(
        arrival=session.started_at,
        station_id=_station(key),
        energy_kwh=session.energy_kwh,
        driver_id=session.driver and session.driver.driver_id,
        entered_energy_kwh=session.energy_wanted_kwh,
        entered_departure=session.departure,
        has_stopped_drawing=state is EvseState.SUSPENDED_EV,
    )


def _station(key: EvseKey) -> str:
    return f"{key[0]}/{key[1]}"


def _describe_session(key: EvseKey, session: ChargingSession, forecast: SessionForecast) -> ExpectedSession:
    departure, energy, basis = forecast.departure, forecast.energy_kwh, forecast.basis
    driver, station, site = (round(share, 3) for share in (basis.driver, basis.station, basis.site))
    return ExpectedSession(
        session_id=session.session_id,
        charger_id=key[0],
        evse_id=key[1],
        departure=ExpectedDeparture(p10=departure.p10, p50=departure.p50, p90=departure.p90),
        energy_kwh=ExpectedEnergy(p10=round(energy.p10, 3), p50=round(energy.p50, 3), p90=round(energy.p90, 3)),
        shares=ForecastShares(driver=driver, station=station, site=site, prior=round(basis.prior, 3)),
    )


def _describe_error(model: float, naive: float, days: float) -> RecentError:
    return RecentError(
        model_mae=round(model, 3), naive_mae=round(naive, 3), naive_model=_NAIVE_MODEL, days=round(days, 3) or 0.001
    )


def _describe_arrivals(interval: ArrivalInterval) -> ArrivalsInterval:
    return ArrivalsInterval(
        interval_start=interval.interval_start,
        mean=round(interval.expected, 3),
        p10=interval.p10,
        p50=interval.p50,
        p90=interval.p90,
        energy_kwh=round(interval.energy_kwh, 3),
    )
