"""The lease of one commander at a time, for as long as it keeps calling."""

from dataclasses import dataclass
from typing import ClassVar

from ev_service.charging import Lease
from ev_service.errors import EvError
from ev_service.lifetimes import EarlierEnd, Instant
from ev_service.units import utc_text


class LeaseConflictError(EvError):
    """Another commander holds the lease."""

    code: ClassVar[str] = "leased"
    http_status: ClassVar[int] = 409


@dataclass(frozen=True, slots=True)
class HeldLease:
    """The lease of one commander."""

    commander: str
    lifetime: EarlierEnd

    def as_shown(self, now: Instant) -> Lease:
        """Return the lease for an answer."""
        return Lease(commander=self.commander, until=self.lifetime.expected_end(now))


def take_lease(held: HeldLease | None, commander: str, now: Instant, lease_s: float) -> HeldLease:
    """Return the lease after a call of this commander, if it holds the lease or the lease is free.

    Args:
        held: the present lease; None: there was none yet.
        commander: who calls.
        now: the moment of the call.
        lease_s: for how long a call holds the lease [s].

    Raises:
        LeaseConflictError: somebody else holds it.
    """
    if held is not None and held.commander != commander and not held.lifetime.has_ended(now):
        until = utc_text(held.lifetime.expected_end(now))
        raise LeaseConflictError(f"{held.commander} commands until {until}; nobody else may before")
    return HeldLease(commander, EarlierEnd.lasting(now, lease_s))
