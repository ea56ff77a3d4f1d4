"""Whom the gateway knows, and what they may do: subscriptions and scopes."""

from collections.abc import Callable

import httpx
from tests.attacks import own_api
from tests.attacks.belongings import Application
from tests.attacks.ground import SETTLES_S, Ground
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.told import fault, format_status, table

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
        ("blocked-subscription", "blocked subscription", f"let through, then {_BLOCKED}", _blocked),
        ("blocked-production", "blocked for production keys", f"let through, then {_BLOCKED}", _production),
        ("unsubscribed", "removed subscription", f"let through, then {_NOT_SUBSCRIBED}", _unsubscribed),
        (
            "deleted-application",
            "deleted application's token",
            (f"let through, then {_NOT_SUBSCRIBED}", f"let through, then {fault(INVALID_CREDENTIALS)}"),
            _deleted,
        ),
        ("no-scope", "subscribed, without the scope", _NO_SCOPE, _no_scope),
        ("another-scope", "other APIs' scopes", _NO_SCOPE, _another_scope),
        ("scope-in-a-scope", "similar scopes: other case, longer, shorter", _NO_SCOPE, _lookalike),
    )


def _stranger(ground: Ground) -> Observation:
    return Observation(format_status(_known(ground, lambda: ground.call(ground.token(ground.stranger, ground.scope)))))


def _evapp_at_site(ground: Ground) -> Observation:
    try:
        project = ground.stack.artifacts.find_api("SiteAPI")
    except KeyError as error:
        raise RowSkippedError("needs SiteAPI among the artifacts") from error
    scope = project.api.scopes[0].scope.name
    token = ground.ask_token(ground.evapp, scope, "device_attack").raise_for_status().json()["access_token"]
    return Observation(format_status(ground.call(str(token), find_probe_path(project))))


def _blocked(ground: Ground) -> Observation:
    return _stopped(ground, "BLOCKED")


def _production(ground: Ground) -> Observation:
    return _stopped(ground, "PROD_ONLY_BLOCKED")


def _stopped(ground: Ground, state: str) -> Observation:
    application = ground.belongings.application(f"Stopped{state}", own_api.NAME)
    subscription = ground.belongings.subscription(application, own_api.NAME)
    return _after(ground, application, lambda: ground.belongings.block(subscription, state), SUBSCRIPTION_BLOCKED)


def _unsubscribed(ground: Ground) -> Observation:
    application = ground.belongings.application("Leaving", own_api.NAME)
    leave: Callable[[], None] = lambda: ground.belongings.unsubscribe(application, own_api.NAME)  # noqa: E731
    return _after(ground, application, leave, NOT_SUBSCRIBED)


def _deleted(ground: Ground) -> Observation:
    application = ground.belongings.application("Gone", own_api.NAME)
    return _after(ground, application, lambda: ground.belongings.delete(application), NOT_SUBSCRIBED)


def _no_scope(ground: Ground) -> Observation:
    return Observation(
        format_status(_known(ground, lambda: ground.call(ground.token(ground.reader, "device_without"))))
    )


def _another_scope(ground: Ground) -> Observation:
    others = [scope for scope in ground.energy_scopes if scope != ground.scope]
    return Observation(format_status(_known(ground, lambda: ground.call(ground.token(ground.reader, *others)))))


def _lookalike(ground: Ground) -> Observation:
    scope = ground.scope
    token = ground.token(ground.reader, scope.upper(), f"{scope}:all", scope[:-1], f"device_{scope}")
    return Observation(format_status(_known(ground, lambda: ground.call(token))))


def _after(ground: Ground, application: Application, act: Callable[[], None], wanted: Fault) -> Observation:
    token = ground.settled(application, own_api.SCOPE)
    act()
    answer = ground.until(
        lambda: ground.call(token, own_api.OPEN_PATH), lambda it: it.status_code == wanted.http_status
    )
    return Observation(f"let through, then {format_status(answer)}")


def _known(ground: Ground, call: Callable[[], httpx.Response]) -> httpx.Response:
    # Until its keys have reached the gateway, an application is refused as somebody whom nobody knows.
    return ground.until(call, lambda it: it.status_code == NOT_SUBSCRIBED.http_status, SETTLES_S)
