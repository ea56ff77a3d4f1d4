"""What a scheduler is told of a car's departure and energy: the driver's entry, what was learned, or the truth."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from charging_agent.simulation.virtual_site import ConnectedCar


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected end of a session."""

    energy_left_kwh: float
    """Energy that the car will still take [kWh]; 0 if it has as much as was expected."""

    departure: datetime
    """Expected departure, UTC."""


class Information(Protocol):
    """Source of estimates."""

    def estimate(self, car: ConnectedCar, at: datetime) -> Estimate:
        """Estimate the end of a session from what is known at a moment."""
        ...

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Take note of a session that has ended."""
        ...


class EnteredInformation:
    """What drivers entered, as the file has it; for a session that nobody claimed that is its record."""

    def estimate(self, car: ConnectedCar, at: datetime) -> Estimate:
        """Departure as entered, and what is missing of the requested energy."""
        left_kwh = 0.0 if car.is_full else max(0.0, car.session.requested_kwh - car.energy_kwh)
        return Estimate(left_kwh, car.session.estimated_departure)

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Nothing is learned."""


class TrueInformation:
    """Departure and energy as they will be, which nobody knows: a bound for what information can be worth."""

    def estimate(self, car: ConnectedCar, at: datetime) -> Estimate:
        """Recorded departure, and what is missing of the energy that the car took."""
        return Estimate(max(0.0, car.session.delivered_kwh - car.energy_kwh), car.session.departure)

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Nothing is learned."""
