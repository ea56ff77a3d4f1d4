"""How much of their energy cars in mode `surplus` take from the site's own sun, and how much of what it allows them.

The site twin's week from 22 June 2026 with all cars in mode `surplus`: panels, battery, building, six chargers that
report every 10 to 60 s, the agent's rules and sharing every 15 s. What the sun allows is what the same sharing gives
without any delay, with every power known as it is at the moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.charging_agent.charging.sharing_loop import SharingLoop
from tests.unit.charging_agent.charging.twin_day import SAMPLES_EVERY_S, TICK_S, WIRINGS, TwinDay

from charging_agent.charging.sharing import SharingPolicy
from ev_service.charging import ChargingMode
from site_twin.charging import ParkedState
from site_twin.readings import Powers

_MONDAY = datetime(2026, 6, 22, 4, tzinfo=UTC)
_TICK_H = TICK_S / 3600
_LEAST_KWH = 1.0
"""Cars that the sun allows less are left out of the shares per car: some minutes would decide [kWh]."""

_AT_ONCE = SharingPolicy(
    minimum_off_s=0.0,
    calm_s=0.0,
    hysteresis_kw=0.0,
    ramp_percent_per_s=1e6,
    settle_s=0.0,
    surplus_start_s=0.0,
    surplus_stop_s=0.0,
    surplus_settle_s=0.0,
)


@dataclass(frozen=True)
class SurplusSite:
    """What differs between the sites."""

    panels_kwp: float
    is_before_battery: bool


SITES = {
    "cars_first": SurplusSite(100.0, is_before_battery=True),
    "battery_first": SurplusSite(200.0, is_before_battery=False),
}


@dataclass
class CarWeek:
    """What one car got."""

    energy_kwh: float = 0.0
    own_kwh: float = 0.0
    starts: int = 0
    is_on: bool = False


@dataclass
class WeekMeter:
    """Adds up what each car draws and where it comes from."""

    cars: dict[str, CarWeek] = field(default_factory=dict[str, CarWeek])

    def observe(self, powers: Powers, parked: Sequence[ParkedState]) -> None:
        """Count until the next observation."""
        # The building is served first: what is left of the sun is all that cars can have of it.
        sun_kw = max(0.0, powers.generation_kw - powers.building_kw)
        share = min(1.0, sun_kw / powers.charging_kw) if powers.charging_kw > 0 else 0.0
        for one in parked:
            car = self.cars.setdefault(one.car.car_id, CarWeek())
            car.energy_kwh += one.draw.power_kw * _TICK_H
            car.own_kwh += one.draw.power_kw * share * _TICK_H
            is_on = one.draw.power_kw > 0
            car.starts += is_on and not car.is_on
            car.is_on = is_on


@dataclass(frozen=True)
class SurplusFigures:
    """What cars on surplus got, beside what the sun allowed them."""

    got: dict[str, CarWeek]
    allowed: dict[str, CarWeek]

    @property
    def own_sun_percent(self) -> float:
        """Share of the charged energy that the building left of the sun."""
        return 100 * sum(one.own_kwh for one in self.got.values()) / self.got_kwh

    @property
    def got_kwh(self) -> float:
        return sum(one.energy_kwh for one in self.got.values())

    @property
    def allowed_kwh(self) -> float:
        return sum(one.energy_kwh for one in self.allowed.values())

    @property
    def shares_percent(self) -> dict[str, float]:
        """Of what the sun allowed each car, by car."""
        return {
            name: 100 * self.got[name].energy_kwh / one.energy_kwh
            for name, one in self.allowed.items()
            if one.energy_kwh >= _LEAST_KWH
        }

    def show(self) -> None:
        """Print one line for each car and one for all."""
        for name, share in sorted(self.shares_percent.items()):
            one, most = self.got[name], self.allowed[name]
            own = 100 * one.own_kwh / one.energy_kwh if one.energy_kwh else 0.0
            print(
                f"{name}: {one.energy_kwh:.1f} of {most.energy_kwh:.1f} kWh ({share:.1f} %), own sun {own:.1f} %, "
                f"{one.starts} starts"
            )
        shares = self.shares_percent.values()
        starts = sum(self.got[name].starts for name in self.shares_percent) / len(shares)
        print(
            f"{self.got_kwh:.1f} of {self.allowed_kwh:.1f} kWh ({100 * self.got_kwh / self.allowed_kwh:.1f} %), "
            f"own sun {self.own_sun_percent:.1f} %, {sum(one >= 95 for one in shares)} of {len(shares)} cars at 95 %, "
            f"lowest {min(shares):.1f} %, {starts:.1f} starts per car"
        )


def live(site: SurplusSite, *, is_instant: bool, start: datetime, hours: int, period_s: int) -> dict[str, CarWeek]:
    """Let some hours pass; each car by name."""
    meter = WeekMeter()
    loop = SharingLoop(
        believes_reports=is_instant,
        policy=_AT_ONCE if is_instant else SharingPolicy(),
        mode=ChargingMode.SURPLUS,
        is_before_battery=site.is_before_battery,
    )
    TwinDay(
        loop,
        period_s,
        seed=7,
        start=start,
        panels_kwp=site.panels_kwp,
        samples_every_s=(TICK_S,) * len(WIRINGS) if is_instant else SAMPLES_EVERY_S,
        observe=meter.observe,
    ).live(hours)
    return meter.cars


def measure(site: SurplusSite, start: datetime, *, hours: int, period_s: int) -> SurplusFigures:
    """The figures of one site."""
    got, allowed = (live(site, is_instant=one, start=start, hours=hours, period_s=period_s) for one in (False, True))
    return SurplusFigures(got, allowed)


def test_a_day_in_june_is_charged_from_the_sites_own_sun() -> None:
    figures = measure(SITES["battery_first"], _MONDAY + timedelta(hours=34), hours=7, period_s=60)

    assert figures.got_kwh > 50
    assert figures.own_sun_percent >= 90
    assert min(figures.shares_percent.values()) >= 95


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SITES)
def test_a_week_in_june_is_charged_from_the_sites_own_sun(name: str) -> None:
    figures = measure(SITES[name], _MONDAY, hours=7 * 24, period_s=15)

    figures.show()

    assert figures.own_sun_percent >= 90
    assert figures.got_kwh >= 0.9 * figures.allowed_kwh
