"""The physical side of the site: the building, what the cars really draw, and the meter that shows both."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from aiohttp import web

VOLTAGE_V = 230.0
PHASES = 3
Currents = tuple[float, float, float]


class Load(Protocol):
    """Something that draws power."""

    def currents_a(self) -> Currents:
        """What it draws now on L1, L2, L3 of the site [A]."""
        ...


@dataclass(slots=True)
class Site:
    """The connection with everything behind it.

    limit_kw [kW]: of the connection, all phases together.
    now: the wall clock of the site's processes, which may jump.
    """

    limit_kw: float
    now: Callable[[], datetime]
    building_a: Currents = (10.0, 10.0, 10.0)
    cars: list[Load] = field(default_factory=list[Load])
    shown_phases: frozenset[int] = frozenset()
    """Phases that the reading that was taken last showed as overloaded."""

    @property
    def phase_limit_a(self) -> float:
        """What each phase may carry [A]."""
        return self.limit_kw * 1000 / VOLTAGE_V / PHASES

    def currents_a(self) -> Currents:
        """What the connection carries now on each phase [A]."""
        one, two, three = self.building_a
        for car in self.cars:
            first, second, third = car.currents_a()
            one, two, three = one + first, two + second, three + third
        return one, two, three

    def overloaded_phases(self) -> list[int]:
        """Numbers of the phases, 1 to 3, that carry more than they may, by more than a meter's error."""
        return [phase for phase, current_a in enumerate(self.currents_a(), 1) if current_a > self.phase_limit_a + 0.5]

    def grid_load(self) -> dict[str, object]:
        """What the meter of the connection says now."""
        currents_a = self.currents_a()
        load_kw = sum(currents_a) * VOLTAGE_V / 1000
        self.shown_phases = frozenset(self.overloaded_phases())
        return self._reading() | {
            "load_kw": load_kw,
            "limit_kw": self.limit_kw,
            "load_percent": load_kw / self.limit_kw * 100,
            "current_a": list(currents_a),
        }

    def solar_status(self) -> dict[str, object]:
        """Enough sun for the highest power that the rules give."""
        return self._reading() | {"generation_kw": 90.0, "capacity_kwp": 100.0}

    def battery_status(self) -> dict[str, object]:
        """A full battery, for the same reason."""
        return self._reading() | {"soc_percent": 90.0, "capacity_kwh": 100.0}

    def _reading(self) -> dict[str, object]:
        return {"site_id": "greensboro", "timestamp": self.now().isoformat(), "source": "simulated"}

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        """Serve the readings as the site twin does; gives the address."""
        app = web.Application()
        for path, read in (
            ("/grid-load", self.grid_load),
            ("/solar-status", self.solar_status),
            ("/battery-status", self.battery_status),
        ):
            app.router.add_get(path, _answering(read))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def _answering(read: Callable[[], dict[str, object]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(read())

    return answer
