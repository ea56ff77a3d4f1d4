"""A site with a meter at its connection: what the building draws is set, and the cars draw what they are let."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.audit_log import OrderAuditLog
from charger_service.protection import Protection, ProtectionConfig
from charger_service.settings import MeterSettings, ProtectionSettings
from charger_service.store import StateStore
from ev_service.clock import SteppedClock
from ev_service.errors import SourceUnavailableError
from ev_service.sources import Source, UpdateSignal
from ev_service.telemetry import GridLoad

LIMIT_A = 100.0
"""What each of three phases may carry: 69 kW at 230 V."""


class FakeMeter(Source[GridLoad]):
    """Gives the reading that it was given."""

    def __init__(self) -> None:
        self.reading: GridLoad | None = None
        self.obstacle: str | None = None
        self.updates = UpdateSignal()

    async def read(self, now: datetime) -> GridLoad:
        if self.reading is None:
            raise SourceUnavailableError("no reading yet")
        return self.reading

    async def health_error(self, now: datetime) -> str | None:
        return self.obstacle

    async def wait_for_update(self) -> None:
        await self.updates.wait()


class MeteredHouse(House):
    """Three chargers behind a connection of 100 A on each phase."""

    def __init__(self, chargers: Sequence[str] = ("CP-1", "CP-2", "CP-3"), **more: Any) -> None:
        self.meter_source = FakeMeter()
        self.building_a: list[float] = [20.0, 20.0, 20.0]
        self.has_phases = True
        self.includes_charging = True
        self.draws: dict[str, float] = {}
        meter, settings = more.pop("meter_settings", {}), more.pop("protection", {})
        clock = more.setdefault("clock", SteppedClock(NOON))
        self.acts = OrderAuditLog(StateStore(None), clock.now)
        config = ProtectionConfig(self.meter_source, MeterSettings(**meter), ProtectionSettings(**settings), self.acts)
        super().__init__(chargers, config=config, **more)

    @property
    def protection(self) -> Protection:
        return self.limits.protection

    @property
    def caps(self) -> dict[str, float]:
        return {charger_id: cap_a for (charger_id, _), cap_a in self.site.caps.items()}

    def wired(self, charger_id: str) -> tuple[int, ...]:
        return self.site.wirings[charger_id, 1].phases

    def drawn_a(self, charger_id: str) -> float:
        """What the car there draws on each of its phases: what it is let, or what a disobedient one takes."""
        return self.draws.get(charger_id, self.really_a(charger_id))

    def current_a(self) -> list[float]:
        """What the connection carries."""
        lines = list(self.building_a)
        for charger_id in self.site.chargers:
            for phase in self.wired(charger_id):
                lines[phase - 1] += self.drawn_a(charger_id)
        return lines

    def report(self, *charger_ids: str) -> None:
        """Cars tell what they draw."""
        for charger_id in charger_ids or self.site.chargers:
            if self.site.get_session((charger_id, 1)) is not None:
                self.meter(charger_id, self.drawn_a(charger_id))

    async def message(self) -> None:
        """The meter says what the connection carries now."""
        lines = self.current_a() if self.includes_charging else list(self.building_a)
        power_kw = sum(lines) * 0.23
        self.meter_source.reading = GridLoad(
            site_id="x",
            timestamp=self.clock.now(),
            source="test",
            load_percent=max(0.0, power_kw) / 69 * 100,
            load_kw=max(0.0, power_kw),
            limit_kw=69.0,
            export_kw=max(0.0, -power_kw),
            includes_charging=self.includes_charging,
            current_a=tuple(lines) if self.has_phases else None,
        )
        await self.protection.check_meter()
        await self.settled()

    async def seconds(self, count: int) -> None:
        """Time passes with a message of the meter, and reports of the cars, every second."""
        for _ in range(count):
            await self.pass_time(1.0)
            self.report()
            await self.message()

    async def charging(self, **limits_a: float) -> None:
        """Cars charge at these limits, and meter and reports say so."""
        await self.connect()
        await self.message()
        await self.plug(*(name.replace("_", "-") for name in limits_a))
        await self.message()
        results = await self.put(
            *(self.limit(name.replace("_", "-"), limit_a, 600.0) for name, limit_a in limits_a.items())
        )
        assert [result.limit_a for result in results] == list(limits_a.values()), results
        self.clock.advance(1)
        self.report()
        await self.message()
