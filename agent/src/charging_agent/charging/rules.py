"""How power is shared, and what is alarmed."""

from dataclasses import dataclass, field

from charging_agent.charging.sharing import SharingPolicy


@dataclass(frozen=True, slots=True)
class ChargingParameters:
    """How power is shared and when something is alarmed.

    headroom_percent [% of the limit]: what building and cars may take together.
    overdraw_s [s]: a car may be above its limit this long. meter_lost_s [s]: an older meter value says nothing.
    """

    headroom_percent: float = 85.0
    overdraw_s: float = 60.0
    meter_lost_s: float = 90.0
    sharing: SharingPolicy = field(default_factory=SharingPolicy)
