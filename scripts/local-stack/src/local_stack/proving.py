"""Makes what the controls need on a running stack: an application without subscriptions, and HTTP clients."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
from pydantic import SecretStr

from local_stack.controls import Client, ControlResult, Target, prove
from local_stack.stack import ARTIFACTS, StackPlan
from wso2_provisioning.applications import EVAPP, SUBSCRIBER_ROLE
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import Wso2, ensure_unsubscribed_application
from wso2_provisioning.settings import ProvisioningSettings
from wso2_terms.artifacts import load_artifacts

_STRANGER, _OWNER = "Stranger", "stranger"


def prove_on(plan: StackPlan, clock_file: Path) -> Iterator[ControlResult]:
    """Try the six controls on the running stack."""
    trusted = plan.tls_context()
    with (
        httpx.Client(base_url=plan.management_url, verify=trusted, trust_env=False) as management,
        httpx.Client(base_url=plan.gateway_url, verify=trusted, trust_env=False) as gateway,
    ):
        evapp = Client(_credential(plan, "client_id"), _credential(plan, "client_secret"))
        target = Target(management, gateway, plan.service_url("solar"), clock_file, evapp, _stranger(plan))
        yield from prove(target)


def provisioning_settings(plan: StackPlan) -> ProvisioningSettings:
    """How whoever has all passwords of a stack reaches its gateway and management."""
    return ProvisioningSettings(
        wso2_management_url=plan.management_url,
        wso2_gateway_url=plan.gateway_url,
        wso2_ca_file=plan.ca_file,
        wso2_admin_password=SecretStr(plan.passwords.admin),
        evapp_password=SecretStr(plan.passwords.evapp),
        assistant_password=SecretStr(plan.passwords.assistant),
        operator_password=SecretStr(plan.passwords.operator),
    )


def _stranger(plan: StackPlan) -> Client:
    settings, password = provisioning_settings(plan), SecretStr(secrets.token_urlsafe(18))
    # A user with EVApp's roles, so that it is granted the scopes and lacks nothing but the subscription. EVApp's own
    # owner holds no other application, and is not lent the role for one.
    roles = {SUBSCRIBER_ROLE, *EVAPP.collect_roles(load_artifacts(ARTIFACTS, DEFAULT_BACKENDS))}
    with HttpClient(plan.ca_file) as http:
        wso2 = Wso2(http, settings)
        if wso2.users.user_exists(_OWNER):
            wso2.users.set_password(_OWNER, password)
        else:
            wso2.users.add_user(_OWNER, password, sorted(roles))
        made = ensure_unsubscribed_application(wso2, _STRANGER, _OWNER, password)
    return Client(made.client_id, made.client_secret.get_secret_value())


def _credential(plan: StackPlan, name: str) -> str:
    return (plan.credentials / name).read_text(encoding="utf-8").strip()
