"""What calls are worth in a busy hour: the agent beside itself without a plan, and beside one that calls each time.

One simulated hour before noon: sun, battery and load of the project's own site, with clouds that pass and a big press
that starts now and then, so that decisions change. Every second several callers want a decision. The gateway counts as
WSO2 does, by the local gateway's own throttle. Three agents go through the same hour:

- `ours`: observer, plan, budget and gateway client as shipped;
- `plain`: the same, but every reading that is too old is asked for as long as a call is left;
- `naive`: asks for all three readings for every decision of every caller, and keeps the last answer by the same ages.

Seeded, so every run gives the same figures. Run it: `python tests/bench/busy_hour.py [PICTURE.png]`.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from charging_agent.decision.pipeline import Decision, DecisionPipeline
from charging_agent.decision.policy import DecisionInputs
from charging_agent.decision.rules import Rule
from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.gateway.client import GatewayClient, RetryPlan
from charging_agent.gateway.tokens import Token, TokenCache
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from charging_agent.readings.assessment import AgeLimits, assess_reading
from charging_agent.readings.fetch_priority import CallPlan, Wish
from charging_agent.readings.observer import Observation, Observer
from ev_service.clock import SteppedClock
from ev_service.settings import SiteSettings, load
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus
from local_gateway.gateway.throttling import Throttle, ThrottleLevel
from site_model.parameters import read_parameters
from site_model.scenario import Site, at_connection
from site_model.yield_table import create_tabled_sun
from wso2_terms import codes
from wso2_terms.windows import format_next_access_time

START = datetime(2026, 6, 21, 15, tzinfo=UTC)
SECONDS, CALLERS, SEED = 3600, 3, 7
PIPELINE, AGES, NO_LIMIT = DecisionPipeline(), AgeLimits(), CallLimit(None)
AGENTS = ("naive", "plain", "ours")


@dataclass(frozen=True, slots=True)
class Case:
    """What the gateway allows: each API for itself, and all together."""

    name: str
    api: CallLimit
    whole: CallLimit = NO_LIMIT


CASES = (
    Case("10/min each", CallLimit(10)),
    Case("5/min each", CallLimit(5)),
    Case("3/min each", CallLimit(3)),
    Case("120/h each", CallLimit(120, 3600)),
    Case("10/min together", CallLimit(10), CallLimit(10)),
    Case("8/min together", CallLimit(10), CallLimit(8)),
    Case("6/min together", CallLimit(10), CallLimit(6)),
)


@dataclass(slots=True)
class Score:
    """How an hour went.

    degraded, wrong, fail_safe: shares of all decisions; wrong is one whose action differs from that of perfect
    knowledge. oldest_grid_s [s]: the oldest grid reading met. calls: how many were answered with a reading.
    """

    degraded: float = 0.0
    wrong: float = 0.0
    fail_safe: float = 0.0
    oldest_grid_s: float = 0.0
    calls: int = 0

    def count(self, observation: Observation, decision: Decision, right: Decision) -> None:
        """Count one decision beside the one that perfect knowledge gives."""
        self.degraded += observation.is_degraded / SECONDS
        self.wrong += (decision.action is not right.action) / SECONDS
        self.fail_safe += (decision.rule is Rule.FAIL_SAFE) / SECONDS
        self.oldest_grid_s = max(self.oldest_grid_s, observation.grid.age_s or 0.0)


def measure() -> dict[str, dict[str, float]]:
    """Every figure of every case, and the ratios that are aimed at."""
    scores = asyncio.run(scores_of(CASES))
    return {case.name.replace(" ", "_").replace("/", "_"): _figures(scores[case.name]) for case in CASES}


async def scores_of(cases: Sequence[Case]) -> dict[str, dict[str, Score]]:
    """The hour of each agent under each limit."""
    # Every refusal would be a line of its own, and refusals are what this bench is about.
    logging.disable(logging.WARNING)
    hour = Hour()
    played: dict[str, Callable[[Hour, Case], Any]] = {"naive": _naive, "plain": _plain, "ours": _ours}
    return {case.name: {agent: await played[agent](hour, case) for agent in AGENTS} for case in cases}


class Hour:
    """What happens: the three readings of every second, and the decision that perfect knowledge gives."""

    def __init__(self) -> None:
        parameters = read_parameters(load, place=load(SiteSettings), seed=SEED)
        site, random = Site(parameters, create_tabled_sun(parameters)), Random(SEED)
        clouds, press_kw = _clouds(random), _press_kw(random)
        self.at = [self._second(site, second, clouds[second], press_kw[second]) for second in range(SECONDS)]
        self.right = [_decide(DecisionInputs.from_readings(START, **known)) for known in self.at]

    def reading(self, api: str, now: datetime) -> Reading:
        """The reading of an API at a moment of the hour."""
        known = self.at[int((now - START).total_seconds())]
        return {SOLAR.name: known["solar"], BATTERY.name: known["battery"], GRID.name: known["grid"]}[api]

    @staticmethod
    def _second(site: Site, second: int, cloud: float, press_kw: float) -> dict[str, Any]:
        now = START + timedelta(seconds=second)
        state, limit_kw, capacity_kwp = site.at(now), 100.0, 100.0
        generation_kw = state.generation_kw * cloud
        load_kw, export_kw = at_connection(state.building_kw + press_kw, state.battery_power_kw, generation_kw)
        who: dict[str, Any] = {"site_id": "bench", "timestamp": now, "source": "simulated"}
        return {
            "solar": SolarStatus(**who, generation_kw=generation_kw, capacity_kwp=capacity_kwp),
            "battery": BatteryStatus(**who, soc_percent=state.soc_percent, capacity_kwh=100.0),
            "grid": GridLoad(
                **who, load_kw=load_kw, limit_kw=limit_kw, load_percent=load_kw / limit_kw * 100, export_kw=export_kw
            ),
        }


def _clouds(random: Random) -> list[float]:
    """What passing clouds leave of the sun, second by second: a cloud's edge takes ten seconds or so."""
    factors, factor, wanted, until_s = list[float](), 1.0, 1.0, 0.0
    for second in range(SECONDS):
        if second >= until_s:
            wanted = random.choice((1.0, random.uniform(0.2, 0.8)))
            until_s = second + 10 + random.expovariate(1 / 60)
        factor += max(-0.05, min(0.05, wanted - factor))
        factors.append(factor)
    return factors


