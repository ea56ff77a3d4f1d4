"""Forecasts of charging sessions: what is known of a session, what a forecast says, and who makes one."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

MAX_STAY = timedelta(days=14)
"""Longer stays are parked cars or wrong clocks; nothing about a charging session is learned from them."""

MAX_ENERGY_KWH = 1_000.0
"""No car's battery takes more; such values are faults of a meter or of a unit."""


@dataclass(frozen=True, slots=True)
class CompletedSession:
    """A session that is over."""

    arrival: datetime
    """When the car was plugged in, aware."""

    departure: datetime
    """When it was unplugged, aware."""

    energy_kwh: float
    """Energy charged [kWh]."""

    station_id: str
    """The place where it stood: a charging station or one EVSE of it."""

    driver_id: str | None = None
    """Pseudonym of the driver; None: not known."""

    entered_energy_kwh: float | None = None
    """Energy that the driver asked for at the beginning [kWh]; None: nothing was entered."""

    entered_departure: datetime | None = None
    """Departure that the driver gave at the beginning, aware; None: nothing was entered."""

    @property
    def is_plausible(self) -> bool:
        """Whether it has a stay of more than zero and at most `MAX_STAY`, and an energy of 0 to `MAX_ENERGY_KWH`."""
        has_stay = timedelta(0) < self.departure - self.arrival <= MAX_STAY
        return has_stay and math.isfinite(self.energy_kwh) and 0 <= self.energy_kwh <= MAX_ENERGY_KWH


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session whose car is there now."""

    arrival: datetime
    """When the car was plugged in, aware."""

    station_id: str
    """The place where it stands, as in `CompletedSession`."""

    energy_kwh: float = 0.0
    """Energy charged so far [kWh]."""

    driver_id: str | None = None
    """Pseudonym of the driver; None: not known."""

    entered_energy_kwh: float | None = None
    """Energy that the driver asked for [kWh]; None: nothing was entered."""

    entered_departure: datetime | None = None
    """Departure that the driver gave, aware; None: nothing was entered."""

    has_stopped_drawing: bool = False
    """Whether the car takes nothing although it is allowed to: it is full, so that no more energy is expected."""


@dataclass(frozen=True, slots=True)
class DepartureQuantiles:
    """Quantiles of the time of departure, rising, none before the moment of the forecast."""

    p10: datetime
    """The car has left before this with a probability of 10 %."""

    p50: datetime
    """Median."""

    p90: datetime
    """The car has left before this with a probability of 90 %."""


@dataclass(frozen=True, slots=True)
class EnergyQuantiles:
    """Quantiles of the energy of the whole session [kWh], rising, none below what is charged already."""

    p10: float
    """The session takes less than this with a probability of 10 % [kWh]."""

    p50: float
    """Median [kWh]."""

    p90: float
    """The session takes less than this with a probability of 90 % [kWh]."""


@dataclass(frozen=True, slots=True)
class SessionScenario:
    """One way in which a session may go on; all scenarios of a forecast are equally likely."""

    departure: datetime
    """When the car leaves, aware, not before the moment of the forecast."""

    energy_kwh: float
    """Energy of the whole session if the car is given what it takes [kWh], what is charged already included."""


@dataclass(frozen=True, slots=True)
class ForecastBasis:
    """Shares of what was learned from whom in a forecast; their sum is 1."""

    driver: float
    """Share of the same driver's sessions, 0 to 1."""

    station: float
    """Share of sessions at the same station, 0 to 1."""

    site: float
    """Share of sessions anywhere at the site, 0 to 1."""

    prior: float
    """Share of the prior, which holds without any history, 0 to 1."""


@dataclass(frozen=True, slots=True)
class SessionForecast:
    """What is expected of one running session."""

    issued_at: datetime
    """The moment of the forecast; nothing that ended later is in it."""

    departure: DepartureQuantiles
    """When the car leaves."""

    energy_kwh: EnergyQuantiles
    """Energy of the whole session, what is charged already included [kWh]."""

    scenarios: tuple[SessionScenario, ...]
    """Equally likely ways to go on, by rising departure; energy and departure belong together."""

    basis: ForecastBasis
    """Whose sessions it was made of."""


@dataclass(frozen=True, slots=True)
class ArrivalInterval:
    """Arrivals expected in one interval of the coming time."""

    interval_start: datetime
    """Start of the interval, aware."""

    expected: float
    """Mean number of arrivals, >= 0."""

    p10: int
    """Fewer cars than this come with a probability of at most 10 %."""

    p50: int
    """Median number of arrivals."""

    p90: int
    """At most this many cars come with a probability of 90 % or more."""

    energy_kwh: float
    """Mean energy that the cars of this interval take in all their stay [kWh], >= 0."""


class SessionForecaster(Protocol):
    """Learns from sessions that are over, and forecasts those that run."""

    def learn(self, ended: CompletedSession) -> None:
        """Take up one session that is over; one that is implausible is left out.

        It counts in forecasts issued at or after its departure only, whenever it is learned.
        """
        ...

    def forecast(self, running: RunningSession, now: datetime) -> SessionForecast:
        """Forecast one running session, with the state of `now`, aware. Works without any history."""
        ...

    def expected_arrivals(
        self, now: datetime, horizon: timedelta, resolution: timedelta
    ) -> tuple[ArrivalInterval, ...]:
        """Forecast the arrivals of each interval from `now` to `now + horizon`; the first begins at `now`."""
        ...
