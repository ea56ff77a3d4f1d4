"""Whom the gateway knows, and what they may do: subscriptions and scopes."""

from collections.abc import Callable

import httpx
from tests.attacks import own_api
from tests.attacks.attack_run import SETTLES_S, AttackRun
from tests.attacks.attacker_resources import Application
from tests.attacks.formatting import fault, format_status, table
from tests.attacks.rows import Group, Observation, Row, RowSkippedError

from wso2_provisioning.smoke_test import find_probe_path
from wso2_terms.codes import INVALID_CREDENTIALS, NOT_SUBSCRIBED, SCOPE_MISSING, SUBSCRIPTION_BLOCKED, Fault

_NOT_SUBSCRIBED, _NO_SCOPE = fault(NOT_SUBSCRIBED), fault(SCOPE_MISSING)
_BLOCKED = fault(SUBSCRIPTION_BLOCKED)


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.RIGHTS,
        ("not-subscribed", "every scope, no subscription", _NOT_SUBSCRIBED, _stranger),
        ("evapp-at-site", "EVApp at SiteAPI", _NOT_SUBSCRIBED, _evapp_at_site),
        ("blocked-subscription", "blocked subscription", f"let through, then {_BLOCKED}", _try_blocked),
        ("blocked-production", "blocked for production keys", f"let through, then {_BLOCKED}", _production),
        ("unsubscribed", "removed subscription", f"let through, then {_NOT_SUBSCRIBED}", _try_unsubscribed),
        (
            "deleted-application",
            "deleted application's token",
            (f"let through, then {_NOT_SUBSCRIBED}", f"let through, then {fault(INVALID_CREDENTIALS)}"),
            _try_deleted,
        ),
        ("no-scope", "subscribed, without the scope", _NO_SCOPE, _no_scope),
        ("another-scope", "other APIs' scopes", _NO_SCOPE, _another_scope),
        ("scope-in-a-scope", "similar scopes: other case, longer, shorter", _NO_SCOPE, _lookalike),
    )


def _stranger(run: AttackRun) -> Observation:
    return Observation(format_status(_wait_until_known(run, lambda: run.call(run.token(run.stranger, run.scope)))))


def _evapp_at_site(run: AttackRun) -> Observation:
    try:
        project = run.stack.artifacts.find_api("SiteAPI")
    except KeyError as error:
        raise RowSkippedError("needs SiteAPI among the artifacts") from error
    scope = project.api.scopes[0].scope.name
    token = run.ask_token(run.evapp, scope, "device_attack").raise_for_status().json()["access_token"]
    return Observation(format_status(run.call(str(token), find_probe_path(project))))


def _try_blocked(run: AttackRun) -> Observation:
    return _try_subscription_state(run, "BLOCKED")


def _production(run: AttackRun) -> Observation:
    return _try_subscription_state(run, "PROD_ONLY_BLOCKED")


def _try_subscription_state(run: AttackRun, state: str) -> Observation:
    application = run.resources.application(f"Stopped{state}", own_api.NAME)
    subscription = run.resources.subscription(application, own_api.NAME)
    return _after(run, application, lambda: run.resources.block(subscription, state), SUBSCRIPTION_BLOCKED)


def _try_unsubscribed(run: AttackRun) -> Observation:
    application = run.resources.application("Leaving", own_api.NAME)
    leave: Callable[[], None] = lambda: run.resources.unsubscribe(application, own_api.NAME)  # noqa: E731
    return _after(run, application, leave, NOT_SUBSCRIBED)


def _try_deleted(run: AttackRun) -> Observation:
    application = run.resources.application("Gone", own_api.NAME)
    return _after(run, application, lambda: run.resources.delete(application), NOT_SUBSCRIBED)


def _no_scope(run: AttackRun) -> Observation:
    return Observation(format_status(_wait_until_known(run, lambda: run.call(run.token(run.reader, "device_without")))))


def _another_scope(run: AttackRun) -> Observation:
    others = [scope for scope in run.energy_scopes if scope != run.scope]
    return Observation(format_status(_wait_until_known(run, lambda: run.call(run.token(run.reader, *others)))))


def _lookalike(run: AttackRun) -> Observation:
    scope = run.scope
    token = run.token(run.reader, scope.upper(), f"{scope}:all", scope[:-1], f"device_{scope}")
    return Observation(format_status(_wait_until_known(run, lambda: run.call(token))))


def _after(run: AttackRun, application: Application, act: Callable[[], None], wanted: Fault) -> Observation:
    token = run.request_accepted_token(application, own_api.SCOPE)
    act()
    answer = run.until(lambda: run.call(token, own_api.OPEN_PATH), lambda it: it.status_code == wanted.http_status)
    return Observation(f"let through, then {format_status(answer)}")


def _wait_until_known(run: AttackRun, call: Callable[[], httpx.Response]) -> httpx.Response:
    # Until its keys have reached the gateway, an application is refused as somebody whom nobody knows.
    return run.until(call, lambda it: it.status_code == NOT_SUBSCRIBED.http_status, SETTLES_S)