def _press_kw(random: Random) -> list[float]:
    """What a big press draws, second by second [kW]: on for half a minute or more, off for some minutes."""
    powers, power_kw, until_s = list[float](), 0.0, 0.0
    for second in range(SECONDS):
        if second >= until_s:
            power_kw = random.uniform(90, 130) if power_kw == 0 else 0.0
            until_s = second + (20 + random.expovariate(1 / 30) if power_kw else 30 + random.expovariate(1 / 150))
        powers.append(power_kw)
    return powers


def _decide(inputs: DecisionInputs) -> Decision:
    return PIPELINE.decide(inputs).decision


class Gateway:
    """Answers the agents' calls with the hour's readings, or with WSO2's 429."""

    def __init__(self, hour: Hour, case: Case, clock: SteppedClock) -> None:
        self._hour, self._case, self._clock = hour, case, clock
        self._throttle = Throttle()
        self.calls = 0

    def admits(self, api: str) -> tuple[codes.Fault, datetime] | None:
        """Count a call; what refuses it and until when, None when it may pass."""
        levels = [
            ThrottleLevel((name,), limit.requests, limit.per_s, fault, is_aligned=True)
            for name, limit, fault in (
                (api, self._case.api, codes.SUBSCRIPTION_THROTTLED),
                ("*", self._case.whole, codes.APPLICATION_THROTTLED),
            )
            if limit.requests is not None
        ]
        exceeded = self._throttle.admit(levels, self._clock.now().timestamp())
        if exceeded is not None:
            return exceeded.level.fault, datetime.fromtimestamp(exceeded.ends_s, UTC)
        self.calls += 1
        return None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        api = next(api for api in SOURCES if api.path == request.url.path)
        if (refused := self.admits(api.name)) is not None:
            fault, until = refused
            return httpx.Response(429, json=fault.body(next_access_time=format_next_access_time(until)))
        return httpx.Response(200, text=self._hour.reading(api.name, self._clock.now()).model_dump_json())


class _EveryWish(CallPlan):
    """No plan: whatever is too old is asked for."""

    def choose(self, wishes: Sequence[Wish], now: datetime) -> frozenset[str]:
        return frozenset(wish.api for wish in wishes)


async def _ours(hour: Hour, case: Case) -> Score:
    return await _simulate(hour, case, CallPlan)


async def _plain(hour: Hour, case: Case) -> Score:
    return await _simulate(hour, case, _EveryWish)


class _OneToken:
    """Issues the same token always."""

    async def request_token(self) -> Token:
        return Token("of the bench", START, START + timedelta(days=1))


