"""Six controls: what the gateway and the services refuse, expected and observed.

They use their own application without subscriptions and their own tokens, so that the agent's token is not revoked;
only the over-the-limit control uses calls of EVApp's budget.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from pydantic import SecretStr

from ev_service.clock import FollowedClock, write_clock_file
from local_stack.stack import ARTIFACTS, StackPlan
from wso2_provisioning.applications import EVAPP, SUBSCRIBER_ROLE
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import Wso2, ensure_unsubscribed_application
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.verification.formatting import format_status
from wso2_provisioning.verification.refusal_rows import forge_signature
from wso2_terms import codes
from wso2_terms.artifacts import load_artifacts

PATH = "/solar/1.0.0/solar-status"
LIMIT = 10
_LEAST_LEFT_S = 10.0
_UNSUBSCRIBED_APPLICATION, _UNSUBSCRIBED_OWNER = "Stranger", "stranger"


@dataclass(frozen=True, slots=True)
class ControlResult:
    """The expected and the observed effect of one control."""

    name: str
    """What was tried."""

    expected: str
    """Status and code if the control works."""

    observed: str
    """Status and code of the response."""

    @property
    def holds(self) -> bool:
        return self.expected == self.observed


@dataclass(frozen=True, slots=True)
class Client:
    """Key and secret of an application."""

    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class Target:
    """The stack on which the controls are tried, and the applications that call it."""

    management: httpx.Client
    """Client of the management APIs and the token endpoint."""

    gateway: httpx.Client
    """Client of the gateway."""

    service_url: str
    """Base URL of the solar service, without the gateway."""

    clock_file: Path
    """The run's clock, by which the gateway counts calls."""

    evapp: Client
    """Keys of EVApp, which is subscribed."""

    unsubscribed: Client
    """Keys of an application without subscriptions."""


def prove_controls(plan: StackPlan, clock_file: Path) -> Iterator[ControlResult]:
    """Try the six controls on the running stack."""
    trusted = plan.tls_context()
    with (
        httpx.Client(base_url=plan.management_url, verify=trusted, trust_env=False) as management,
        httpx.Client(base_url=plan.gateway_url, verify=trusted, trust_env=False) as gateway,
    ):
        evapp = Client(_read_credential(plan, "client_id"), _read_credential(plan, "client_secret"))
        target = Target(
            management, gateway, plan.service_url("solar"), clock_file, evapp, _create_unsubscribed_client(plan)
        )
        yield from _try_controls(target)


def _try_controls(target: Target) -> Iterator[ControlResult]:
    token = _request_token(target, target.evapp, "solar:read device_controls")
    no_scope = _request_token(target, target.evapp, "device_controls")
    unsubscribed = _request_token(target, target.unsubscribed, "solar:read")
    yield _expect_fault("no token", codes.MISSING_CREDENTIALS, target.gateway.get(PATH))
    yield _expect_fault(
        "forged token", codes.INVALID_CREDENTIALS, _call(target, forge_signature(SecretStr(token)).get_secret_value())
    )
    yield _expect_fault("token without the scope", codes.SCOPE_MISSING, _call(target, no_scope))
    yield _expect_fault("application not subscribed", codes.NOT_SUBSCRIBED, _call(target, unsubscribed))
    yield _exceed_limit(target, token)
    direct = httpx.get(f"{target.service_url}/solar-status", timeout=5, trust_env=False)
    yield ControlResult("direct call past the gateway", "401 assertion_refused", format_status(direct))


def _exceed_limit(target: Target, token: str) -> ControlResult:
    # The gateway counts by clock minute: a burst that crosses a minute would get twice the limit.
    now = FollowedClock(target.clock_file).now()
    if 60 - now.second < _LEAST_LEFT_S:
        write_clock_file(target.clock_file, now.replace(second=0, microsecond=0) + timedelta(minutes=1))
    responses = [_call(target, token) for _ in range(LIMIT + 1)]
    last, passed = responses[-1], sum(response.status_code == 200 for response in responses)
    fault = codes.SUBSCRIPTION_THROTTLED
    expected = f"{fault.http_status} {fault.code}, at most {LIMIT} passed"
    amount = f"at most {LIMIT}" if passed <= LIMIT else str(passed)
    return ControlResult(f"{LIMIT + 1} calls in one minute", expected, f"{format_status(last)}, {amount} passed")


def _expect_fault(name: str, fault: codes.Fault, response: httpx.Response) -> ControlResult:
    return ControlResult(name, f"{fault.http_status} {fault.code}", format_status(response))


def _call(target: Target, token: str) -> httpx.Response:
    return target.gateway.get(PATH, headers={"Authorization": f"Bearer {token}"})


def _request_token(target: Target, client: Client, scope: str) -> str:
    response = target.management.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "scope": scope},
        auth=(client.client_id, client.client_secret),
    )
    return str(response.raise_for_status().json()["access_token"])


def build_provisioning_settings(plan: StackPlan) -> ProvisioningSettings:
    """Return the settings of provisioning commands for a stack, with all its passwords."""
    return ProvisioningSettings(
        wso2_management_url=plan.management_url,
        wso2_gateway_url=plan.gateway_url,
        wso2_ca_file=plan.ca_file,
        wso2_admin_password=SecretStr(plan.passwords.admin),
        evapp_password=SecretStr(plan.passwords.evapp),
        assistant_password=SecretStr(plan.passwords.assistant),
        operator_password=SecretStr(plan.passwords.operator),
    )


def _create_unsubscribed_client(plan: StackPlan) -> Client:
    settings, password = build_provisioning_settings(plan), SecretStr(secrets.token_urlsafe(18))
    # The owner has EVApp's roles, so that the scopes are granted and only the subscription is missing. EVApp's own
    # owner owns no other application and is not granted the subscriber role for one.
    roles = {SUBSCRIBER_ROLE, *EVAPP.collect_roles(load_artifacts(ARTIFACTS, DEFAULT_BACKENDS))}
    with HttpClient(plan.ca_file) as http:
        wso2 = Wso2(http, settings)
        if wso2.users.user_exists(_UNSUBSCRIBED_OWNER):
            wso2.users.set_password(_UNSUBSCRIBED_OWNER, password)
        else:
            wso2.users.add_user(_UNSUBSCRIBED_OWNER, password, sorted(roles))
        application = ensure_unsubscribed_application(wso2, _UNSUBSCRIBED_APPLICATION, _UNSUBSCRIBED_OWNER, password)
    return Client(application.client_id, application.client_secret.get_secret_value())


def _read_credential(plan: StackPlan, name: str) -> str:
    return (plan.credentials / name).read_text(encoding="utf-8").strip()
