"""What a scheduler is told of a car's departure and energy: the driver's entry, what was learned, or the truth."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from charging_agent.simulation.virtual_site import ConnectedCar

_OVERDUE, _OVERDUE_KWH = timedelta(minutes=30), 1.0
"""Time and energy [kWh] that a car is expected to take still when its driver's entries are used up."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected end of a session."""

    energy_left_kwh: float
    """Energy that the car will still take [kWh]; 0 if it has as much as was expected."""

    departure: datetime
    """Expected departure, UTC."""


class Information(Protocol):
    """Source of estimates."""

    @property
    def wait_cost_per_kwh_h(self) -> float:
        """Cost of letting energy wait [currency/kWh per hour]: the car may leave earlier than estimated."""
        ...

    def estimate(self, car: ConnectedCar, at: datetime) -> Estimate:
        """Estimate the end of a session from what is known at a moment."""
        ...

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Take note of a session that has ended."""
        ...


class EnteredInformation:
    """What drivers entered, as the file has it; for a session that nobody claimed that is its record."""

    wait_cost_per_kwh_h = 0.05

    def estimate(self, car: ConnectedCar, at: datetime) -> Estimate:
        """Departure as entered, and what is missing of the requested energy.

        A car that stays beyond its departure, or takes more than was requested, is expected to go on for a while.
        """
        if car.is_full:
            return Estimate(0.0, max(car.session.estimated_departure, at + _OVERDUE))
        left_kwh = max(_OVERDUE_KWH, car.session.requested_kwh - car.energy_kwh)
        return Estimate(left_kwh, max(car.session.estimated_departure, at + _OVERDUE))

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Nothing is learned."""


class TrueInformation:
    """Departure and energy as they will be, which nobody knows: a bound for what information can be worth."""

    wait_cost_per_kwh_h = 0.0036

    def estimate(self, car: ConnectedCar, at: datetime) -> Estimate:
        """Recorded departure, and what is missing of the energy that the car took."""
        return Estimate(max(0.0, car.session.delivered_kwh - car.energy_kwh), car.session.departure)

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Nothing is learned."""
