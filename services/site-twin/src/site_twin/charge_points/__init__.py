"""The charge points of the simulated site: OCPP 1.6 and 2.0.1 clients with the habits of real chargers."""

from site_twin.charge_points.charge_point import ChargePoint
from site_twin.charge_points.connection import Timing
from site_twin.charge_points.evses import EvsePlan
from site_twin.charge_points.ocpp_fleet import load_charge_points
from site_twin.charge_points.parked_cars import ParkedCars
from site_twin.charge_points.quirks import Quirk

__all__ = ["ChargePoint", "EvsePlan", "ParkedCars", "Quirk", "Timing", "load_charge_points"]
