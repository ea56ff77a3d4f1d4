"""What a grid connection carries; pure."""

from ev_service.telemetry import GridLoad
from ev_service.units import Kilowatt, Percent

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
    return contradiction(
        told_percent=reading.load_percent,
        load_kw=reading.load_kw,
        limit_kw=reading.limit_kw,
        export_kw=reading.export_kw,
    )


def contradiction(*, told_percent: Percent, load_kw: Kilowatt, limit_kw: Kilowatt, export_kw: Kilowatt) -> str | None:
    """Why the figures of one connection cannot hold together, or None.

    Args:
        told_percent: share that is said to be used [%].
        load_kw: power drawn from the grid [kW].
        limit_kw: what the connection may carry [kW], > 0.
        export_kw: power given to the grid [kW].
    """
    share = load_percent(load_kw, limit_kw)
    if abs(told_percent - share) > _ROUNDING_PERCENT:
        return (
            f"load_percent {told_percent:g} does not fit load_kw {load_kw:g} "
            f"over limit_kw {limit_kw:g}, which is {share:.1f} %"
        )
    if load_kw > 0 and export_kw > 0:
        return f"it draws {load_kw:g} kW and gives {export_kw:g} kW at once"
    return None
