"""Ways to switch off what the own charger service holds against those who command. Nothing of the stack is changed."""

from contextlib import AbstractContextManager
from unittest.mock import patch

from tests.attacks import own_chargers
from tests.attacks.open_doors import Scene

from charger_service import commanding
from charger_service.lease import HeldLease, taken
from ev_service.lifetimes import Instant


def anybody_commands(_: Scene) -> AbstractContextManager[object]:
    """Nobody holds the lease."""

    def taken_by_whoever(_held: object, commander: str, now: Instant, lease_s: float) -> HeldLease:
        return taken(None, commander, now, lease_s)

    return patch.object(commanding, "taken", taken_by_whoever)


def any_limit(_: Scene) -> AbstractContextManager[object]:
    """Limits are not looked at before they are set."""
    return patch.object(commanding.Commanding, "_obstacle", return_value=None)


def without_meter(_: Scene) -> AbstractContextManager[object]:
    """The charger service reads no meter."""
    return patch.object(own_chargers, "HAS_METER", new=False)


def wide_site(_: Scene) -> AbstractContextManager[object]:
    """The site carries ten times as much."""
    return patch.object(own_chargers, "SITE_LIMIT_KW", 10 * own_chargers.SITE_LIMIT_KW)
