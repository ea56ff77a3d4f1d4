"""GET /grid-forecast: what it is made from, who fits its model, and what it says when that cannot be."""

from __future__ import annotations

import math
import pickle
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ev_forecasting import load
from ev_forecasting.load import LoadModel, train_load
from ev_forecasting.load_features import LoadCalendar
from ev_forecasting.load_files import LoadModelFileError, encode_model, read_model
from ev_forecasting.series import TimeSeries
from ev_service.clock import SteppedClock
from ev_service.history.reading_history import SeriesOwner
from ev_service.history.settings import HistorySettings
from ev_service.history.store import HistoryStore, Sample, open_store
from ev_service.settings import SiteSettings
from grid_service import train
from grid_service.forecast_settings import ForecastSettings
from grid_service.load_forecasts import ForecastNotAvailableError, LoadForecastService

NOW = datetime(2026, 6, 21, 12, 7, tzinfo=UTC)
STEP = timedelta(minutes=15)
pytestmark = pytest.mark.anyio


def load_kw(moment: datetime) -> float:
    return 40 + 20 * math.sin(2 * math.pi * (moment.hour + moment.minute / 60 - 6) / 24) - 10 * (moment.weekday() > 4)


def series(days: int) -> TimeSeries:
    end = NOW.replace(minute=0)
    start = end - timedelta(days=days)
    noise = np.random.default_rng(1).normal(0, 1, days * 96)
    return TimeSeries(start, STEP, np.array([load_kw(start + STEP * index) for index in range(days * 96)]) + noise)


def open_history(folder: Path) -> HistoryStore:
    store = open_store(HistorySettings(dir=folder), SeriesOwner("greensboro", "grid", "simulated"))
    assert store is not None
    return store


def fill(store: HistoryStore, values: TimeSeries) -> None:
    moments = (values.start + STEP * index for index in range(len(values)))
    store.write([Sample(at, {"load_kw": float(value)}) for at, value in zip(moments, values.values, strict=True)])


def service(folder: Path, store: HistoryStore | None, **changes: object) -> LoadForecastService:
    settings = ForecastSettings(dir=folder, **changes)  # pyright: ignore[reportArgumentType]
    return LoadForecastService(settings, SiteSettings(id="greensboro"), store, "simulated", SteppedClock(NOW))


