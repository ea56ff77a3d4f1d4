"""Sessions of a made-up workplace, for simulations without a recording."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.simulation.sessions import ChargingSession, order_sessions

_STATIONS = 40
_WEEKEND_SHARE = 0.25


def generate_sessions(
    first: date, last: date, zone: ZoneInfo, per_day: float = 40.0, seed: int = 7
) -> tuple[ChargingSession, ...]:
    """Generate sessions: most cars come in the morning, stay for a working day and need a third of it.

    As at real sites, drivers enter more energy than they take and leave later than they say.

    Args:
        first: first local day.
        last: last local day.
        zone: time zone of the site.
        per_day: mean number of cars on a weekday.
        seed: the same seed gives the same sessions.
    """
    random = np.random.default_rng(seed)
    sessions: list[ChargingSession] = []
    free_from = [datetime.min.replace(tzinfo=UTC)] * _STATIONS
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        mean = per_day * (_WEEKEND_SHARE if day.weekday() >= 5 else 1.0)
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        hours = sorted(np.clip(random.normal(9.5, 2.0, int(random.poisson(mean))), 0.0, 23.9).tolist())
        for number, hour in enumerate(hours):
            arrival = midnight + timedelta(seconds=round(hour * 3600))
            stay_h = float(np.clip(random.lognormal(1.6, 0.5), 0.5, 14.0))
            departure = arrival + timedelta(seconds=round(stay_h * 3600))
            station = next((index for index, until in enumerate(free_from) if until <= arrival), None)
            delivered_kwh = min(float(np.clip(random.lognormal(1.9, 0.7), 0.5, 50.0)), stay_h * 6.0)
            entered_h = max(0.5, stay_h + float(random.normal(-1.0, 1.5)))
            if station is None:
                continue
            free_from[station] = departure
            sessions.append(
                ChargingSession(
                    session_id=f"G-{day:%Y%m%d}-{number:03}",
                    station_id=f"ST-{station + 1:02}",
                    arrival=arrival,
                    departure=departure,
                    requested_kwh=round(delivered_kwh * float(random.uniform(1.0, 2.5)), 1),
                    estimated_departure=arrival + timedelta(seconds=round(entered_h * 3600)),
                    delivered_kwh=round(delivered_kwh, 3),
                    claimed=True,
                )
            )
    return order_sessions(sessions)
