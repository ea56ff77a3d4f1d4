"""The charge points of the simulated site: OCPP 1.6 and 2.0.1 clients with the habits of real chargers."""

from site_twin.charge_points.charge_point import ChargePoint
from site_twin.charge_points.connected import load_charge_points
from site_twin.charge_points.conversation import Timing
from site_twin.charge_points.evses import EvsePlan
from site_twin.charge_points.quirks import Quirk
from site_twin.charge_points.standing_cars import StandingCars

__all__ = ["ChargePoint", "EvsePlan", "Quirk", "StandingCars", "Timing", "load_charge_points"]
