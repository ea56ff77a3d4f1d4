"""The peak that a month will reach anyway, learned from sessions that are over."""

from collections import defaultdict
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.scheduling.linear_program import INFINITY, LinearProgram
from charging_agent.scheduling.problem import IntArray
from charging_agent.simulation.sessions import ChargingSession

_STEP_S = 900
_DAYS = 28
"""Days that are remembered: four of each weekday."""

_MARGIN = 1.05
"""The coming month may be busier than the last one."""


class PeakTarget:
    """Learns the lowest peak at which the cars of each day could have had their energy.

    The target is the highest of the last 28 days with a margin. Below it power costs no demand charge, since a day as
    busy as those will come again.

    Args:
        zone: time zone of the site.
        max_power_kw: highest power of a charging point [kW].
    """

    def __init__(self, zone: ZoneInfo, max_power_kw: float) -> None:
        self._zone, self._max_power_kw = zone, max_power_kw
        self._ended: defaultdict[date, list[tuple[ChargingSession, float]]] = defaultdict(list)
        self._peaks_kw: dict[date, float] = {}

    def learn(self, session: ChargingSession, energy_kwh: float) -> None:
        """Take up a session that is over.

        Args:
            session: its stay.
            energy_kwh: energy that it took [kWh].
        """
        day = session.arrival.astimezone(self._zone).date()
        self._ended[day].append((session, energy_kwh))
        self._peaks_kw.pop(day, None)

    def target_kw(self, at: datetime) -> float:
        """The peak to expect at a moment [kW]; 0 without history."""
        today = at.astimezone(self._zone).date()
        days = sorted(day for day in self._ended if day < today)[-_DAYS:]
        for day in [day for day in self._ended if days and day < days[0]]:
            del self._ended[day]
        for day in days:
            if day not in self._peaks_kw:
                self._peaks_kw[day] = compute_lowest_peak_kw(self._ended[day], self._max_power_kw)
        return _MARGIN * max((self._peaks_kw[day] for day in days), default=0.0)


def compute_lowest_peak_kw(sessions: list[tuple[ChargingSession, float]], max_power_kw: float) -> float:
    """The lowest peak at which sessions could have had their energy [kW], by steps of 15 min.

    Args:
        sessions: stays and energies [kWh].
        max_power_kw: highest power of a charging point [kW].
    """
    first = min(int(session.arrival.timestamp()) // _STEP_S for session, _ in sessions)
    program = LinearProgram()
    peak = program.add_columns(np.ones(1), np.zeros(1), np.array([INFINITY]))
    columns, steps, cars, wanted = list[IntArray](), list[IntArray](), list[IntArray](), list[float]()
    for index, (session, energy_kwh) in enumerate(sessions):
        begin, end = session.arrival.timestamp() / _STEP_S - first, session.departure.timestamp() / _STEP_S - first
        own = np.arange(int(begin), int(np.ceil(end)), dtype=np.int64)
        present = np.minimum(own + 1, end) - np.maximum(own, begin)
        columns.append(program.add_columns(np.zeros(len(own)), np.zeros(len(own)), present * max_power_kw))
        steps.append(own)
        cars.append(np.full(len(own), index, dtype=np.int64))
        wanted.append(min(energy_kwh, 0.999 * float(present.sum()) * max_power_kw * _STEP_S / 3600))
    step, column = np.concatenate(steps), np.concatenate(columns)
    sums = program.add_rows(np.full(int(step.max()) + 1, -INFINITY), np.zeros(int(step.max()) + 1))
    program.add_entries(sums[step], column, 1.0)
    program.add_entries(sums, np.broadcast_to(peak, sums.shape), -1.0)
    energies = program.add_rows(np.array(wanted), np.full(len(wanted), INFINITY))
    program.add_entries(energies[np.concatenate(cars)], column, _STEP_S / 3600)
    return program.solve().objective
