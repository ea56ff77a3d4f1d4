"""How good load forecasts are on a recorded series: `python -m grid_service.backtest --help`."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ev_forecasting.backtest_command import create_progress, parse_zone
from ev_forecasting.load_backtest import MSTL, PLAIN_TREE, LoadBacktest, backtest_load, default_test_start
from ev_forecasting.load_features import LoadCalendar
from ev_forecasting.measures import (
    coverage_percent,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    peak_percentage_error,
)
from ev_forecasting.series import FloatArray, SeriesError, TimeSeries, read_csv
from site_model.load import building_load_kw
from site_model.parameters import Building

_GENERATED_START = datetime(2025, 1, 6, tzinfo=UTC)
_GENERATED_DAYS = 140

_NOISE_MEMORY_H = 20.0
"""Time in which the error of a weather forecast loses two thirds of what it has in common with itself."""

_DESCRIPTION = """Forecast a load over the last weeks of a recorded series: at each local midnight the 24 hours that
follow, from what had ended by then, with models that are fitted anew every 28 days on what ended before. Print the
errors beside those of seasonal baselines, of a plain boosted tree and, where statsforecast is installed, of MSTL.
Without --csv the series is that of the simulated building."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the backtest that the command line describes."""
    options = _create_parser().parse_args(arguments)
    try:
        report, result = run_backtest(options, create_progress(is_terminal=sys.stderr.isatty()))
        if options.picture is not None:
            _draw(result, options.picture)
    except (SeriesError, ValueError) as error:
        raise SystemExit(f"grid_service.backtest: {error}") from error
    sys.stdout.write((json.dumps(report, indent=2) if options.json else describe_report(report)) + "\n")


def run_backtest(options: Namespace, progress: Callable[[float], None]) -> tuple[dict[str, Any], LoadBacktest]:
    """Run the backtest and describe it as JSON.

    Args:
        options: the command line's.
        progress: called with the share that is done.

    Raises:
        SeriesError: the file cannot be read, or is too short.
        ValueError: an option is missing or outside of its range.
    """
    load, temperature_c, source = _read_series(options)
    calendar = LoadCalendar(options.timezone, options.country, options.region)
    test_start = default_test_start(load, options.weeks)
    result = backtest_load(
        load,
        calendar,
        test_start,
        temperature_c=temperature_c,
        with_rivals=not options.without_rivals,
        progress=progress,
    )
    before = load.until(test_start).values
    limit = options.limit if options.limit is not None else float(np.nanmax(np.abs(before)))
    return {"source": source, **_score(result, limit, options.horizon)}, result


