"""Fits the model of load forecasts on the grid service's own history: `python -m grid_service.train`.

A process of its own, started by hand or once in GRID_FORECAST_TRAIN_HOURS by the service; the service goes on with the
model before until this one has written its file whole. Settings are those of the service: GRID_FORECAST_…, HISTORY_…,
SITE_…, GRID_SOURCE.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime

from ev_forecasting.load import LoadHistoryError, LoadModel, train_load
from ev_forecasting.load_files import encode_model
from ev_service.clock import make_clock
from ev_service.errors import EvError
from ev_service.files import replace_file
from ev_service.history.reading_history import ReadingHistory, SeriesOwner, find_origin
from ev_service.history.settings import HistorySettings
from ev_service.history.store import open_store
from ev_service.settings import RunSettings, SiteSettings, load
from grid_service.forecast_making import LEAD_DAYS, TRAINING_DAYS, create_calendar, read_load
from grid_service.forecast_settings import ForecastSettings
from grid_service.sources import GridSourceSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write the model; return 1 with the reason on stderr if that cannot be done."""
    argparse.ArgumentParser(prog="python -m grid_service.train", description=__doc__).parse_args(arguments)
    try:
        settings, site = load(ForecastSettings), load(SiteSettings)
        file = settings.model_file
        if file is None:
            return _fail("GRID_FORECAST_DIR is not set: there is no place for the model")
        store = open_store(
            load(HistorySettings), SeriesOwner(site.id, "grid", find_origin(load(GridSourceSettings).source))
        )
        if store is None:
            return _fail("nothing is kept to learn from: set HISTORY_DIR or HISTORY_DATABASE_URL")
        model = train(store, make_clock(load(RunSettings).sim_clock_file).now(), settings, site)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, encode_model(model))
    except LoadHistoryError as error:
        return _fail(f"{error}; import recorded values with python -m ev_service.history grid, or wait")
    except EvError as error:
        return _fail(error.message)
    except OSError as error:
        return _fail(f"the model cannot be written: {error}")
    sys.stdout.write("\n".join([*describe_model(model), f"written  {file}", ""]))
    return 0


def train(history: ReadingHistory, now: datetime, settings: ForecastSettings, site: SiteSettings) -> LoadModel:
    """Fit a model on the last days of a history.

    Args:
        history: of the grid service.
        now: the run's time.
        settings: of the calendar.
        site: the site.

    Raises:
        LoadHistoryError: there is too little of it.
        ConfigurationError: the holidays of the country are not known.
        HistoryUnavailableError: the database cannot be read.
    """
    series = read_load(history, now, TRAINING_DAYS)
    if not len(series):
        raise LoadHistoryError("no load was measured yet")
    return train_load(series, create_calendar(settings, site), LEAD_DAYS)


def describe_model(model: LoadModel) -> list[str]:
    """Lines for people: what the model is, from how many days, and how good."""
    errors = sorted(model.holdout_mae.items(), key=lambda entry: entry[1])
    lines = [
        f"model    {model.name}" + (f" ({model.fallback_reason})" if model.fallback_reason else ""),
        f"history  {model.training_days} days until {model.trained_until:%Y-%m-%d %H:%M} UTC",
        f"features {len(model.feature_names)}",
    ]
    return lines + [f"error    {mae:.3g} kW mean absolute, {name}" for name, mae in errors]


def _fail(reason: str) -> int:
    sys.stderr.write(f"grid_service.train: {reason}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
