"""What the building draws: a measured shape of day, week and year, noise, and now and then a big consumer.

The shape is derived from the measured load of 17 homes in Fontana, California (Sierra Crest, EPRI project), as given
by the CityLearn Challenge 2022 data set ("citylearn_challenge_2022_phase_all", MIT licence): the mean of all homes in
each hour over the mean of the year, holidays left out. The factors below are all that is kept of it.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from site_model.noise import Noise, draws
from site_model.parameters import Building

# Hour 0 is 00:00 to 01:00 local time.
_WEEKDAY_HOURS = (
    *(0.68, 0.63, 0.61, 0.60, 0.67, 0.75, 0.76, 0.91, 1.07, 1.24, 1.22, 1.24),
    *(1.20, 1.16, 1.12, 1.18, 1.21, 1.19, 1.18, 1.15, 1.04, 0.96, 0.89, 0.79),
)
_WEEKEND_HOURS = (
    *(0.74, 0.67, 0.61, 0.61, 0.60, 0.64, 0.77, 1.00, 1.26, 1.43, 1.41, 1.46),
    *(1.39, 1.38, 1.37, 1.32, 1.26, 1.22, 1.24, 1.19, 1.10, 1.00, 0.91, 0.83),
)
_MONTHS = (1.12, 0.94, 0.82, 0.75, 0.85, 1.16, 1.34, 1.24, 1.01, 0.82, 0.84, 1.09)

_SURGE_HOURS = (6, 7, 8, 11, 16, 17, 18, 18, 19, 19, 20, 21)
"""Local hours in which big consumers start, the likely ones named twice: kitchen and workshop, not the night.

None starts so late that it would run into the next day."""

_SURGE_SPREAD = 0.15


class Surge(NamedTuple):
    """A big consumer that runs from `start` until `end` (aware UTC) and draws `power_kw` [kW]."""

    start: datetime
    end: datetime
    power_kw: float


def building_load_kw(building: Building, *, zone: ZoneInfo, seed: int, moment: datetime) -> float:
    """Load of the building alone [kW], >= 0.

    Args:
        building: its mean load, noise and surges.
        zone: time zone in which people live there.
        seed: of noise and surges.
        moment: aware UTC.
    """
    local = moment.astimezone(zone)
    noise = 1 + building.building_noise * Noise(seed, "load").at(moment)
    surges_kw = sum(
        surge.power_kw
        for surge in surges(building.surges_per_day, building.surge_kw, zone, seed, local.date())
        if surge.start <= moment < surge.end
    )
    return max(building.building_mean_kw * shape(local) * noise, 0.0) + surges_kw


def shape(local: datetime) -> float:
    """Measured load over its mean of the year, at a local moment; near 1, continuous."""
    # An hour's mean belongs to its middle; between two middles the load runs straight.
    before = local - timedelta(minutes=30)
    share = before.minute / 60 + before.second / 3600
    hours = _hour_factor(before), _hour_factor(before + timedelta(hours=1))
    return (hours[0] + (hours[1] - hours[0]) * share) * _month_factor(local)


def _hour_factor(local: datetime) -> float:
    return (_WEEKEND_HOURS if local.weekday() >= 5 else _WEEKDAY_HOURS)[local.hour]


def _month_factor(local: datetime) -> float:
    # As with hours: the mean of a month belongs to its middle.
    days = monthrange(local.year, local.month)[1]
    month, share = divmod(local.month - 1.5 + (local.day - 1 + local.hour / 24) / days, 1)
    left, right = _MONTHS[int(month)], _MONTHS[(int(month) + 1) % 12]
    return left + (right - left) * share


@lru_cache(maxsize=64)
def surges(per_day: float, mean_kw: float, zone: ZoneInfo, seed: int, day: date) -> tuple[Surge, ...]:
    """The big consumers that start on a local day, by time, each 20 to 60 minutes long, never two at once.

    Args:
        per_day: how many start on average, >= 0.
        mean_kw: what one draws on average [kW].
        zone: the time zone of `day`.
        seed: of number, time, length and power.
        day: the local day.
    """
    generator = draws(seed, "starts", day)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    starts = sorted(
        midnight.replace(hour=generator.choice(_SURGE_HOURS), minute=generator.randrange(60)).astimezone(UTC)
        for _ in range(int(per_day + generator.random()))
    )
    found: list[Surge] = []
    for start in starts:
        end = start + timedelta(minutes=generator.randint(20, 60))
        power_kw = mean_kw * (1 + _SURGE_SPREAD * generator.uniform(-1, 1))
        if not found or start >= found[-1].end:
            found.append(Surge(start, end, power_kw))
    return tuple(found)