def describe_report(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    lines = [
        report["source"],
        f"test {report['test_from'][:10]} to {report['test_to'][:10]}, {report['days']} forecasts of "
        f"{report['horizon_h']} h in steps of {report['resolution_s'] // 60} min",
        f"model: {report['model']}" + (f" ({report['fallback_reason']})" if report["fallback_reason"] else ""),
        "",
        f"{'':24} {'MAPE [%]':>10} {'at the peak [%]':>16}",
        f"{'model':24} {report['mape_percent']:10.3f} {report['peak_hour_mape_percent']:16.3f}",
    ]
    for name, error in report["mape_percent_of"].items():
        lines.append(f"{name:24} {error:10.3f} {report['peak_hour_mape_percent_of'][name]:16.3f}")
    if report["mape_percent_on_mstl_days"] is not None:
        lines.append(f"{'model, days of MSTL only':24} {report['mape_percent_on_mstl_days']:10.3f}")
    elif MSTL not in report["mape_percent_of"]:
        lines.append("MSTL: not computed (it needs statsforecast)")
    months = ", ".join(f"{month} {share:.0f}" for month, share in report["coverage_by_month"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"{'MAPE over that of 7 days':32} {report['mape_ratio_to_naive_7d']:8.3f}",
            f"{'MAE over the limit [%]':32} {report['error_percent_of_limit']:8.3f}  (limit {report['limit']:g})",
            f"{'pinball, p10 p50 p90':32} {report['pinball']:8.4g}",
            f"{'coverage p10 to p90 [%]':32} {report['coverage_p10_p90']:8.1f}",
            f"  by month: {months}",
        ]
    )


def generate_series() -> TimeSeries:
    """Load of the simulated building [kW] over 20 weeks, in means of an hour."""
    step, building = timedelta(minutes=15), Building()
    moments = [_GENERATED_START + number * step for number in range(_GENERATED_DAYS * 96)]
    values = [building_load_kw(building, zone=ZoneInfo("UTC"), seed=1, moment=moment) for moment in moments]
    return TimeSeries(_GENERATED_START, step, np.array(values)).mean_over(timedelta(hours=1))


def add_forecast_noise(temperature_c: TimeSeries, noise_k: float) -> FloatArray:
    """What a forecast of the day before might have said: measured temperature with noise that lasts for hours.

    Args:
        temperature_c: measured [°C].
        noise_k: standard deviation of the noise [K], >= 0. The noise is the same in each run.
    """
    step_h = temperature_c.resolution / timedelta(hours=1)
    memory = float(np.exp(-step_h / _NOISE_MEMORY_H))
    shocks = np.random.default_rng(0).normal(0.0, noise_k, len(temperature_c))
    noise = np.empty(len(shocks))
    last = 0.0 if not len(shocks) else float(shocks[0])
    for index, shock in enumerate(shocks):
        last = memory * last + float(np.sqrt(1 - memory**2)) * float(shock)
        noise[index] = last
    return temperature_c.values + noise


def _score(result: LoadBacktest, limit: float, horizon_h: int) -> dict[str, Any]:
    """Errors over the first `horizon_h` hours of each forecast."""
    steps = horizon_h * result.grid.intervals_per_day // 24
    rows = np.concatenate([day[:steps] for day in result.days])
    actual, p10, p50, p90 = (values[rows] for values in (result.grid.values, result.p10, result.p50, result.p90))
    forecasts = _name_forecasts(result)
    errors = {name: mean_absolute_percentage_error(actual, values[rows]) for name, values in forecasts.items()}
    single = {name: error for name, error in errors.items() if name not in (PLAIN_TREE, MSTL)}
    best = min(single, key=lambda name: single[name])
    mape = mean_absolute_percentage_error(actual, p50)
    on_mstl_days = None
    if MSTL in result.rivals:
        on_mstl_days = mean_absolute_percentage_error(
            actual, np.where(np.isnan(result.rivals[MSTL][rows]), np.nan, p50)
        )
    model = result.models[-1]
    return {
        "model": model.name,
        "fallback_reason": model.fallback_reason,
        "test_from": f"{result.grid.start:%Y-%m-%dT%H:%M:%SZ}",
        "test_to": f"{result.grid.end:%Y-%m-%dT%H:%M:%SZ}",
        "days": len(result.days),
        "horizon_h": horizon_h,
        "resolution_s": int(result.grid.resolution.total_seconds()),
        "mape_percent": round(mape, 4),
        "naive_7d_mape_percent": round(errors["naive 7 days"], 4),
        "naive_24h_mape_percent": round(errors["naive 24 h"], 4),
        "best_single_baseline": best,
        "best_single_baseline_mape_percent": round(errors[best], 4),
        "mape_ratio_to_naive_7d": round(mape / errors["naive 7 days"], 4),
        "mape_percent_of": {name: round(error, 4) for name, error in errors.items()},
        "mape_percent_on_mstl_days": None if on_mstl_days is None else round(on_mstl_days, 4),
        "limit": limit,
        "error_percent_of_limit": round(100 * mean_absolute_error(actual, p50) / limit, 4),
        "pinball": round(mean_pinball_loss(actual, p10, p50, p90), 4),
        "coverage_p10_p90": round(coverage_percent(actual, p10, p90), 2),
        "coverage_by_month": _cover_months(result, rows),
        "peak_hour_mape_percent": round(_peak_error(result, result.p50, steps), 4),
        "peak_hour_mape_percent_of": {
            name: round(_peak_error(result, values, steps), 4) for name, values in forecasts.items()
        },
    }


def _name_forecasts(result: LoadBacktest) -> dict[str, FloatArray]:
    """Everything that the model stands beside, by the name it is printed with."""
    return {
        "naive 7 days": result.baselines["week before"],
        "naive 24 h": result.baselines["day before"],
        **{name: values for name, values in result.baselines.items() if name not in ("week before", "day before")},
        **result.rivals,
    }


def _cover_months(result: LoadBacktest, rows: npt.NDArray[np.int64]) -> dict[str, float]:
    actual, p10, p90 = (values[rows] for values in (result.grid.values, result.p10, result.p90))
    months = result.grid.timestamps()[rows].astype("datetime64[M]")
    return {
        str(month): round(coverage_percent(actual[months == month], p10[months == month], p90[months == month]), 2)
        for month in np.unique(months)
    }


def _peak_error(result: LoadBacktest, forecast: FloatArray, steps: int) -> float:
    whole = [day[:steps] for day in result.days if len(day) >= steps]
    if not whole:
        return float("nan")
    chosen = np.stack(whole)
    return peak_percentage_error(result.grid.values[chosen], forecast[chosen])


def _create_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m grid_service.backtest", description=_DESCRIPTION)
    parser.add_argument("--csv", type=Path, help="first column: timestamps in UTC or with an offset; .gz is unpacked")
    parser.add_argument("--column", help="header of the load, in any unit")
    parser.add_argument("--horizon", type=int, default=24, help="hours of each forecast that are scored, 1 to 24")
    parser.add_argument("--weeks", type=float, default=52.0, help="length of the test")
    parser.add_argument("--temperature-column", help="header of the temperature as it was forecast a day before [°C]")
    parser.add_argument(
        "--temperature-noise", type=float, default=0.0, help="added to a temperature that was measured [K]"
    )
    parser.add_argument("--country", help="whose holidays count, such as DE")
    parser.add_argument(
        "--region", help="of the country, such as BY; default: holidays count by their share of regions"
    )
    parser.add_argument(
        "--timezone", type=parse_zone, default=ZoneInfo("UTC"), help="whose midnight issues forecasts; default: UTC"
    )
    parser.add_argument(
        "--limit", type=float, help="that errors are compared with; default: highest load before the test"
    )
    parser.add_argument("--without-rivals", action="store_true", help="skip the plain boosted tree and MSTL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="draw forecasts and errors into this PNG file")
    return parser


def _read_series(options: Namespace) -> tuple[TimeSeries, FloatArray | None, str]:
    if options.weeks <= 0:
        raise ValueError("--weeks must be positive")
    if not 1 <= options.horizon <= 24:
        raise ValueError("--horizon must be 1 to 24")
    if options.temperature_noise < 0:
        raise ValueError("--temperature-noise must not be negative")
    if options.limit is not None and options.limit <= 0:
        raise ValueError("--limit must be positive")
    if options.csv is None:
        return generate_series(), None, "GENERATED series of the simulated building [kW] (no --csv)"
    if options.column is None:
        raise ValueError("--csv needs --column")
    columns = [options.column, *([options.temperature_column] if options.temperature_column else [])]
    found, report = read_csv(options.csv, columns, timezone=options.timezone)
    load = found[options.column]
    if timedelta(hours=1) % load.resolution:
        raise ValueError(f"an hour must be a whole number of intervals, these have {load.resolution}")
    source = f"{options.csv.name}: {report.describe()}"
    if not options.temperature_column:
        return load, None, source
    temperature_c = add_forecast_noise(found[options.temperature_column], options.temperature_noise)
    return load, temperature_c, f"{source}; temperature with noise of {options.temperature_noise:g} K"


def _draw(result: LoadBacktest, file: Path) -> None:
    """Draw two weeks from the middle of the test, and the error by time of day beside the naive forecast's."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ValueError("a picture needs matplotlib: install grid-service[picture]") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    per_day = result.grid.intervals_per_day
    middle = max(0, len(result.days) // 2 - 7)
    part = np.concatenate(result.days[middle : middle + 14])
    days = (part - part[0]) / per_day
    whole = np.stack([day for day in result.days if len(day) == per_day])
    hours = np.arange(per_day) * 24 / per_day
    actual, naive = result.grid.values, result.baselines["week before"]
    plot: Any = pyplot
    figure, axes = plot.subplots(2, 1, figsize=(9, 4.8), layout="constrained", height_ratios=(3, 2))
    axes[0].fill_between(days, result.p10[part], result.p90[part], color="#9ecae1", label="p10 to p90", linewidth=0)
    axes[0].plot(days, result.p50[part], color="#08519c", linewidth=1.2, label="p50")
    axes[0].plot(days, actual[part], color="#222222", linewidth=0.9, label="measured")
    axes[0].plot(days, naive[part], color="#b35806", linewidth=0.7, linestyle=":", label="7 days before")
    start = result.grid.start + int(part[0]) * result.grid.resolution
    axes[0].set_xlabel(f"days from {start:%Y-%m-%d %H:%M} UTC")
    axes[0].legend(ncols=4, fontsize=8, loc="upper right", frameon=False)
    size = np.where(actual[whole] == 0, np.nan, np.abs(actual[whole]))
    for forecast, colour, label in ((result.p50, "#08519c", "model"), (naive, "#b35806", "7 days before")):
        axes[1].plot(
            hours, 100 * np.nanmean(np.abs(forecast - actual)[whole] / size, axis=0), color=colour, label=label
        )
    axes[1].set_ylim(bottom=0)
    axes[1].set_xlabel("hours after local midnight")
    axes[1].set_ylabel("MAPE [%]")
    axes[1].legend(fontsize=8, frameon=False)
    figure.savefig(file, dpi=72)
    plot.close(figure)


if __name__ == "__main__":
    main()
