"""GET /grid-forecast: the route, and the forecasts that it answers from memory.

Nothing is fitted here: a process of its own does that (`grid_service.train`), and its file is read when it changes.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from ev_service.clock import Clock, sleep_until_s
from ev_service.errors import EvError
from ev_service.forecasts import GridForecast
from ev_service.history.reading_history import ReadingHistory, find_origin
from ev_service.settings import SiteSettings
from ev_service.tasks import run_in_background
from ev_service.web import through_gateway
from grid_service import APICONTEXT
from grid_service.forecast_settings import MAX_HOURS, RESOLUTION, ForecastSettings

if TYPE_CHECKING:
    from grid_service.forecast_making import ForecastMaker

_REFRESH_S = 300.0
_TRAINING_TIMEOUT_S = 900.0
_RETRY_S = 3600.0
_PER_HOUR = timedelta(hours=1) // RESOLUTION

_logger = logging.getLogger(__name__)


class ForecastNotAvailableError(EvError):
    """There is no forecast; says what is missing."""

    code = "forecast_not_available"
    http_status = 404


@dataclass(frozen=True, slots=True)
class _ForecastState:
    """The newest forecast, or why there is none."""

    forecast: GridForecast | None = None
    missing: str = "the first forecast is not made yet"


class LoadForecastService:
    """Forecasts of the load over the site's connection.

    Args:
        settings: where the model is.
        site: the site.
        history: what the model looks back on; None: nothing is kept.
        source: where the load comes from, as readings name it.
        clock: the run's clock.
    """

    def __init__(
        self, settings: ForecastSettings, site: SiteSettings, history: ReadingHistory | None, source: str, clock: Clock
    ) -> None:
        self._settings, self._site, self._history, self._source = settings, site, history, find_origin(source)
        self._clock = clock
        self._held = _ForecastState()
        self._maker: ForecastMaker | None = None
        self._training_due_s = -1.0
        self._training_error: str | None = None

    def read(self, hours: int) -> GridForecast:
        """The newest forecast, from its first interval on.

        Args:
            hours: how far ahead [h].

        Raises:
            ForecastNotAvailableError: there is none.
        """
        if self._settings.model_file is None:
            raise ForecastNotAvailableError("this site's load is not forecast: GRID_FORECAST_DIR is not set")
        if self._history is None:
            raise ForecastNotAvailableError("this site keeps no history: set HISTORY_DIR or HISTORY_DATABASE_URL")
        forecast = self._held.forecast
        if forecast is None:
            raise ForecastNotAvailableError(self._held.missing)
        return forecast.model_copy(update={"intervals": forecast.intervals[: hours * _PER_HOUR]})

    def warnings(self) -> Mapping[str, str | None]:
        """Why forecasts are not made by a new model; no reason to take the grid reading for failed."""
        model_error = self._maker and self._maker.model_error
        reasons = [reason for reason in (model_error, self._training_error) if reason]
        return {"grid_forecast": "; ".join(reasons) or None}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Forecast anew every 5 min, and have the model fitted anew when it is due."""
        if self._settings.model_file is None or self._history is None:
            yield
            return
        async with run_in_background(self._run(self._forecast_once)), run_in_background(self._run(self._train_if_due)):
            yield

    def create_routes(self) -> APIRouter:
        """Create the route."""
        router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["grid"])

        @router.get(
            "/grid-forecast",
            operation_id="getGridForecast",
            summary="How much will the site draw from the grid?",
            response_model_exclude_none=True,
        )
        async def get_grid_forecast(
            hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="How far to look ahead [h].")] = MAX_HOURS,
        ) -> GridForecast:
            """Forecast of `load_kw` in intervals of 15 min: 10 %, 50 % and 90 % quantile, made anew every 5 min.

            It is learned from the site's own history, charging included as far as that was in the load. `model` names
            what made it, a seasonal mean where that was better, and `recent_error` how far it was off lately beside
            the load of a week before. 404 with code `forecast_not_available` says what is missing.
            """
            return self.read(hours)

        return router

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            started_s = self._clock.monotonic_s()
            try:
                await work()
            except Exception:
                _logger.exception("load forecast failed")
            await sleep_until_s(self._clock, started_s + _REFRESH_S)

    async def _forecast_once(self) -> None:
        held = await asyncio.to_thread(self._make)
        if held.forecast is None and held.missing != self._held.missing:
            _logger.warning("no load forecast", extra={"reason": held.missing})
        self._held = held

    def _make(self) -> _ForecastState:
        # Loaded here: a service that forecasts nothing needs neither their memory nor their time.
        from ev_forecasting.load import LoadHistoryError
        from grid_service.forecast_making import ForecastMaker

        assert self._history is not None
        try:
            if self._maker is None:
                self._maker = ForecastMaker(self._settings, self._site, self._history, self._source)
            return _ForecastState(self._maker.make(self._clock.now()))
        except LoadHistoryError as error:
            return _ForecastState(missing=str(error))
        except EvError as error:
            return _ForecastState(missing=error.message)

    async def _train_if_due(self) -> None:
        now_s, model = self._clock.monotonic_s(), self._maker and self._maker.model
        age = None if model is None else self._clock.now() - model.trained_until
        if now_s < self._training_due_s or (age is not None and age < timedelta(hours=self._settings.train_hours)):
            return
        self._training_due_s = now_s + _RETRY_S
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "grid_service.train"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_TRAINING_TIMEOUT_S):
                _, complaint = await process.communicate()
        except BaseException as error:
            process.kill()
            await process.wait()
            if not isinstance(error, TimeoutError):
                raise
            self._training_error = f"training took over {_TRAINING_TIMEOUT_S:g} s and was ended"
            return
        reason = complaint.decode(errors="replace").strip().rsplit("\n", 1)[-1][:400]
        failure = reason or f"training ended with {process.returncode}"
        self._training_error = None if process.returncode == 0 else failure
        _logger.info("load model trained", extra={"reason": self._training_error})