async def _simulate(hour: Hour, case: Case, plan: type[CallPlan]) -> Score:
    clock, score = SteppedClock(START), Score()
    gateway, whole = Gateway(hour, case, clock), CallBudget(case.whole)
    budgets = {api.name: CallBudget(case.api, whole) for api in SOURCES}
    async with httpx.AsyncClient(transport=httpx.MockTransport(gateway), base_url="https://gateway.bench") as http:
        client = GatewayClient(http, TokenCache(_OneToken(), clock), budgets=budgets, clock=clock, plan=RetryPlan())
        observer = Observer(client, clock, AGES, 6.0, plan(budgets, AGES))
        for second in range(SECONDS):
            observation, *_ = await asyncio.gather(*(observer.observe() for _ in range(CALLERS)))
            score.count(observation, _decide(observation.decision_inputs()), hour.right[second])
            clock.advance(1)
    return replace(score, calls=gateway.calls)


async def _naive(hour: Hour, case: Case) -> Score:
    clock, score = SteppedClock(START), Score()
    gateway, held = Gateway(hour, case, clock), dict[str, Any]()
    for second in range(SECONDS):
        now = clock.now()
        for _ in range(CALLERS):
            # The kindest order: were the grid not asked first, it would be the one that goes without.
            held |= {
                api.name: hour.reading(api.name, now) for api in (GRID, SOLAR, BATTERY) if not gateway.admits(api.name)
            }
        readings = {one.subject: assess_reading(held.get(one.name), now, AGES, is_new=False) for one in SOURCES}
        observation = Observation(now, readings)
        score.count(observation, _decide(observation.decision_inputs()), hour.right[second])
        clock.advance(1)
    return replace(score, calls=gateway.calls)


def _figures(scores: dict[str, Score]) -> dict[str, float]:
    figures = {
        f"{agent}_{name}": round(getattr(scores[agent], name), 4)
        for agent in AGENTS
        for name in ("degraded", "wrong", "fail_safe", "oldest_grid_s", "calls")
    }
    naive, plain, ours = (scores[agent] for agent in AGENTS)
    return figures | {
        "degraded_over_naive": round(ours.degraded / naive.degraded, 3),
        "wrong_over_naive": round(ours.wrong / naive.wrong, 3),
        "wrong_over_plain": round(ours.wrong / plain.wrong, 3),
    }


def _table(scores: dict[str, dict[str, Score]]) -> Table:
    table = Table(title=f"one busy hour, {CALLERS} callers a second")
    for name in ("limit", "agent", "degraded", "wrong action", "fail-safe", "oldest grid", "calls"):
        table.add_column(name, justify="left" if name in ("limit", "agent") else "right")
    for case, by_agent in scores.items():
        for agent, score in by_agent.items():
            shares = [f"{share:.1%}" for share in (score.degraded, score.wrong, score.fail_safe)]
            table.add_row(case, agent, *shares, f"{score.oldest_grid_s:.0f} s", f"{score.calls}")
        table.add_section()
    return table


def draw(scores: dict[str, dict[str, Score]], path: Path) -> None:
    """Draw the shares of every agent under every limit into a PNG."""
    mpl.use("agg")
    # matplotlib's own annotations leave the parts of a figure partly unknown.
    from matplotlib import pyplot

    plot: Any = pyplot
    figure, panels = plot.subplots(3, 1, sharex=True, figsize=(10, 8))
    for axes, (name, meaning) in zip(panels, _SHOWN.items(), strict=True):
        for number, (agent, colour) in enumerate(_COLOUR_OF.items()):
            shares = [getattr(by_agent[agent], name) * 100 for by_agent in scores.values()]
            bars = axes.bar([at + (number - 1) * 0.27 for at in range(len(shares))], shares, 0.25, color=colour)
            axes.bar_label(bars, fmt="%.0f", fontsize=8)
            bars.set_label(agent)
        axes.set_ylabel(meaning)
        axes.set_ylim(0, 110)
    panels[0].set_title(f"One busy hour: {CALLERS} callers ask every second")
    panels[0].legend(loc="upper left", ncols=3, fontsize=9)
    panels[-1].set_xticks(range(len(scores)), [name.replace(" ", "\n") for name in scores])
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plot.close(figure)


_SHOWN = {
    "degraded": "degraded [%]",
    "wrong": "action differs from that\nof perfect knowledge [%]",
    "fail_safe": "fail-safe [%]",
}
_COLOUR_OF = {"naive": "#9e9e9e", "plain": "#f9a825", "ours": "#1565c0"}


def main() -> None:
    """Print the table; draw the picture where a path is given."""
    scores = asyncio.run(scores_of(CASES))
    Console(width=100).print(_table(scores))
    for path in sys.argv[1:]:
        draw(scores, Path(path))


if __name__ == "__main__":
    main()
