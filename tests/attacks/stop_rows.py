"""What an operator stops stays stopped: deny policies, a blocked and an undeployed API."""

from collections.abc import Callable

from tests.attacks import own_api
from tests.attacks.ground import Ground
from tests.attacks.own_api import DENIED_ADDRESS, OWNER
from tests.attacks.rows import Group, Observation, Row
from tests.attacks.told import describe_access, fault, table

from wso2_terms.codes import API_BLOCKED, DENIED, NOT_FOUND, Fault

_THEN = "let through, then {}, then let through"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    denied = _THEN.format(fault(DENIED))
    return table(
        Group.STOPS,
        ("deny-application", "denied application", denied, _application),
        ("deny-user", "denied user's application", denied, _user),
        ("deny-api", "denied API", denied, _api),
        ("deny-address", "denied address", denied, _address),
        ("blocked-api", "blocked API", _THEN.format(fault(API_BLOCKED)), _lifecycle),
        ("undeployed-api", "undeployed API", _THEN.format(fault(NOT_FOUND)), _undeployed),
    )


def _application(ground: Ground) -> Observation:
    return _denied(ground, "APPLICATION", f"{OWNER}:{ground.reader.full_name}")


def _user(ground: Ground) -> Observation:
    return _denied(ground, "USER", OWNER)


def _api(ground: Ground) -> Observation:
    return _denied(ground, "API", own_api.VERSIONED_CONTEXT)


def _address(ground: Ground) -> Observation:
    # As somebody behind a proxy: the gateway takes the caller's address from this header.
    value = {"fixedIp": DENIED_ADDRESS, "invert": False}
    return _denied(ground, "IP", value, {"X-Forwarded-For": DENIED_ADDRESS})


def _denied(ground: Ground, kind: str, value: object, headers: dict[str, str] | None = None) -> Observation:
    made: list[str] = []
    return _stopped(
        ground,
        lambda: made.append(ground.belongings.deny(kind, value)),
        lambda: ground.belongings.allow(made[0]),
        DENIED,
        headers,
    )


def _lifecycle(ground: Ground) -> Observation:
    change = ground.belongings.change_lifecycle
    return _stopped(ground, lambda: change("Block"), lambda: change("Re-Publish"), API_BLOCKED)


def _undeployed(ground: Ground) -> Observation:
    deploy = ground.belongings.deploy
    return _stopped(ground, lambda: deploy(undo=True), deploy, NOT_FOUND)


def _stopped(
    ground: Ground,
    stop: Callable[[], None],
    release: Callable[[], None],
    wanted: Fault,
    headers: dict[str, str] | None = None,
) -> Observation:
    token = ground.good_token
    call: Callable[[], str] = lambda: describe_access(ground.call(token, own_api.OPEN_PATH, headers=headers))  # noqa: E731
    return stopped(ground, call, stop, release, fault(wanted), "let through")


def stopped(
    ground: Ground,
    call: Callable[[], str],
    stop: Callable[[], None],
    release: Callable[[], None],
    wanted: str,
    good: str,
) -> Observation:
    """Call before something is stopped, while it is and after it was let go.

    Args:
        ground: the run's.
        call: tells what it is answered.
        stop: the administrator's act.
        release: undoes it.
        wanted: how the call is told while it is stopped.
        good: how it is told otherwise.
    """
    before = ground.told_within(call, good)
    stop()
    try:
        refused = ground.told_within(call, wanted)
    finally:
        release()
    return Observation(f"{before}, then {refused}, then {ground.told_within(call, good)}")
