"""How the site's power is shared among the cars, and the guard over such a plan.

docs/sharing.md explains how it works.
"""

from charging_agent.charging.sharing.allocator import AllocationResult, allocate
from charging_agent.charging.sharing.model import (
    Allotment,
    Car,
    CarKey,
    CarMemory,
    LimitClamp,
    LimitedBy,
    Memory,
    SharingPolicy,
    SiteRoom,
)
from charging_agent.charging.sharing.plan_validation import clamp_plan

__all__ = [
    "AllocationResult",
    "Allotment",
    "Car",
    "CarKey",
    "CarMemory",
    "LimitClamp",
    "LimitedBy",
    "Memory",
    "SharingPolicy",
    "SiteRoom",
    "allocate",
    "clamp_plan",
]
