"""Who commands: one commander at a time, for as long as it keeps calling.

Pure: the moment is an argument.
"""

from datetime import datetime, timedelta
from typing import ClassVar

from ev_service.charging import Lease
from ev_service.errors import EvError
from ev_service.units import utc_text


class Leased(EvError):
    """Somebody else commands."""

    code: ClassVar[str] = "leased"
    http_status: ClassVar[int] = 409


def taken(held: Lease | None, commander: str, now: datetime, lease_s: float) -> Lease:
    """The lease after a call of this commander, who is the first, or the one that holds it, or finds it ended.

    Args:
        held: the lease as it stands; None: nobody commanded yet.
        commander: who calls.
        now: UTC.
        lease_s: for how long a call holds the lease [s].

    Raises:
        Leased: somebody else holds it.
    """
    if held is not None and held.commander != commander and held.until > now:
        raise Leased(f"{held.commander} commands until {utc_text(held.until)}; nobody else may before")
    return Lease(commander=commander, until=now + timedelta(seconds=lease_s))
