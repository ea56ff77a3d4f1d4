"""The sun over one site as everybody here sees it: yield per kWp at any moment of a typical year.

A typical year has 365 days of its own, the same in every calendar year, so that a table of it can be kept and read
without the physics that made it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

STEP_S = 900
"""Distance of the instants at which the sun is computed [s]: short compared with hourly weather values."""

STEPS_PER_DAY = 86_400 // STEP_S


@dataclass(frozen=True, slots=True)
class SunDay:
    """One UTC day at the instants 0, STEP_S, 2 STEP_S … after midnight."""

    yield_w_per_kwp: tuple[int, ...]
    """AC power of the plant for each kWp [W/kWp], whole numbers, 0 where the sun is below the horizon."""

    poa_global_w_m2: tuple[int, ...] | None = None
    """Irradiance in the plane of the panels [W/m²]; None where only the yield is known."""


class Sun(Protocol):
    """The typical year of one site with its panels."""

    def day(self, month: int, day: int) -> SunDay:
        """The UTC day of that date; the year has no 29 February."""
        ...


@dataclass(frozen=True, slots=True)
class Sunlight:
    """What the sun gives at one moment, as in `SunDay`."""

    yield_w_per_kwp: float
    poa_global_w_m2: float | None


def sunlight_at(sun: Sun, moment: datetime) -> Sunlight:
    """What the sun gives at a moment, between two instants in proportion.

    Args:
        sun: the site's typical year.
        moment: aware UTC.
    """
    index, rest_s = divmod(moment.hour * 3600 + moment.minute * 60 + moment.second, STEP_S)
    share = (rest_s + moment.microsecond / 1e6) / STEP_S
    today = later = _day(sun, moment)
    following = index + 1
    if following == STEPS_PER_DAY:
        later, following = _day(sun, moment + timedelta(days=1)), 0
    poa_global_w_m2 = None
    if today.poa_global_w_m2 is not None and later.poa_global_w_m2 is not None:
        poa_global_w_m2 = _between(today.poa_global_w_m2[index], later.poa_global_w_m2[following], share)
    return Sunlight(_between(today.yield_w_per_kwp[index], later.yield_w_per_kwp[following], share), poa_global_w_m2)


def _day(sun: Sun, moment: datetime) -> SunDay:
    leap = moment.month == 2 and moment.day == 29
    return sun.day(moment.month, 28 if leap else moment.day)


def _between(left: int, right: int, share: float) -> float:
    # Where the sun rises or sets within the step nothing is given: night is exactly 0, not a ramp to the first light.
    return left + (right - left) * share if left > 0 and right > 0 else 0.0
