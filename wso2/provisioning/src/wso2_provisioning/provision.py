"""Order of the provisioning steps: brings one WSO2 to the state that the artifacts describe, or lists the changes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from wso2_provisioning import steps
from wso2_provisioning.application_steps import (
    ProvisionedApplication,
    check_scope_probe,
    check_scopes,
    ensure_application,
)
from wso2_provisioning.applications import APPLICATIONS, EVAPP, SCOPE_PROBE
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.credentials import RequestLimit, check_folder, is_written, write_credentials
from wso2_provisioning.mcp_steps import ensure_mcp_servers
from wso2_provisioning.publisher import UNBLOCKED
from wso2_provisioning.smoke_test import run_smoke_test
from wso2_provisioning.steps import LiveProduct
from wso2_provisioning.tokens import ClientCredentials, Token
from wso2_provisioning.wso2 import ADMIN_SCOPES, SWITCH_SCOPES, Wso2
from wso2_terms.api_project import ApiProject
from wso2_terms.artifacts import Artifacts

__all__ = [
    "ADMIN_SCOPES",
    "SWITCH_SCOPES",
    "ProvisioningResult",
    "Wso2",
    "ensure_unsubscribed_application",
    "provision",
]


@dataclass(frozen=True, slots=True)
class ProvisioningResult:
    """Result of a run."""

    changes: tuple[str, ...]
    """What was changed, or would be in a dry run."""
    warnings: tuple[str, ...]
    credentials: ClientCredentials | None
    """Credentials of EVApp, None if a dry run found none."""
    limits: dict[str, RequestLimit]
    """Limits of EVApp by API and MCP server."""
    proof: str | None
    """Result of the smoke test, None in a dry run."""


def provision(
    wso2: Wso2,
    artifacts: Artifacts,
    changes: ChangeLog,
    *,
    credentials_dir: Path | None = None,
    rotate_secret: bool = False,
) -> ProvisioningResult:
    """Carry out every step; an interrupted run can be repeated.

    Args:
        wso2: WSO2 to provision; for a dry run exactly if `changes` is.
        artifacts: the required state.
        changes: carries changes out, or only logs them.
        credentials_dir: folder of the agent's files; None writes none.
        rotate_secret: replace EVApp's secret, and owners' passwords if WSO2 has other ones.

    Raises:
        ProvisioningError: a step failed; the message contains the reason and what to do.
        ConfigurationError: a password is not set.
    """
    if credentials_dir is not None and not changes.is_dry_run:
        # First: a rotated secret that cannot be written is lost to the agent.
        check_folder(credentials_dir)
    wso2.settings.require_evapp_password()
    steps.revoke_lent_roles(wso2.users, APPLICATIONS, changes)
    steps.ensure_policies(wso2.admin, artifacts, changes)
    steps.ensure_roles(wso2.users, artifacts.list_roles(), changes)
    apis = steps.ensure_apis(wso2.publisher, artifacts, changes)
    published = apis | ensure_mcp_servers(wso2.mcp_servers, artifacts, apis, changes)
    provisioned = _ensure_applications(wso2, artifacts, published, changes, rotate_secret=rotate_secret)
    agents = provisioned[0]
    limits = steps.compute_limits(wso2.admin, agents.products, agents.subscriptions, agents.policy)
    token = _check_scopes(wso2, artifacts, provisioned, changes)
    if credentials_dir is not None:
        _ensure_credentials_file(credentials_dir, agents.credentials, limits, changes)
    proof = None if token is None or changes.is_dry_run else _run_smoke_test(wso2, agents, token, changes)
    return ProvisioningResult(tuple(changes.entries), tuple(changes.warnings), agents.credentials, limits, proof)


def ensure_unsubscribed_application(
    wso2: Wso2, name: str, owner: str, password: SecretStr, *, report: Callable[[str], None] = lambda _: None
) -> ClientCredentials:
    """Create an application with keys and without subscriptions, or find the existing one.

    Args:
        wso2: management APIs.
        name: of the application.
        owner: an existing user who may own applications; scopes follow from their roles.
        password: of the owner.
        report: called with each change.
    """
    changes = ChangeLog(is_dry_run=False, report=report)
    portal = wso2.open_portal(owner, password)
    application_id = steps.ensure_application(portal, name, "Without subscriptions", changes)
    keys = steps.ensure_keys(portal, application_id, name, changes)
    assert keys is not None
    return keys.credentials


def _ensure_applications(
    wso2: Wso2, artifacts: Artifacts, published: dict[str, LiveProduct], changes: ChangeLog, *, rotate_secret: bool
) -> list[ProvisionedApplication]:
    """Ensure each application whose owner's password is set; EVApp's always is."""
    provisioned: list[ProvisionedApplication] = []
    for spec in APPLICATIONS:
        password = wso2.settings.find_owner_password(spec)
        if password is None:
            changes.report(f"{spec.name} is omitted: {spec.password_variable} is not set")
            continue
        # Only EVApp has its secret in a file that this run can replace as well.
        rotate = rotate_secret and spec is EVAPP
        provisioned.append(
            ensure_application(
                wso2,
                spec,
                password,
                artifacts,
                published,
                changes,
                may_set_password=rotate_secret,
                rotate_secret=rotate,
            )
        )
    return provisioned


def _check_scopes(
    wso2: Wso2, artifacts: Artifacts, provisioned: list[ProvisionedApplication], changes: ChangeLog
) -> Token | None:
    """Check the scopes of every application, and that an application of the administrator is granted none."""
    portal = wso2.admin_portal
    probe_id = steps.ensure_application(portal, SCOPE_PROBE, "Must be granted no scope of ours", changes)
    probe = steps.ensure_keys(portal, probe_id, SCOPE_PROBE, changes)
    if probe is None or any(one.credentials is None for one in provisioned) or (changes.is_dry_run and changes.entries):
        # Scopes can be wrong until the changes that a dry run found are made.
        return None
    # The probe first: if it is granted a scope, scopes protect nothing.
    check_scope_probe(wso2, artifacts, probe.credentials)
    tokens = [check_scopes(wso2, artifacts, one) for one in provisioned]
    return tokens[0]


def _ensure_credentials_file(
    folder: Path, credentials: ClientCredentials | None, limits: dict[str, RequestLimit], changes: ChangeLog
) -> None:
    if credentials is None:
        changes.apply(f"write credentials to {folder}", lambda: None)
    elif not is_written(folder, credentials, limits):
        changes.apply(f"write credentials to {folder}", lambda: write_credentials(folder, credentials, limits))


def _run_smoke_test(wso2: Wso2, agents: ProvisionedApplication, token: Token, changes: ChangeLog) -> str | None:
    unblocked = {name for name, subscription in agents.subscriptions.items() if subscription.status == UNBLOCKED}
    open_to_it = [
        one.project
        for one in agents.products
        if isinstance(one.project, ApiProject) and not one.is_blocked and one.name in unblocked
    ]
    if not open_to_it:
        changes.warn(f"every API is closed to {EVAPP.name}; no smoke test is possible")
        return None
    proof = run_smoke_test(wso2.http, wso2.settings.wso2_gateway_url, open_to_it[0], EVAPP.name, token)
    if proof.backend_failed:
        backend = open_to_it[0].api.endpoint_config.production_endpoints.url
        changes.warn(f"{proof.summary}: the gateway lets {EVAPP.name} through, but gets no reading from {backend}")
    return proof.summary
