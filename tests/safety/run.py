"""Plays a seeded run: chargers that lie, lag, flap and disobey, steps of the building, restarts, jumps of the clock."""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from tests.safety.charge_point import PASSWORD, ChargePoint, Fault
from tests.safety.checks import Checks, Findings
from tests.safety.site import Site
from tests.safety.system_clock import SystemClockFile
from websockets.exceptions import WebSocketException

from ev_service.errors import EvError
from local_stack.environment import free_ports, make_passwords
from local_stack.stack import Stack, StackPlan, running, start_agent, start_gateway, start_service

SITE_LIMIT_KW = 60.0
BUILDING_KW = 24.0
FALLBACK_A = 6.0
TICK_S = 0.1
STEP_EVERY_S = (8.0, 14.0)
"""Between two disturbances that add load: each must be over before the next is judged."""
SURGE_FROM = 0.6
"""Share of a phase's limit from which the building's load is a surge."""
AGENT_AWAY_S = 80.0
WIRING = ((1, 2, 3), (2, 3, 1), (1,), (2,), (3,), (3, 1, 2), (1, 2, 3), (1,))
LIES: tuple[Callable[[float], str], ...] = (
    lambda current_a: repr(current_a + 16),
    lambda current_a: repr(current_a / 3),
    lambda _current_a: "1e308",
    lambda _current_a: "-1e308",
    lambda _current_a: "NaN",
    lambda _current_a: "0",
    lambda _current_a: "125",
    lambda _current_a: "5e-324",
)
LAGS = (timedelta(seconds=-60), timedelta(hours=-1), timedelta(days=-20_000), timedelta(hours=2))
CLOCK_JUMPS_S = (-3600.0, 3600.0, -70.0, 70.0)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """One run.

    seed: decides what happens, in which order. seconds: how long [s, real time].
    protects: false switches the charger service's protection off, to show that the checks find what they look for.
    """

    seed: int
    seconds: float
    protects: bool = True


@dataclass(slots=True)
class SafetyRun:
    """A running site with everything that disturbs it."""

    settings: RunSettings
    stack: Stack
    site: Site
    points: list[ChargePoint]
    checks: Checks
    clock: SystemClockFile
    report: Callable[[str], None]
    chance: random.Random = field(init=False)
    _began_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.settings.seed)

    async def play(self) -> None:
        """Disturb the site until the time is over."""
        self.checks.service_up_since_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            lasting = [group.create_task(self._advance())]
            lasting += [group.create_task(self._live(point)) for point in self.points]
            try:
                async with asyncio.timeout(self.settings.seconds):
                    await asyncio.gather(self._disturb(), self._restart())
            except TimeoutError:
                pass
            for task in lasting:
                task.cancel()

    async def _advance(self) -> None:
        before_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            moment_s = time.monotonic()
            for point in self.points:
                point.advance(moment_s - before_s)
            self.checks.look(moment_s - before_s)
            before_s = moment_s

    async def _live(self, point: ChargePoint) -> None:
        """Keep one charge point connected, with a car that comes, charges and leaves."""
        chance = random.Random(f"{self.settings.seed} {point.charger_id}")
        url = f"ws://127.0.0.1:{self.stack.plan.ports.ocpp}"
        while True:
            with suppress(OSError, WebSocketException, TimeoutError):
                async with point.connected(url):
                    if point.transaction_id is None:
                        await point.start_transaction()
                    await self._stay(point, chance)
            away_s = chance.uniform(1, 15) if point.fault is Fault.FLAPS else 1.0
            await asyncio.sleep(away_s)

    async def _stay(self, point: ChargePoint, chance: random.Random) -> None:
        while point.is_connected:
            stays_s = chance.uniform(3, 12) if point.fault is Fault.FLAPS else chance.uniform(30, 90)
            with suppress(TimeoutError):
                async with asyncio.timeout(stays_s):
                    await point.wait_until_gone()
                    return
            if point.fault is Fault.FLAPS:
                return
            await point.stop_transaction()
            await asyncio.sleep(chance.uniform(1, 5))
            await point.start_transaction()

    async def _disturb(self) -> None:
        """Add load in one way at a time, so that one thing can be over before the next is judged."""
        while True:
            await asyncio.sleep(self.chance.uniform(*STEP_EVERY_S))
            if self.chance.random() < 0.25:
                self._break_one([Fault.DISOBEYS])
            else:
                self._step_building()
            self._break_one([fault for fault in Fault if fault not in (Fault.NONE, Fault.DISOBEYS)])

    def _step_building(self) -> None:
        """Little for a while, so that cars take what there is, then much on one phase or on all."""
        limit_a = self.site.phase_limit_a
        is_low = max(self.site.building_a) < SURGE_FROM * limit_a
        one, two, three = (self._share(is_surge=is_low and self.chance.random() < 0.6) * limit_a for _ in range(3))
        self.site.building_a = round(one, 1), round(two, 1), round(three, 1)
        carried = [round(current_a) for current_a in self.site.currents_a()]
        self._say(f"building draws {one:.1f}, {two:.1f}, {three:.1f} A, and with the cars {carried} of {limit_a:.1f} A")

    def _share(self, *, is_surge: bool) -> float:
        return self.chance.uniform(SURGE_FROM, 0.95) if is_surge else self.chance.uniform(0.02, 0.25)

    def _break_one(self, faults: Sequence[Fault]) -> None:
        """Give one charger a fault, and mend another where half of them are faulty."""
        faulty = [point for point in self.points if point.fault is not Fault.NONE]
        if len(faulty) >= len(self.points) // 2:
            self._give(self.chance.choice(faulty), Fault.NONE)
        self._give(
            self.chance.choice([point for point in self.points if point.fault is Fault.NONE]),
            self.chance.choice(faults),
        )

    def _give(self, point: ChargePoint, fault: Fault) -> None:
        point.change_fault(fault)
        point.lie, lag = self.chance.choice(LIES), self.chance.choice(LAGS)
        point.clock_offset = lag if fault is Fault.LAGS else timedelta(0)
        self.checks.findings.seen[f"charger {fault}"] += 1
        self._say(f"{point.charger_id}: {fault}")

    async def _restart(self) -> None:
        """Take things away, one after the other, and set the clock."""
        acts = [
            self._keep_agent_away,
            self._kill_chargers,
            self._kill_agent,
            self._kill_gateway,
            *[self._set_clock] * 3,
        ]
        while True:
            self.chance.shuffle(acts)
            for act in acts:
                await asyncio.sleep(self.chance.uniform(5, 15))
                await act()

    async def _kill_chargers(self) -> None:
        self._say("charger service is killed")
        self.checks.service_up_since_s = None
        self.stack.processes.kill("chargers")
        await self._start(lambda: start_service(self.stack.plan, self.stack.processes, "chargers"))
        self.checks.service_up_since_s = time.monotonic()
        self.checks.findings.seen["restarts of the charger service"] += 1

    async def _kill_agent(self) -> None:
        await self._without_agent(0)

    async def _keep_agent_away(self) -> None:
        await self._without_agent(AGENT_AWAY_S)

    async def _without_agent(self, away_s: float) -> None:
        self._say(f"agent is killed, and away for {away_s:g} s")
        self.stack.processes.kill("agent")
        self.checks.commander_gone_since_s = time.monotonic()
        await asyncio.sleep(away_s)
        self.checks.commander_gone_since_s = None
        await self._start(lambda: start_agent(self.stack.plan, self.stack.processes))
        self.checks.findings.seen["restarts of the agent"] += 1

    async def _kill_gateway(self) -> None:
        self._say("gateway is killed")
        self.stack.processes.kill("gateway")
        await self._start(lambda: start_gateway(self.stack.plan, self.stack.processes))

    async def _set_clock(self) -> None:
        jump_s = self.chance.choice(CLOCK_JUMPS_S)
        self._say(f"clock is set by {jump_s:+g} s")
        self.clock.shift(jump_s)
        self.checks.findings.seen["jumps of the clock"] += 1

    async def _start(self, start: Callable[[], None]) -> None:
        # What does not come up shows in what the checks see; the run goes on.
        try:
            await asyncio.to_thread(start)
        except EvError as error:
            self._say(f"did not start: {error.message}")

    def _say(self, sentence: str) -> None:
        self.report(f"{time.monotonic() - self._began_s:6.1f} s  {sentence}")


