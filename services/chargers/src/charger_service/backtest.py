"""Command: how good the forecasts of sessions would have been on the sessions of a file.

python -m charger_service.backtest --sessions F [--timezone Z] [--without F] [--json] [--picture FILE]
"""

import argparse
import json
import math
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ev_forecasting.series import SeriesError
from ev_forecasting.session_backtest import QuantityScore, SessionScores, generate_sessions, run_backtest
from ev_forecasting.session_csv import SessionFile, read_session_ids, read_sessions
from ev_forecasting.session_model import PooledSessionForecaster

GENERATED_DAYS = 120
LEAST_DRAWN = 50
"""Coverage of fewer forecasts is not drawn."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        zone = ZoneInfo(options.timezone)
        without = read_session_ids(options.without) if options.without else frozenset[str]()
        file = _read(options.sessions, zone, without)
        scores = run_backtest(
            file.sites.values(), lambda: PooledSessionForecaster(zone), power_kw=options.power_kw, skip=options.skip
        )
    except (ZoneInfoNotFoundError, SeriesError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    source = str(options.sessions.name) if options.sessions else "generated sessions, because no file was named"
    text = json.dumps(_summarize(file, scores, source)) if options.json else format_scores(file, scores, source)
    sys.stdout.write(text + "\n")
    if options.picture:
        draw_scores(scores, source, options.picture)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m charger_service.backtest",
        description="Tells how good the forecasts of sessions would have been on the sessions of a file.",
    )
    parser.add_argument("--sessions", type=Path, help="CSV, .gz allowed; without it sessions are generated")
    parser.add_argument("--timezone", default="America/Los_Angeles", help="IANA zone of the site")
    parser.add_argument("--without", type=Path, help="CSV whose session_id are left out")
    parser.add_argument("--power-kw", type=float, default=6.6, help="power that a car is taken to draw [kW]")
    parser.add_argument("--skip", type=int, default=100, help="first sessions of each site, learned and not scored")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="PNG to draw; needs matplotlib")
    return parser


def _read(path: Path | None, zone: ZoneInfo, without: frozenset[str]) -> SessionFile:
    if path is not None:
        return read_sessions(path, timezone=zone, without=without)
    generated = generate_sessions(GENERATED_DAYS)
    return SessionFile({"": generated}, len(generated), 0, 0)


def _summarize(file: SessionFile, scores: SessionScores, source: str) -> dict[str, Any]:
    """Everything as JSON; null where there is nothing to measure."""
    first = scores.ages[0]
    summary = {
        "source": source,
        "model": PooledSessionForecaster.name,
        "rows": file.rows,
        "unusable": file.unusable,
        "excluded": file.excluded,
        "sites": len(file.sites),
        "departure_coverage_p10_p90_percent": first.departure.coverage_p10_p90_percent,
        "energy_coverage_p10_p90_percent": first.energy.coverage_p10_p90_percent,
        "departure_pinball_below_entry_percent": _percent_below_entry(first.departure),
        "energy_pinball_below_entry_percent": _percent_below_entry(first.energy),
        **asdict(scores),
    }
    # NaN is no JSON.
    return json.loads(json.dumps(summary), parse_constant=lambda _: None)


def _percent_below_entry(score: QuantityScore) -> float:
    return 100 * (1 - score.with_entry_pinball / score.entry_pinball) if score.with_entry else math.nan


def format_scores(file: SessionFile, scores: SessionScores, source: str) -> str:
    """The scores as a table for people."""
    low, high = scores.coverage_range_percent
    lines = [
        f"{source}: {file.rows} rows, {file.unusable} unusable, {file.excluded} excluded, {len(file.sites)} sites; "
        f"{scores.sessions} sessions scored",
        f"departures at arrival by tenths of the sessions: coverage {low:.0f} to {high:.0f} %; "
        f"share of the driver's own sessions {scores.driver_share_percent:.0f} %",
        "p10-p90 coverage, mean pinball loss of p10, p50, p90, and mean absolute error of p50",
        f"{'':>22} {'n':>6} {'cover %':>8} {'pinball':>8} {'site':>8} {'error':>7}"
        f" | {'entered':>7} {'pinball':>8} {'entry':>8} {'error':>7} {'entry':>7}",
    ]
    for age in scores.ages:
        lines.append(_format_row(f"departure [h] at {age.age_h:g} h", age.departure))
    for age in scores.ages:
        if age.energy.forecasts:
            lines.append(_format_row(f"energy [kWh] at {age.age_h:g} h", age.energy))
    return "\n".join(lines)


def _format_row(name: str, score: QuantityScore) -> str:
    row = (
        f"{name:>22} {score.forecasts:6d} {score.coverage_p10_p90_percent:8.1f} {score.pinball:8.3f}"
        f" {score.naive_pinball:8.3f} {score.median_error:7.2f} | {score.with_entry:7d}"
    )
    if not score.with_entry:
        return row
    return row + (
        f" {score.with_entry_pinball:8.3f} {score.entry_pinball:8.3f}"
        f" {score.with_entry_median_error:7.2f} {score.entry_error:7.2f}"
    )


def draw_scores(scores: SessionScores, source: str, path: Path) -> None:
    """Draw coverage by age, and the pinball losses beside those of site median and entry.

    Args:
        scores: What was measured.
        source: Name of the data.
        path: PNG that is written.
    """
    # Only this command draws; the service runs without matplotlib.
    import_module("matplotlib").use("agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    ages = [f"{age.age_h:g} h" for age in scores.ages]
    left.axhspan(75, 85, color="0.9")
    left.axhline(80, color="0.6", linewidth=1)
    left.plot(ages, [age.departure.coverage_p10_p90_percent for age in scores.ages], "o-", label="departure")
    drawing = [age for age in scores.ages if age.energy.forecasts >= LEAST_DRAWN]
    names = [f"{age.age_h:g} h" for age in drawing]
    left.plot(names, [age.energy.coverage_p10_p90_percent for age in drawing], "s--", label="energy")
    left.set(ylim=(50, 100), title="coverage of p10-p90 [%]", xlabel="time since arrival")
    left.legend(frameon=False)
    _draw_bars(middle, scores.ages[0].departure, "departure at arrival: pinball [h]")
    _draw_bars(right, scores.ages[0].energy, "energy at arrival: pinball [kWh]")
    figure.suptitle(f"{source}: {scores.sessions} sessions", fontsize=10)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _draw_bars(axes: Any, score: QuantityScore, title: str) -> None:
    if score.with_entry:
        bars = {"forecast": score.with_entry_pinball, "driver's entry": score.entry_pinball}
    else:
        bars = {"forecast": score.pinball, "site median": score.naive_pinball}
    axes.bar(list(bars), list(bars.values()), color=["tab:blue", "0.7"], width=0.6)
    axes.set_title(title)


if __name__ == "__main__":
    raise SystemExit(main())
