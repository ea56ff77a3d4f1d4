"""How the site's power is shared among the cars, and the guard over such a plan.

Pure: knows cars, currents and limits, not chargers, gateways, clocks or tokens. docs/sharing.md tells how it works.
"""

from charging_agent.sharing.guarding import within
from charging_agent.sharing.memory import CarMemory, Memory
from charging_agent.sharing.model import Allotment, Car, CarKey, Clamp, LimitedBy, SiteRoom
from charging_agent.sharing.policy import SharingPolicy
from charging_agent.sharing.rounds import Shared, share

__all__ = [
    "Allotment",
    "Car",
    "CarKey",
    "CarMemory",
    "Clamp",
    "LimitedBy",
    "Memory",
    "Shared",
    "SharingPolicy",
    "SiteRoom",
    "share",
    "within",
]
