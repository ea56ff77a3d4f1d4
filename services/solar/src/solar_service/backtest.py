"""How good solar forecasts are on a recorded series: `python -m solar_service.backtest --help`."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from ev_forecasting.backtest_command import create_progress, parse_zone
from ev_forecasting.series import SeriesError, TimeSeries, read_csv
from ev_forecasting.solar_backtest import SolarBacktest, SolarScore, backtest_solar
from ev_forecasting.solar_clear_sky import SolarExtraError, SolarSite, find_daylight_saving, shift_summer
from site_model.yield_table import default_table

_GENERATED_SITE = SolarSite(latitude_deg=36.1, longitude_deg=-79.95, capacity_kwp=100.0)
_GENERATED_START = datetime(2022, 1, 1, 5, tzinfo=UTC)
_GENERATED_DAYS = 546

_DESCRIPTION = """Forecast the power of solar panels over the last weeks of a recorded series, with models that are
fitted anew every 28 days on what ended before, and print the errors of two forecasts: one hour ahead (issued at the end
of each interval for the one that ends an hour later; beside the last clear-sky index that stays) and day-ahead (issued
at local midnight for the 24 hours that follow; beside the same time yesterday). Without --csv the series is that of the
simulated site: its typical year, repeated."""

_ROWS = (
    ("nRMSE, expected power [% of mean]", "nrmse_percent", "naive_nrmse_percent"),
    ("nRMSE, median [% of mean]", "nrmse_p50_percent", "naive_nrmse_percent"),
    ("MAE, median [kW]", "mae", "naive_mae"),
    ("pinball, p10 p50 p90 [kW]", "pinball", "naive_pinball"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the backtest that the command line describes."""
    options = _create_parser().parse_args(arguments)
    try:
        report, result = run_backtest(options, create_progress(is_terminal=sys.stderr.isatty()))
        if options.picture is not None:
            _draw(result, options.picture)
    except (SeriesError, SolarExtraError, ValueError) as error:
        raise SystemExit(f"solar_service.backtest: {error}") from error
    sys.stdout.write((json.dumps(report, indent=2) if options.json else describe_report(report)) + "\n")


def run_backtest(options: Namespace, progress: Callable[[float], None]) -> tuple[dict[str, Any], SolarBacktest]:
    """Run the backtest and describe it as JSON.

    Args:
        options: the command line's.
        progress: called with the share that is done.

    Raises:
        SeriesError: the file cannot be read, or is too short.
        SolarExtraError: pvlib is not installed.
        ValueError: latitude, longitude or another value is missing or outside of its range.
    """
    site, series, source = _read_series(options)
    weeks = min(options.weeks, (series.end - series.start) / timedelta(weeks=2))
    test_start = series.end - timedelta(weeks=weeks)
    # Judged by the part before the test alone, as everything else.
    saving = find_daylight_saving(site, series.until(test_start), options.timezone)
    if saving is not None:
        series = shift_summer(series, ZoneInfo(saving))
    result = backtest_solar(site, series, test_start, options.timezone, progress)
    model = result.models[-1]
    return {
        "source": source,
        "model": "clear-sky index",
        "test_from": f"{result.grid.start:%Y-%m-%dT%H:%M:%SZ}",
        "test_to": f"{result.grid.end:%Y-%m-%dT%H:%M:%SZ}",
        "resolution_s": int(series.resolution.total_seconds()),
        "daylight_saving_removed": saving,
        "surface_tilt_deg": round(model.mounting.surface_tilt_deg, 1),
        "surface_azimuth_deg": round(model.mounting.surface_azimuth_deg, 1),
        "clear_sky_kw": round(model.mounting.scale, 3),
        "hour_ahead": _round_score(result.score(result.hour_ahead)),
        "day_ahead": _round_score(result.score(result.day_ahead)),
    }, result


