"""Makes load forecasts from the model's file and the service's history; loaded where the load is forecast only."""

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from ev_forecasting.load import LoadHistoryError, LoadModel, predict_load, train_load
from ev_forecasting.load_features import LoadCalendar
from ev_forecasting.load_files import LoadModelFileError, read_model
from ev_forecasting.series import TimeSeries
from ev_service.errors import ConfigurationError
from ev_service.forecasts import GridForecast, QuantileInterval, RecentError
from ev_service.history.reading_history import ReadingHistory
from ev_service.settings import SiteSettings
from grid_service.forecast_settings import MAX_HOURS, RESOLUTION, ForecastSettings

LEAD_DAYS = 2
"""Days that a model reaches ahead."""

TRAINING_DAYS = 400
"""Days of history that a model is fitted on at most."""

LOAD_FIELD = "load_kw"

_HISTORY_DAYS = 80
_SEASONAL_DAYS = 27
"""Days that a seasonal forecast is made from where there is no model: too few for trees."""

_logger = logging.getLogger(__name__)


class ForecastMaker:
    """Makes forecasts of one site's load.

    Args:
        settings: where the model is.
        site: the site.
        history: what the model looks back on.
        source: how forecasts name where the load came from.

    Raises:
        ConfigurationError: the holidays of the country are not known.
    """

    def __init__(self, settings: ForecastSettings, site: SiteSettings, history: ReadingHistory, source: str) -> None:
        self._settings, self._site_id, self._history, self._source = settings, site.id, history, source
        self._calendar = create_calendar(settings, site)
        self._read_mtime_ns: int | None = None
        self.model: LoadModel | None = None
        """Model of the file; None: there is none that can be used."""
        self.model_error: str | None = None
        """Why a seasonal mean stands in for the model; None: it does not."""

    def make(self, now: datetime) -> GridForecast:
        """Forecast `MAX_HOURS` from now on.

        Raises:
            LoadHistoryError: there is too little history.
            HistoryUnavailableError: it cannot be read.
        """
        load = read_load(self._history, now, _HISTORY_DAYS)
        if not len(load):
            raise LoadHistoryError("no load was measured yet")
        self._read_model()
        recent = load.since(load.end - timedelta(days=_SEASONAL_DAYS))
        model = self.model or train_load(recent, self._calendar, LEAD_DAYS)
        return _build_forecast(model, load, self._calendar, now, (self._site_id, self._source))

    def _read_model(self) -> None:
        """Read the file again when it has changed."""
        file = self._settings.model_file
        assert file is not None
        try:
            mtime_ns = file.stat().st_mtime_ns
        except OSError:
            self.model, self._read_mtime_ns = None, None
            self.model_error = "there is no model yet, a seasonal mean stands in for it"
            return
        if mtime_ns != self._read_mtime_ns:
            self._read_mtime_ns, self.model = mtime_ns, None
            try:
                self.model, self.model_error = read_model(file), None
            except LoadModelFileError as error:
                self.model_error = f"{error}; a seasonal mean stands in for it"
                _logger.warning("load model not usable", extra={"reason": str(error)})


def create_calendar(settings: ForecastSettings, site: SiteSettings) -> LoadCalendar:
    """Create the calendar of a site.

    Raises:
        ConfigurationError: the holidays of the country are not known.
    """
    try:
        return LoadCalendar(ZoneInfo(site.timezone), settings.country, settings.region)
    except ValueError as error:
        raise ConfigurationError(f"GRID_FORECAST_COUNTRY, GRID_FORECAST_REGION: {error}") from error


def read_load(history: ReadingHistory, now: datetime, days: int) -> TimeSeries:
    """Read the load of the last days, up to the interval that is over [kW]; NaN where nothing was measured.

    Args:
        history: of the grid service.
        now: the run's time.
        days: how far back.

    Raises:
        HistoryUnavailableError: the database cannot be read.
    """
    step_s = int(RESOLUTION.total_seconds())
    end = datetime.fromtimestamp(now.timestamp() // step_s * step_s, UTC)
    start = end - timedelta(days=days)
    series = history.read_series(LOAD_FIELD, start, end, step_s)
    values = np.asarray(series.values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    first = int(known[0]) if len(known) else len(values)
    return TimeSeries(start + RESOLUTION * first, RESOLUTION, values[first:])


def _build_forecast(
    model: LoadModel, load: TimeSeries, calendar: LoadCalendar, now: datetime, of: tuple[str, str]
) -> GridForecast:
    prediction = predict_load(model, load, calendar, now, timedelta(hours=MAX_HOURS) // RESOLUTION)
    # What is drawn from the grid is never below 0: export is told apart.
    forecast = (prediction.p10, prediction.p50, prediction.p90)
    quantiles = [np.maximum(values, 0.0).round(3).tolist() for values in forecast]
    naive = model.holdout_mae.get("week before")
    site_id, source = of
    return GridForecast(
        site_id=site_id,
        timestamp=now,
        source=source,
        issued_at=now,
        model=model.name,
        resolution_s=int(RESOLUTION.total_seconds()),
        intervals=tuple(
            QuantileInterval(interval_start=prediction.start + RESOLUTION * index, p10=p10, p50=p50, p90=p90)
            for index, (p10, p50, p90) in enumerate(zip(*quantiles, strict=True))
        ),
        recent_error=None
        if naive is None
        else RecentError(
            model_mae=model.holdout_mae["model"],
            naive_mae=naive,
            naive_model="load of a week before",
            days=float(len(model.errors)),
        ),
    )
