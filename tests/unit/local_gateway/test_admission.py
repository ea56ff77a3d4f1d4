"""Admission: every reason to reject a call, and an admitted call."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from local_gateway.gateway.admission import Credentials, authorize, check_deny_policies
from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.routing import RouteMatch, Router
from local_gateway.gateway.routing_model import Principal, Snapshot
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.state import DenyPolicy, GatewayState
from local_gateway.tokens import AccessToken
from wso2_terms.codes import (
    DENIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    NOT_SUBSCRIBED,
    SCOPE_MISSING,
    SUBSCRIPTION_BLOCKED,
)

TOKEN = AccessToken("jti-1", "key-EVApp", "evapp", frozenset({"solar:read"}), 0.0, {})


def live(token: AccessToken = TOKEN) -> Credentials:
    return Credentials(is_present=True, token=token, is_live=True)


def match_in(snapshot: Snapshot) -> RouteMatch:
    found = Router(snapshot.apis).find("GET", "/solar/1.0.0/solar-status")
    assert isinstance(found, RouteMatch)
    return found


def decide(state: GatewayState, credentials: Credentials) -> Principal | Rejection:
    snapshot = take_snapshot(state)
    match = match_in(snapshot)
    return authorize(match.product, match.resource, credentials, snapshot)


def reject(state: GatewayState, credentials: Credentials) -> Rejection:
    verdict = decide(state, credentials)
    assert isinstance(verdict, Rejection)
    return verdict


def test_a_subscribed_application_with_the_scope_passes(state: GatewayState) -> None:
    verdict = decide(state, live())

    assert isinstance(verdict, Principal)
    assert verdict.subscriber is not None
    assert verdict.subscriber.application.name == "EVApp"


def test_a_missing_and_an_invalid_token_have_different_faults(state: GatewayState) -> None:
    assert reject(state, Credentials(is_present=False)).fault is MISSING_CREDENTIALS
    assert reject(state, Credentials(is_present=True)).fault is INVALID_CREDENTIALS


def test_an_expired_and_a_revoked_token_share_the_code_but_not_the_description(state: GatewayState) -> None:
    expired = reject(state, Credentials(True, TOKEN, False, is_revoked=False)).fault
    revoked = reject(state, Credentials(True, TOKEN, False, is_revoked=True)).fault

    assert expired is INVALID_CREDENTIALS
    assert revoked.code == expired.code
    assert revoked.description.startswith("Invalid JWT token.")


def test_a_missing_subscription_is_reported_before_missing_scopes(state: GatewayState) -> None:
    stranger = replace(TOKEN, client_id="key-Stranger", scopes=frozenset[str]())

    assert reject(state, live(stranger)).fault is NOT_SUBSCRIBED


def test_an_unknown_client_is_not_subscribed(state: GatewayState) -> None:
    assert reject(state, live(replace(TOKEN, client_id="gone"))).fault is NOT_SUBSCRIBED


def test_a_missing_scope_is_rejected_with_the_name_of_the_resource(state: GatewayState) -> None:
    refusal = reject(state, live(replace(TOKEN, scopes=frozenset({"default"}))))

    assert refusal.fault is SCOPE_MISSING
    assert refusal.details == {"resource": "/solar-status"}


@pytest.mark.parametrize(
    ("status", "key_type", "passes"),
    [
        ("BLOCKED", "PRODUCTION", False),
        ("BLOCKED", "SANDBOX", False),
        ("PROD_ONLY_BLOCKED", "PRODUCTION", False),
        ("PROD_ONLY_BLOCKED", "SANDBOX", True),
    ],
)
def test_a_blocked_subscription_refuses_the_keys_that_it_names(
    state: GatewayState, status: Any, key_type: Any, passes: bool
) -> None:
    state.subscriptions["sub-1"].status = status
    state.clients["key-EVApp"].key_type = key_type

    verdict = decide(state, live())

    assert isinstance(verdict, Principal) is passes
    assert passes or (isinstance(verdict, Rejection) and verdict.fault is SUBSCRIPTION_BLOCKED)


def test_a_resource_without_security_needs_no_token(
    state: GatewayState, describe: Callable[..., dict[str, Any]]
) -> None:
    opened = describe(operations=[{"target": "/solar-status", "verb": "GET", "authType": "None"}])
    state.apis["api-1"].revisions[0].data = opened

    assert isinstance(decide(state, Credentials(is_present=False)), Principal)


@pytest.mark.parametrize(
    ("kind", "value", "address", "is_denied"),
    [
        ("APPLICATION", "evapp:EVApp", "", True),
        ("APPLICATION", "admin:EVApp", "", False),
        ("API", "/solar/1.0.0", "", True),
        ("API", "/grid/1.0.0", "", False),
        ("USER", "evapp@carbon.super", "", True),
        ("IP", {"fixedIp": "10.0.0.1", "invert": False}, "10.0.0.1", True),
        ("IP", {"fixedIp": "10.0.0.1", "invert": False}, "10.0.0.2", False),
        ("IP", {"fixedIp": "10.0.0.1", "invert": True}, "10.0.0.2", True),
        ("IP", {"fixedIp": "10.0.0.1", "invert": False}, "unknown", False),
        ("IPRANGE", {"startingIp": "10.0.0.1", "endingIp": "10.0.0.9", "invert": False}, "10.0.0.9", True),
        ("IPRANGE", {"startingIp": "10.0.0.1", "endingIp": "10.0.0.9", "invert": False}, "10.0.0.10", False),
        ("IPRANGE", {"startingIp": "10.0.0.1", "endingIp": "10.0.0.9", "invert": False}, "::1", False),
    ],
)
def test_deny_policies_reject_matching_calls(
    state: GatewayState, kind: str, value: Any, address: str, is_denied: bool
) -> None:
    state.deny_policies["d"] = DenyPolicy(condition_id="d", condition_type=kind, condition_value=value)
    snapshot = take_snapshot(state)
    match = match_in(snapshot)
    verdict = authorize(match.product, match.resource, live(), snapshot)
    assert isinstance(verdict, Principal)

    refusal = check_deny_policies(match.product, verdict, address, snapshot)

    assert (refusal is not None) is is_denied
    assert refusal is None or refusal.fault is DENIED


def test_a_disabled_deny_policy_rejects_no_call(state: GatewayState) -> None:
    state.deny_policies["d"] = DenyPolicy(
        condition_id="d", condition_type="API", condition_value="/solar/1.0.0", is_enabled=False
    )
    snapshot = take_snapshot(state)
    match = match_in(snapshot)

    assert check_deny_policies(match.product, Principal(None, None), "", snapshot) is None
