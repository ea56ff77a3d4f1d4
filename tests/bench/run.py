"""`make bench`: every figure beside what it is compared with, measured in one run; a table, and JSON beside it.

Says what was measured and what is aimed at; a slow machine is no failure, so the exit code is 0 either way.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FOLDER = Path(__file__).resolve().parent
RESULT = FOLDER.parents[1] / "out" / "bench.json"


@dataclass(frozen=True, slots=True)
class Aim:
    """One figure that a bench measures, and how it should be."""

    bench: str
    figure: str
    meaning: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def wanted(self) -> str:
        if self.at_least == self.at_most:
            return f"{self.at_least:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def is_met(self, value: float) -> bool:
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


AIMS = (
    Aim("decide", "decisions_per_s", "pure decisions a second, one process", at_least=10_000),
    Aim("tokens", "agent_cold_requests", "token requests, 100 callers, cold", at_least=1, at_most=1),
    Aim("tokens", "agent_failing_endpoint_errors", "errors while the token lives and its endpoint fails", at_most=0),
    Aim("tokens", "agent_refused_token_requests", "renewals after a 401 met by 100 callers", at_least=1, at_most=1),
    Aim("tokens", "agent_refused_token_errors", "errors after that 401", at_most=0),
    Aim("tokens", "agent_slow_renewal_wait_s", "100 calls while a renewal takes 1 s [s]", at_most=0.9),
    Aim("tokens", "agent_short_life_requests", "token requests for 100 calls with a 30 s token", at_most=1),
    Aim("agent_latency", "uncached_ratio", "p50 uncached over the slowest of three bare calls", at_most=1.3),
    Aim("agent_latency", "cached_ratio", "p50 cached over an empty route of the same app", at_most=2),
    Aim("mcp_latency", "ratio", "p50 uncached decision over MCP over the same over REST", at_most=1.5),
    Aim("gateway_throughput", "ratio", "gateway over bare pass-through proxy, requests/s at 32", at_least=0.6),
    Aim("busy_hour", "degraded_over_naive", "degraded, over an agent that calls each time,", at_most=0.8),
    Aim("busy_hour", "wrong_over_naive", "wrong actions, over an agent that calls each time,", at_most=0.75),
    Aim("busy_hour", "wrong_over_plain", "wrong actions, over the agent without its plan,", at_most=1),
    Aim("ledger", "ratio", "p50 of a signed record over a bare synced SQLite insert", at_most=1.5),
    Aim("charge_points", "meter_values_ratio", "OCPP meter values/s over a bare ocpp program", at_least=0.7),
    Aim("charge_points", "idle_memory_ratio", "memory of an idle charge point over the same", at_most=2),
    Aim("charge_points", "limits_ratio", "PUT /limits for 1,000 charge points over the same", at_most=3),
    Aim("mqtt_sensors", "seen_p50_ms", "p50 from an MQTT message to /solar-status that shows it [ms]", at_most=20),
    Aim("mqtt_sensors", "ratio", "messages judged a second over a bare aiomqtt subscriber's", at_least=0.5),
    Aim("plan", "10_cars_p50_ms", "charging plan, processor time of one core [ms]", at_most=10),
    Aim("plan", "100_cars_p50_ms", "charging plan, processor time of one core [ms]", at_most=60),
    Aim("plan", "1000_cars_p50_ms", "charging plan, processor time of one core [ms]", at_most=600),
    Aim("plan", "p99_over_p50", "charging plan, p99 over p50", at_most=3),
    Aim("plan", "times_faster", "charging plan, faster than EMHASS's published time,", at_least=10),
    Aim("startup", "first_decision_s", "make run to the first governed decision [s]", at_most=6),
)


def main() -> int:
    """Run the benches that were asked for, or all."""
    known = list(dict.fromkeys(aim.bench for aim in AIMS))
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("bench", nargs="*", choices=[[], *known], help=f"which to run; default all: {', '.join(known)}")
    asked = parser.parse_args().bench or known
    console = Console()
    measured: dict[str, dict[str, float]] = {}
    for bench in asked:
        console.print(f"measuring {bench} …")
        measured[bench] = _flat(_load(bench).measure())
    console.print(_table(measured))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    console.print(f"every figure: {RESULT.relative_to(FOLDER.parents[1])}")
    return 0


def _load(bench: str) -> Any:
    found = util.spec_from_file_location(bench, FOLDER / f"{bench}.py")
    assert found is not None
    assert found.loader is not None
    module = util.module_from_spec(found)
    # Dataclasses look their own module up by its name.
    sys.modules[bench] = module
    found.loader.exec_module(module)
    return module


def _flat(figures: Mapping[str, Any]) -> dict[str, float]:
    """Figures of cases, such as plain and TLS, as figures of their own: `plain_ratio`."""
    flat: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            case = cast(dict[str, float], value)
            flat |= {f"{name}_{figure}": number for figure, number in case.items()}
        else:
            flat[name] = float(value)
    return flat


def _table(measured: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title="measured side by side in this run")
    for name in ("bench", "figure", "measured", "aim", ""):
        table.add_column(name, justify="right" if name in ("measured", "aim") else "left")
    for aim in AIMS:
        for name, value in measured.get(aim.bench, {}).items():
            # A bench of several cases puts the case before the figure: plain_ratio, tls_ratio.
            if name == aim.figure or name.endswith(f"_{aim.figure}"):
                verdict = "[green]met[/]" if aim.is_met(value) else "[red]missed[/]"
                case = name.removesuffix(aim.figure).strip("_")
                table.add_row(aim.bench, escape(f"{aim.meaning} {case}"), f"{value:,.3g}", aim.wanted, verdict)
    return table


if __name__ == "__main__":
    sys.exit(main())
