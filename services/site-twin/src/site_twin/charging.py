"""Power and phase currents that one parked car draws."""

from dataclasses import dataclass

from site_model.cars import Car, compute_current_a
from site_twin.ports import EvseKey, EvsePlace, Offer, PluggedCar

SITE_LINES = (1, 2, 3)

DRAWS_MORE = "draws_more"
"""The fault of a car that draws more than it is offered; every charger's cars can have it."""

DRAWS_MORE_MEANS = "cars there draw a quarter more than they are offered, as far as their own charger goes"
_DRAWS_MORE_FACTOR = 1.25


@dataclass(frozen=True, slots=True)
class Draw:
    """What a car draws."""

    current_a: tuple[float, float, float]
    """Current on L1, L2, L3 of the site [A]."""

    power_kw: float
    """Active power [kW], >= 0."""


NO_DRAW = Draw((0.0, 0.0, 0.0), 0.0)


def draw_of(
    car: Car, place: EvsePlace, offer: Offer, *, energy_got_kwh: float, voltage_v: float, draws_more: bool
) -> Draw:
    """What a car draws of what it is offered.

    It uses the first phases of the place, as many as car, place and offer have.

    Args:
        car: the car.
        place: where it stands.
        offer: what the place offers now.
        energy_got_kwh: what the car has got so far [kWh].
        voltage_v: between phase and neutral [V].
        draws_more: whether it draws more than it should.
    """
    offered_a = min(offer.limit_a, place.max_current_a)
    current_a = compute_current_a(car, offered_a=offered_a, energy_got_kwh=energy_got_kwh)
    if current_a == 0.0:
        return NO_DRAW
    if draws_more:
        current_a = max(current_a, min(current_a * _DRAWS_MORE_FACTOR, car.max_current_a))
    used = place.phases[: min(car.phases, offer.phases or len(place.phases))]
    first, second, third = (current_a if line in used else 0.0 for line in SITE_LINES)
    return Draw((first, second, third), current_a * len(used) * voltage_v / 1000)


@dataclass(frozen=True, slots=True)
class ParkedState:
    """A car at its place: what it is offered and what it draws now."""

    key: EvseKey
    car: PluggedCar
    offer: Offer
    draw: Draw
