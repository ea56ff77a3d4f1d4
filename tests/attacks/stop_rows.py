"""What an operator stops stays stopped: deny policies, a blocked and an undeployed API."""

from collections.abc import Callable

from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import describe_access, fault, table
from tests.attacks.own_api import DENIED_ADDRESS, OWNER
from tests.attacks.rows import Group, Observation, Row

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
        ("undeployed-api", "undeployed API", _THEN.format(fault(NOT_FOUND)), _try_undeployed),
    )


def _application(run: AttackRun) -> Observation:
    return _try_denied(run, "APPLICATION", f"{OWNER}:{run.reader.full_name}")


def _user(run: AttackRun) -> Observation:
    return _try_denied(run, "USER", OWNER)


def _api(run: AttackRun) -> Observation:
    return _try_denied(run, "API", own_api.VERSIONED_CONTEXT)


def _address(run: AttackRun) -> Observation:
    # As somebody behind a proxy: the gateway takes the caller's address from this header.
    value = {"fixedIp": DENIED_ADDRESS, "invert": False}
    return _try_denied(run, "IP", value, {"X-Forwarded-For": DENIED_ADDRESS})


def _try_denied(run: AttackRun, kind: str, value: object, headers: dict[str, str] | None = None) -> Observation:
    made: list[str] = []
    return _try_while_stopped(
        run,
        lambda: made.append(run.resources.deny(kind, value)),
        lambda: run.resources.allow(made[0]),
        DENIED,
        headers,
    )


def _lifecycle(run: AttackRun) -> Observation:
    change = run.resources.change_lifecycle
    return _try_while_stopped(run, lambda: change("Block"), lambda: change("Re-Publish"), API_BLOCKED)


def _try_undeployed(run: AttackRun) -> Observation:
    deploy = run.resources.deploy
    return _try_while_stopped(run, lambda: deploy(undo=True), deploy, NOT_FOUND)


def _try_while_stopped(
    run: AttackRun,
    stop: Callable[[], None],
    release: Callable[[], None],
    wanted: Fault,
    headers: dict[str, str] | None = None,
) -> Observation:
    token = run.good_token
    call: Callable[[], str] = lambda: describe_access(run.call(token, own_api.OPEN_PATH, headers=headers))  # noqa: E731
    return observe_stop(run, call, stop, release, fault(wanted), "let through")


def observe_stop(
    run: AttackRun,
    call: Callable[[], str],
    stop: Callable[[], None],
    release: Callable[[], None],
    wanted: str,
    good: str,
) -> Observation:
    """Call before something is stopped, while it is and after it was let go.

    Args:
        run: the run of the attacks.
        call: tells what it is answered.
        stop: the administrator's act.
        release: undoes it.
        wanted: how the call is told while it is stopped.
        good: how it is told otherwise.
    """
    before = run.wait_for_response(call, good)
    stop()
    try:
        refused = run.wait_for_response(call, wanted)
    finally:
        release()
    return Observation(f"{before}, then {refused}, then {run.wait_for_response(call, good)}")