def describe_report(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    lines = [
        report["source"],
        f"test {report['test_from'][:10]} to {report['test_to'][:10]}, steps of {report['resolution_s'] // 60} min",
        f"panels as learned: tilt {report['surface_tilt_deg']}°, azimuth {report['surface_azimuth_deg']}°, "
        f"{report['clear_sky_kw']} kW at 1000 W/m²",
    ]
    if report["daylight_saving_removed"]:
        lines.append(f"timestamps held the daylight saving time of {report['daylight_saving_removed']}; removed")
    for title, key, naive in (
        ("1 h ahead", "hour_ahead", "last clear-sky index"),
        ("day-ahead", "day_ahead", "yesterday"),
    ):
        score = report[key]
        lines += ["", f"{title:34} {'model':>10} {naive:>22}"]
        lines += [f"{name:34} {score[own]:10.4g} {score[other]:22.4g}" for name, own, other in _ROWS]
        lines += [
            f"{'skill, expected power [%]':34} {score['skill_percent']:10.1f}",
            f"{'  without days of outage [%]':34} {score['skill_without_outages_percent']:10.1f}",
            f"{'coverage p10 to p90 [%]':34} {score['coverage_p10_p90']:10.1f}",
        ]
    return "\n".join(lines)


def generate_series() -> TimeSeries:
    """Power of the simulated site's panels [kW] over a year and a half: its typical year, repeated."""
    table = default_table()
    capacity_kwp = _GENERATED_SITE.capacity_kwp or 0.0
    days = [_GENERATED_START.replace(hour=0) + timedelta(days=day) for day in range(_GENERATED_DAYS)]
    instants: list[int] = []
    for day in days:
        leap = (day.month, day.day) == (2, 29)
        instants += table.day(day.month, 28 if leap else day.day).yield_w_per_kwp
    first = _GENERATED_START.hour * 4
    powers = np.array(instants, dtype=np.float64)
    means = (powers + np.roll(powers, -1)) / 2 * capacity_kwp / 1000
    return TimeSeries(_GENERATED_START, timedelta(minutes=15), means[first : first + (_GENERATED_DAYS - 1) * 96])


def _create_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m solar_service.backtest", description=_DESCRIPTION)
    parser.add_argument("--csv", type=Path, help="first column: timestamps in UTC or with an offset; .gz is unpacked")
    parser.add_argument("--column", help="header of the power [kW]; one that ends in _w is taken as W")
    parser.add_argument("--latitude", type=float, help="of the panels, north positive [°]")
    parser.add_argument("--longitude", type=float, help="of the panels, east positive [°]")
    parser.add_argument("--altitude", type=float, default=0.0, help="of the panels above the sea [m]")
    parser.add_argument("--capacity-kwp", type=float, help="rated DC power [kWp]; default: learned")
    parser.add_argument("--tilt", type=float, help="of the panels from the horizontal [°]; default: learned")
    parser.add_argument("--azimuth", type=float, help="that they face, from north clockwise [°]; default: learned")
    parser.add_argument("--timezone", type=parse_zone, help="whose midnight issues forecasts; default: by the sun")
    parser.add_argument("--weeks", type=float, default=52.0, help="length of the test, at most half of the series")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="draw forecasts and errors into this PNG file")
    return parser


def _read_series(options: Namespace) -> tuple[SolarSite, TimeSeries, str]:
    if options.weeks <= 0:
        raise ValueError("--weeks must be positive")
    if options.csv is None:
        return _GENERATED_SITE, generate_series(), "GENERATED series of the simulated site (no --csv), capacity 100 kWp"
    missing = [name for name in ("column", "latitude", "longitude") if getattr(options, name) is None]
    if missing:
        raise ValueError(f"--csv needs --{missing[0]}")
    found, report = read_csv(options.csv, [options.column], timezone=options.timezone)
    series = found[options.column]
    if options.column.lower().endswith("_w"):
        series = TimeSeries(series.start, series.resolution, series.values / 1000)
    site = SolarSite(
        options.latitude, options.longitude, options.altitude, options.capacity_kwp, options.tilt, options.azimuth
    )
    return site, series, f"{options.csv.name}: {report.describe()}"


def _round_score(score: SolarScore) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(score).items()}


def _draw(result: SolarBacktest, file: Path) -> None:
    """Draw a week of day-ahead forecasts with their band, and the week's forecasts one hour ahead."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ValueError("a picture needs matplotlib: install solar-service[picture]") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    per_day = result.grid.intervals_per_day
    middle = len(result.grid) // 2 // per_day * per_day
    part = slice(middle, middle + 7 * per_day)
    days = np.arange(part.stop - part.start) / per_day
    plot: Any = pyplot
    figure, axes = plot.subplots(2, 1, figsize=(9, 4.4), sharex=True, layout="constrained")
    for axis, run, title in (
        (axes[0], result.day_ahead, "day-ahead, issued at midnight"),
        (axes[1], result.hour_ahead, "one hour ahead"),
    ):
        band = run.prediction
        axis.fill_between(days, band.p10[part], band.p90[part], color="#f6c667", label="p10 to p90", linewidth=0)
        axis.plot(days, band.p50[part], color="#c77700", linewidth=1.2, label="p50")
        axis.plot(days, result.grid.values[part], color="#1b3a57", linewidth=1, label="measured")
        axis.plot(days, result.clear[part], color="#888888", linewidth=0.8, linestyle=":", label="clear sky")
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("kW")
    axes[0].legend(ncols=4, fontsize=8, loc="upper right", frameon=False)
    start = result.grid.start + part.start * result.grid.resolution
    axes[1].set_xlabel(f"days from {start:%Y-%m-%d %H:%M} UTC")
    figure.savefig(file, dpi=72)
    plot.close(figure)


if __name__ == "__main__":
    main()
