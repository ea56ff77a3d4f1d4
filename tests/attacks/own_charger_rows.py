"""What commands, tried on a charger service of this checkout: limits that must not come into force as they are asked.

No charger of the stack is touched.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import httpx
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import format_status, summarize, table
from tests.attacks.own_chargers import CHARGERS, SITE_LIMIT_KW, VOLTAGE_V, Commanders, OwnMeter, limit, run_scenario
from tests.attacks.rows import Group, Observation, Row

from ev_service.clock import SystemClock
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.verification.formatting import parse_body

FIRST, SECOND = CHARGERS
HIGHEST_A, TOO_LITTLE_A, ENDLESS_S = 500.0, 3.0, 10 * 365 * 86_400.0
"""The most that a call may ask for [A], less than any car charges with [A], and ten years [s]."""
_ATTACKER, _AGENT = "Attack", "agent"
_MOST_TRIES, _PAUSE_S = 100, 0.05


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.CHARGERS,
        ("unknown-charger", "unknown charger", "rejected: unknown_charger", _unknown),
        (
            "second-commander",
            "second application, also as EVApp, while EVApp commands",
            "200, then 409 leased each",
            _second_commander,
        ),
        ("least-current", "limit of 3 A", "rejected: least_current", _least_current),
        (
            "above-envelope",
            "500 A and 32 A for two chargers, site 36 A",
            "partly_applied at 32 A: charger_limit; partly_applied at 0 A: site_limit",
            _above_envelope,
        ),
        (
            "overload",
            "building rises by 12 kW, no gateway, no agent",
            "the connection carries no more than it may",
            _overload,
        ),
        ("endless", "limit for ten years", "rejected: valid_until", _endless),
    )


def results_of(answer: httpx.Response) -> str:
    """Tell what came of each limit of a call: its outcome, and what stood in the way."""
    results = parse_body(answer).get("results")
    if answer.status_code != 200 or not results:
        return format_status(answer)
    return "; ".join(f"{one['outcome']}: {one.get('limited_by', 'nothing')}" for one in results)


def _unknown(_: AttackRun) -> Observation:
    return _set_limits(limit("attack-nobodys", 16.0, _now()))


def _second_commander(_: AttackRun) -> Observation:
    async def scenario(commanders: Commanders) -> Observation:
        asked = limit(FIRST, 6.0, _now())
        first = await commanders.put(asked, by=EVAPP.name, commander=_AGENT)
        others = [
            await commanders.put(asked, by=_ATTACKER, commander=name)
            for name in (None, _AGENT, f"{EVAPP.name}:{_AGENT}", EVAPP.name)
        ]
        return Observation(f"{first.status_code}, then {summarize(map(format_status, others))}", f"{len(others)} names")

    return run_scenario(scenario)


def _least_current(_: AttackRun) -> Observation:
    return _set_limits(limit(FIRST, TOO_LITTLE_A, _now()))


def _endless(_: AttackRun) -> Observation:
    return _set_limits(limit(FIRST, 6.0, _now(), ENDLESS_S))


def _set_limits(asked: dict[str, object]) -> Observation:
    return Observation(results_of(run_scenario(lambda commanders: commanders.put(asked))))


def _above_envelope(_: AttackRun) -> Observation:
    async def scenario(commanders: Commanders) -> Observation:
        answer = await _two_limits(commanders)
        for _ in range(_MOST_TRIES):
            # Until a charger has confirmed its fallback it counts with all it could give, and nothing is free.
            if answer.status_code != 200 or answer.json()["results"][0].get("limit_a"):
                break
            await asyncio.sleep(_PAUSE_S)
            answer = await _two_limits(commanders)
        results = parse_body(answer).get("results", [])
        told = "; ".join(f"{it['outcome']} at {it.get('limit_a'):g} A: {it.get('limited_by')}" for it in results)
        return Observation(told or format_status(answer))

    return run_scenario(scenario)


def _overload(_: AttackRun) -> Observation:
    meter = OwnMeter()

    async def scenario(commanders: Commanders) -> Observation:
        points = commanders.points
        meter.cars_a = lambda: sum(point.compute_offer(1, _now()).limit_a for point in points.values())
        for point in points.values():
            commanders.cars.plug(point)
        commands = [limit(name, 14.0, _now()) for name in points]
        for _ in range(_MOST_TRIES):
            await commanders.put(*commands)
            if meter.cars_a() == len(points) * 14.0:
                break
            await asyncio.sleep(_PAUSE_S)
        before_a = meter.cars_a()

        # From here on nobody calls the service.
        meter.building_a = 12_000 / 3 / VOLTAGE_V
        limit_a = SITE_LIMIT_KW * 1000 / 3 / VOLTAGE_V
        meter.send()
        began_s = time.monotonic()
        holds = await _until(lambda: meter.phase_a <= limit_a)
        told = f"{before_a:g} A of cars, then {meter.cars_a():g} A"
        if not holds or before_a + meter.building_a <= limit_a:
            return Observation(told)
        return Observation(
            "the connection carries no more than it may", f"{told} after {time.monotonic() - began_s:.2f} s"
        )

    return run_scenario(scenario, meter)


async def _until(is_so: Callable[[], bool]) -> bool:
    """Wait for something, for a while; whether it came."""
    for _ in range(_MOST_TRIES):
        if is_so():
            return True
        await asyncio.sleep(_PAUSE_S)
    return False


async def _two_limits(commanders: Commanders) -> httpx.Response:
    now = _now()
    return await commanders.put(limit(FIRST, HIGHEST_A, now), limit(SECOND, 32.0, now))


def _now() -> datetime:
    return SystemClock().now()
