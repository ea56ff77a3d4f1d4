"""What a grid connection carries; pure."""

from ev_service.telemetry import GridLoad

_ROUNDING_PERCENT = 1.0
"""How far a recorded share may be from its two powers [%]: recordings round each of the three."""


def load_percent(load_kw: float, limit_kw: float) -> float:
    """Share of the connection that is used [%]; may pass 100.

    Args:
        load_kw: power drawn from the grid [kW], >= 0.
        limit_kw: what the connection may carry [kW], > 0.
    """
    return load_kw / limit_kw * 100


def why_implausible(reading: GridLoad) -> str | None:
    """Why one connection cannot carry this, or None."""
    share = load_percent(reading.load_kw, reading.limit_kw)
    if abs(reading.load_percent - share) > _ROUNDING_PERCENT:
        return (
            f"load_percent {reading.load_percent:g} does not fit load_kw {reading.load_kw:g} "
            f"over limit_kw {reading.limit_kw:g}, which is {share:.1f} %"
        )
    if reading.load_kw > 0 and reading.export_kw > 0:
        return f"it draws {reading.load_kw:g} kW and gives {reading.export_kw:g} kW at once"
    return None
