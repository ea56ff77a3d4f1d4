"""Ways to switch off what the own charger service holds against those who command. Nothing of the stack is changed."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from unittest.mock import patch

from tests.attacks import flood_rows, own_chargers
from tests.attacks.permissive_servers import SwitchTarget

from charger_service import evse_facts, limit_service, limit_state, metering, site
from charger_service.envelope import Currents
from charger_service.lease import HeldLease, take_lease
from charger_service.ocpp import charge_point
from charger_service.ports import LimitMethod, LimitPurpose, MeterReading, RateUnit
from ev_service.clock import SystemClock
from ev_service.lifetimes import Instant


def let_anybody_command(_: SwitchTarget) -> AbstractContextManager[object]:
    """Nobody holds the lease."""

    def taken_by_whoever(_held: object, commander: str, now: Instant, lease_s: float) -> HeldLease:
        return take_lease(None, commander, now, lease_s)

    return patch.object(limit_service, "take_lease", taken_by_whoever)


def accept_any_limit(_: SwitchTarget) -> AbstractContextManager[object]:
    """Limits are not looked at before they are set."""
    return patch.object(limit_service.LimitService, "_find_refusal", return_value=None)


def without_meter(_: SwitchTarget) -> AbstractContextManager[object]:
    """The charger service reads no meter."""
    return patch.object(own_chargers, "HAS_METER", new=False)


def allow_unbounded_connections(_: SwitchTarget) -> AbstractContextManager[object]:
    """Listeners keep no descriptors back."""
    return patch.object(flood_rows, "PROGRAM", flood_rows.UNBOUNDED)


def wide_site(_: SwitchTarget) -> AbstractContextManager[object]:
    """The site carries ten times as much."""
    return patch.object(own_chargers, "SITE_LIMIT_KW", 10 * own_chargers.SITE_LIMIT_KW)


@contextmanager
def accept_any_values(_: SwitchTarget) -> Generator[None]:
    """Whatever a charger reports is counted as it is."""

    def as_reported(current_a: Currents, *_: object) -> Currents:
        return current_a

    def unbounded(value: float | None, _most: float) -> float | None:
        return value

    with patch.object(metering, "_clamp", unbounded), patch.object(site, "plausible_currents", as_reported):
        yield


def accept_any_clocks(_: SwitchTarget) -> AbstractContextManager[object]:
    """Meter values count when they were measured by the charger's clock."""

    def is_new(_order: object, reading: MeterReading, *_: object) -> bool:
        at = reading.reported_at
        return at is not None and SystemClock().now() - at < timedelta(minutes=1)

    return patch.object(evse_facts, "is_current", is_new)


def one_method(_: SwitchTarget) -> AbstractContextManager[object]:
    """Limits are sent as TxProfiles in amperes alone."""
    only = LimitMethod(LimitPurpose.TX, 1, RateUnit.AMPERES)
    return patch.object(charge_point, "possible_methods", return_value=(only,))


def forget_limits(_: SwitchTarget) -> AbstractContextManager[object]:
    """A limit ends with its session, whatever its charger holds."""
    return patch.object(limit_state.EvseLimitState, "default_a", property(lambda held: held.fallback_a))