async def run_safely(settings: RunSettings, folder: Path, report: Callable[[str], None]) -> Findings:
    """Start a stack, disturb it, and say what was seen.

    Args:
        settings: of this run.
        folder: empty; keeps state and logs.
        report: told each disturbance, and then what was found.
    """
    clock = SystemClockFile(folder / "clock")
    site = Site(SITE_LIMIT_KW, clock.now)
    findings = Findings()
    points: list[ChargePoint] = []
    checks = Checks(site, points, FALLBACK_A, findings)
    points += [
        ChargePoint(f"CP-{number}", phases, 32.0 if number % 3 else 16.0, 32.0, number % 4 * 0.5, checks.forbid_limit)
        for number, phases in enumerate(WIRING, 1)
    ]
    site.cars.extend(points)
    async with site.serving() as url, _stack(settings, folder, url, clock) as stack:
        await SafetyRun(settings, stack, site, points, checks, clock, report).play()
    findings.seen["Wh charged"] = round(sum(point.energy_wh for point in points))
    for name, number in (*findings.seen.items(), *((name, round(number)) for name, number in findings.apart.items())):
        report(f"{name}: {number}")
    report(f"longest overload with obeying cars: {findings.longest_overload_s:.1f} s")
    for violation in findings.violations:
        report(f"VIOLATION {violation}")
    return findings


@asynccontextmanager
async def _stack(settings: RunSettings, folder: Path, site_url: str, clock: SystemClockFile) -> AsyncGenerator[Stack]:
    chargers = folder / "chargers.json"
    chargers.write_text(json.dumps(_installation()), encoding="utf-8")
    given = {
        "PYTHONPATH": str(clock.folder),
        "SITE_TWIN_URL": site_url,
        "SITE_LIMIT_KW": f"{SITE_LIMIT_KW:g}",
        "CHARGERS_FILE": str(chargers),
        "CHARGERS_BUILDING_KW": f"{BUILDING_KW:g}",
        "CHARGERS_FALLBACK_A": f"{FALLBACK_A:g}",
        "CHARGERS_METER_SOURCE": "simulated" if settings.protects else "none",
        "AGENT_PERIOD_S": "8",
    }
    plan = StackPlan(free_ports(), make_passwords(), folder / "stack", given, has_twin=False)
    context = running(plan, lambda _step: None)
    stack = await asyncio.to_thread(context.__enter__)
    try:
        yield stack
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def _installation() -> dict[str, object]:
    chargers = [
        {
            "charger_id": f"CP-{number}",
            "feeder_id": "main",
            "password_sha256": sha256(PASSWORD.encode()).hexdigest(),
            "evses": [{"evse_id": 1, "phases": list(phases), "max_current_a": 32}],
        }
        for number, phases in enumerate(WIRING, 1)
    ]
    return {"feeders": [{"feeder_id": "main", "limit_a": 200}], "chargers": chargers}
