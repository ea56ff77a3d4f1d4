"""The site as a whole: one scenario in which sun, panels, battery, building and connection agree.

The same parameters, sun and moment give the same state in every process. The load excludes charging: the cars'
power is added to it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from site_model.battery import BatteryInterval, Interval, simulate
from site_model.load import building_load_kw
from site_model.parameters import SiteParameters
from site_model.sunlight import Sun, sunlight_at

BATTERY_STEP_S = 300
"""Interval in which the battery's power is constant [s]."""

WARM_UP_DAYS = 10
"""Days for which the battery is followed before the day asked for: by then it has been empty or full once, and
its charge no longer depends on where it began. It must not: each day is followed on its own, in any order."""

_WARM_UP_SOC_PERCENT = 50.0


class PanelState(NamedTuple):
    """generation_kw [kW]: AC power, >= 0. poa_global_w_m2 [W/m²]: irradiance on the panels, None if unknown."""

    generation_kw: float
    poa_global_w_m2: float | None


@dataclass(frozen=True, slots=True)
class SiteState:
    """The site at one moment; the powers at the connection close: load - export = building + battery - panels.

    load_kw, export_kw [kW]: drawn from and given to the grid, both >= 0, one of them 0.
    """

    generation_kw: float
    """AC power of the panels [kW], >= 0."""

    poa_global_w_m2: float | None
    """Irradiance on them [W/m²], None if unknown."""

    building_kw: float
    """What the building draws [kW], >= 0."""

    battery_power_kw: float
    """Positive charges [kW], negative discharges."""

    soc_percent: float
    """Charge of the battery [%], 0..100."""

    load_kw: float
    export_kw: float
    load_percent: float
    """Of the limit [%]."""


def at_connection(building_kw: float, battery_power_kw: float, generation_kw: float) -> tuple[float, float]:
    """What the grid sees of a site: power drawn from it and power given to it [kW], both >= 0, one of them 0."""
    net_kw = building_kw + battery_power_kw - generation_kw
    return max(0.0, net_kw), max(0.0, -net_kw)


class Site:
    """One simulated site."""

    def __init__(self, parameters: SiteParameters, sun: Sun) -> None:
        """Tell the story of `parameters` under `sun`, the typical year of the same place and panels."""
        self._parameters = parameters
        self._sun = sun
        self._zone = ZoneInfo(parameters.place.timezone)
        # Two days of results for readers at midnight; the days before are needed again by the next day's warm-up.
        self._battery_day = lru_cache(maxsize=2)(self._follow_battery)
        self._met_day = lru_cache(maxsize=2 * WARM_UP_DAYS)(self._compute_battery_inputs)

    def at(self, moment: datetime) -> SiteState:
        """The site at an aware moment."""
        moment = moment.astimezone(UTC)
        panels = self.panels_at(moment)
        building_kw = self.building_kw(moment)
        battery_kw, soc_percent = self._battery_at(moment)
        load_kw, export_kw = at_connection(building_kw, battery_kw, panels.generation_kw)
        return SiteState(
            generation_kw=panels.generation_kw,
            poa_global_w_m2=panels.poa_global_w_m2,
            building_kw=building_kw,
            battery_power_kw=battery_kw,
            soc_percent=soc_percent,
            load_kw=load_kw,
            export_kw=export_kw,
            load_percent=load_kw / self._parameters.place.limit_kw * 100,
        )

    def panels_at(self, moment: datetime) -> PanelState:
        """The panels alone at an aware moment; costs neither battery nor building."""
        sunlight = sunlight_at(self._sun, moment.astimezone(UTC))
        generation_kw = sunlight.yield_w_per_kwp / 1000 * self._parameters.panels.capacity_kwp
        return PanelState(generation_kw, sunlight.poa_global_w_m2)

    def building_kw(self, moment: datetime) -> float:
        """What the building alone draws at an aware moment [kW]; costs neither battery nor panels."""
        given = self._parameters
        return building_load_kw(given.building, zone=self._zone, seed=given.seed, moment=moment.astimezone(UTC))

    def _battery_at(self, moment: datetime) -> tuple[float, float]:
        index, rest_s = divmod((moment - _midnight(moment.date())).total_seconds(), BATTERY_STEP_S)
        now = self._battery_day(moment.date())[int(index)]
        gained_percent = (now.soc_after_percent - now.soc_before_percent) * rest_s / BATTERY_STEP_S
        return now.active_power_kw, now.soc_before_percent + gained_percent

    def _follow_battery(self, day: date) -> tuple[BatteryInterval, ...]:
        days = (day - timedelta(days=back) for back in range(WARM_UP_DAYS, -1, -1))
        intervals = (interval for each in days for interval in self._met_day(each))
        followed = simulate(
            self._parameters.storage, intervals, step_s=BATTERY_STEP_S, soc_percent=_WARM_UP_SOC_PERCENT
        )
        return tuple(followed)[-86_400 // BATTERY_STEP_S :]

    def _compute_battery_inputs(self, day: date) -> tuple[Interval, ...]:
        start = _midnight(day)
        moments = (start + timedelta(seconds=second) for second in range(0, 86_400, BATTERY_STEP_S))
        return tuple(
            Interval(
                local_hour=moment.astimezone(self._zone).hour,
                pv_kw=self.panels_at(moment).generation_kw,
                building_kw=self.building_kw(moment),
            )
            for moment in moments
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
