"""What panels can do; pure."""

from ev_service.telemetry import SolarStatus

HIGHEST_YIELD = 1.5
"""AC power over rated DC power that no plant passes: bright cloud edges on cold panels reach about 1.3."""


def why_implausible(reading: SolarStatus) -> str | None:
    """Why panels cannot have given this, or None."""
    highest_kw = HIGHEST_YIELD * reading.capacity_kwp
    if reading.generation_kw > highest_kw:
        return f"generation_kw {reading.generation_kw:g} is more than panels of {reading.capacity_kwp:g} kWp can give"
    return None