@pytest.fixture(autouse=True, scope="module")
def quick_trees() -> Generator[None]:
    """Few trees: how good they are is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patched:
        trees = load._TREES  # pyright: ignore[reportPrivateUsage]
        quick = tuple((is_difference, options | {"max_iter": 30}) for is_difference, options in trees)
        patched.setattr(load, "_TREES", quick)
        yield


@pytest.fixture(scope="module")
def model() -> LoadModel:
    return train_load(series(35), LoadCalendar(ZoneInfo("America/New_York")), 2)


def test_a_model_comes_out_of_its_file_as_it_went_in(model: LoadModel, tmp_path: Path) -> None:
    file = tmp_path / "load.skops"
    file.write_bytes(encode_model(model))

    again = read_model(file)

    assert (again.name, again.trained_until, again.training_days) == (model.name, model.trained_until, 35)
    rows = np.zeros((3, len(model.feature_names)))
    for old, new in zip(model.trees, again.trees, strict=True):
        assert (old.predict(rows) == new.predict(rows)).all()  # pyright: ignore[reportUnknownMemberType]


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code was run",))


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(_Malicious()), b"", b"PK\x03\x04 cut off", b'{"format": 1}'],
    ids=["pickle", "empty", "truncated", "json"],
)
def test_a_file_that_holds_no_model_is_refused_and_runs_nothing(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "load.skops"
    file.write_bytes(content)

    with pytest.raises(LoadModelFileError, match=r"load\.skops"):
        read_model(file)

    assert "code was run" not in capsys.readouterr().out


def test_a_model_of_another_version_or_with_foreign_types_is_refused(
    model: LoadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "load.skops"
    with monkeypatch.context() as patched:
        patched.setattr("ev_forecasting.load_files._describe_versions", lambda: "ev-forecasting 0.0.1")
        file.write_bytes(encode_model(model))
    with pytest.raises(LoadModelFileError, match=r"written by ev-forecasting 0\.0\.1; train again"):
        read_model(file)

    monkeypatch.setattr("ev_forecasting.load_files._TRUSTED", frozenset[str]())
    file.write_bytes(encode_model(model))
    with pytest.raises(LoadModelFileError, match="types that no load model has"):
        read_model(file)


async def test_the_command_fits_and_the_service_forecasts_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_history(tmp_path)
    fill(store, series(35))
    monkeypatch.setenv("HISTORY_DIR", str(tmp_path))
    monkeypatch.setenv("GRID_FORECAST_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SITE_ID", "greensboro")

    def make_clock(_: object) -> SteppedClock:
        return SteppedClock(NOW)

    monkeypatch.setattr(train, "make_clock", make_clock)

    assert train.main([]) == 0

    report = capsys.readouterr().out
    assert "history  35 days until 2026-06-21 12:00 UTC" in report
    forecasts = service(tmp_path / "models", store)
    await forecasts._forecast_once()  # pyright: ignore[reportPrivateUsage]
    answer = forecasts.read(48)
    assert len(answer.intervals) == 192
    assert len(forecasts.read(1).intervals) == 4
    assert answer.intervals[0].interval_start == NOW.replace(minute=0)
    off = [abs(one.p50 - load_kw(one.interval_start)) for one in answer.intervals]
    assert sum(off) / len(off) < 2.5
    assert answer.recent_error is not None
    assert forecasts.warnings() == {"grid_forecast": None}


async def test_without_a_model_a_seasonal_mean_stands_in_and_the_warning_says_so(tmp_path: Path) -> None:
    store = open_history(tmp_path)
    fill(store, series(12))
    forecasts = service(tmp_path / "models", store)

    await forecasts._forecast_once()  # pyright: ignore[reportPrivateUsage]

    assert forecasts.read(48).model.startswith("seasonal")
    assert forecasts.warnings()["grid_forecast"] == "there is no model yet, a seasonal mean stands in for it"

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "load.skops").write_bytes(b"garbage")
    await forecasts._forecast_once()  # pyright: ignore[reportPrivateUsage]

    assert forecasts.read(48).model.startswith("seasonal")
    assert "holds no load model" in (forecasts.warnings()["grid_forecast"] or "")


async def test_what_is_missing_is_said(tmp_path: Path) -> None:
    store = open_history(tmp_path)
    fill(store, series(3))
    young = service(tmp_path, store)
    await young._forecast_once()  # pyright: ignore[reportPrivateUsage]

    for forecasts, words in (
        (young, "of 7 days of load are known"),
        (service(tmp_path, None), "keeps no history"),
        (LoadForecastService(ForecastSettings(), SiteSettings(), store, "simulated", SteppedClock(NOW)), "not set"),
    ):
        with pytest.raises(ForecastNotAvailableError, match=words):
            forecasts.read(48)


async def test_a_training_that_fails_leaves_forecasts_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("GRID_FORECAST_DIR", str(tmp_path))
    store = open_history(tmp_path)
    fill(store, series(12))
    forecasts = service(tmp_path, store)

    await forecasts._train_if_due()  # pyright: ignore[reportPrivateUsage]
    await forecasts._forecast_once()  # pyright: ignore[reportPrivateUsage]

    assert "no load was measured yet; import recorded values" in (forecasts.warnings()["grid_forecast"] or "")
    assert forecasts.read(1).model.startswith("seasonal")


async def test_absurd_history_gives_ordered_quantiles_that_are_not_negative(tmp_path: Path) -> None:
    values = series(12)
    poisoned = values.values.copy()
    poisoned[::50] = 1e6
    poisoned[7::31] = np.nan
    store = open_history(tmp_path)
    known = np.where(np.isnan(poisoned), 0.0, poisoned)
    fill(store, TimeSeries(values.start, STEP, known))
    forecasts = service(tmp_path, store)

    await forecasts._forecast_once()  # pyright: ignore[reportPrivateUsage]

    for one in forecasts.read(48).intervals:
        assert 0 <= one.p10 <= one.p50 <= one.p90 < math.inf
