"""Ended sessions as columns of numbers, each from its own end on."""

import heapq
import math
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from ev_forecasting.series import FloatArray
from ev_forecasting.sessions import MAX_ENERGY_KWH, MAX_STAY, CompletedSession, RunningSession

UNKNOWN = -1.0
"""Number of a driver or station that no ended session has."""

_LEAST_ENTRY = 0.05
"""An entered stay [h] or energy [kWh] of less is a slip of the hand and says nothing."""

_FIELDS = (
    "departure_s",
    "hour",
    "day_type",
    "stay_h",
    "energy_kwh",
    "entered_stay_h",
    "log_entered_stay",
    "entered_energy_kwh",
    "log_entered_energy",
    "driver",
    "station",
)


@dataclass(frozen=True, slots=True)
class SessionFeatures:
    """What a forecast may depend on at the beginning of a session."""

    hour: float
    """Local time of day of the arrival [h], 0 to 24."""

    day_type: float
    """0: Monday to Friday, 1: Saturday or Sunday, local."""

    entered_stay_h: float
    """Stay that the driver entered [h]; NaN: none."""

    entered_energy_kwh: float
    """Energy that the driver entered [kWh]; NaN: none."""

    driver: float
    """Number of the driver; `UNKNOWN`: no ended session has them."""

    station: float
    """Number of the station; `UNKNOWN`: no ended session has it."""


class SessionArchive:
    """The newest ended sessions, in the order of their ends.

    Args:
        timezone: Zone of the site, for times of day.
        capacity: Most sessions that are kept, >= 1.
    """

    def __init__(self, timezone: ZoneInfo, capacity: int) -> None:
        self._timezone = timezone
        self._capacity = capacity
        self._columns = np.empty((len(_FIELDS), 2 * capacity))
        self._first = self._end = 0
        self._numbers: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return self._end - self._first

    def append(self, ended: CompletedSession) -> None:
        """Take up one plausible session that ended after all others."""
        if self._end == self._columns.shape[1]:
            self._columns[:, : len(self)] = self._columns[:, self._first : self._end].copy()
            self._first, self._end = 0, len(self)
        features = self.features(ended)
        driver = self._number("driver", ended.driver_id, is_new=True)
        station = self._number("station", ended.station_id, is_new=True)
        self._columns[:, self._end] = (
            ended.departure.timestamp(),
            features.hour,
            features.day_type,
            (ended.departure - ended.arrival).total_seconds() / 3600,
            ended.energy_kwh,
            features.entered_stay_h,
            math.log(features.entered_stay_h),
            features.entered_energy_kwh,
            math.log(features.entered_energy_kwh),
            driver,
            station,
        )
        self._end += 1
        self._first = max(self._first, self._end - self._capacity)

    def column(self, name: str) -> FloatArray:
        """One column of the sessions that are kept, the first to end first: a view."""
        return self._columns[_FIELDS.index(name), self._first : self._end]

    def features(self, session: CompletedSession | RunningSession) -> SessionFeatures:
        """What is known of a session from its beginning."""
        local = session.arrival.astimezone(self._timezone)
        entered_h = math.nan
        if session.entered_departure is not None:
            entered_h = (session.entered_departure - session.arrival).total_seconds() / 3600
        energy_kwh = math.nan if session.entered_energy_kwh is None else session.entered_energy_kwh
        longest_h = MAX_STAY.total_seconds() / 3600
        return SessionFeatures(
            hour=local.hour + local.minute / 60,
            day_type=float(local.weekday() >= 5),
            entered_stay_h=entered_h if _LEAST_ENTRY < entered_h <= longest_h else math.nan,
            entered_energy_kwh=energy_kwh if _LEAST_ENTRY < energy_kwh <= MAX_ENERGY_KWH else math.nan,
            driver=self._number("driver", session.driver_id),
            station=self._number("station", session.station_id),
        )

    def _number(self, kind: str, name: str | None, *, is_new: bool = False) -> float:
        if name is None:
            return UNKNOWN
        if is_new:
            return self._numbers.setdefault((kind, name), float(len(self._numbers)))
        return self._numbers.get((kind, name), UNKNOWN)


class PendingSessions:
    """Sessions that were learned before they ended, in the order of their ends."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, CompletedSession]] = []
        self._count = 0

    def push(self, ended: CompletedSession) -> None:
        """Keep a session until its end."""
        heapq.heappush(self._heap, (ended.departure, self._count, ended))
        self._count += 1

    def pop_ended(self, now: datetime) -> list[CompletedSession]:
        """Take out the sessions that ended at or before now, the first to end first."""
        ended: list[CompletedSession] = []
        while self._heap and self._heap[0][0] <= now:
            ended.append(heapq.heappop(self._heap)[2])
        return ended
