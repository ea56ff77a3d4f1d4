"""Brings one WSO2 to the state that the artifacts describe, or says what that would take.

Puts steps in their order; the steps themselves know how.
"""

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
    """How a run ended.

    changes: what was changed, or would be in a dry run. credentials: of EVApp, None where a dry run found none.
    proof: what the gateway answered, None in a dry run.
    """

    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    credentials: ClientCredentials | None
    limits: dict[str, RequestLimit]
    proof: str | None


def provision(
    wso2: Wso2,
    artifacts: Artifacts,
    changes: ChangeLog,
    *,
    credentials_dir: Path | None = None,
    rotate_secret: bool = False,
) -> ProvisioningResult:
    """Carry out every step; a run that was cut off is simply run again.

    Args:
        wso2: what is provisioned; made for a dry run exactly where `changes` is.
        artifacts: the state it is to have.
        changes: carries changes out, or only notes them.
        credentials_dir: where the agent's files go; None writes none.
        rotate_secret: replace EVApp's secret, and owners' passwords where WSO2 knows other ones.

    Raises:
        ProvisioningError: a step failed; the message says why and what to do.
        ConfigurationError: a password is not set.
    """
    if credentials_dir is not None and not changes.is_dry_run:
        # First of all: a secret that was rotated and cannot be written down is lost to the agent.
        check_folder(credentials_dir)
    wso2.settings.require_evapp_password()
    steps.revoke_lent_roles(wso2.users, APPLICATIONS, changes)
    published = _ensure_products(wso2, artifacts, changes)
    made = _ensure_applications(wso2, artifacts, published, changes, rotate_secret=rotate_secret)
    agents = made[0]
    limits = steps.compute_limits(wso2.admin, agents.products, agents.subscriptions, agents.policy)
    token = _check_scopes(wso2, artifacts, made, changes)
    if credentials_dir is not None:
        _ensure_credentials_file(credentials_dir, agents.credentials, limits, changes)
    proof = None if token is None or changes.is_dry_run else _run_smoke_test(wso2, agents, token, changes)
    return ProvisioningResult(tuple(changes.entries), tuple(changes.warnings), agents.credentials, limits, proof)


def ensure_unsubscribed_application(
    wso2: Wso2, name: str, owner: str, password: SecretStr, *, report: Callable[[str], None] = lambda _: None
) -> ClientCredentials:
    """Make an application with keys and without any subscription, or find the one of an earlier run.

    Args:
        wso2: where.
        name: of the application.
        owner: an existing user who may own applications; scopes follow from their roles.
        password: the owner's.
        report: told what is changed.
    """
    changes = ChangeLog(is_dry_run=False, report=report)
    portal = wso2.open_portal(owner, password)
    application_id = steps.ensure_application(portal, name, "Without subscriptions", changes)
    keys = steps.ensure_keys(portal, application_id, name, changes)
    assert keys is not None
    return keys.credentials


def _ensure_products(wso2: Wso2, artifacts: Artifacts, changes: ChangeLog) -> dict[str, LiveProduct]:
    steps.ensure_policies(wso2.admin, artifacts, changes)
    steps.ensure_roles(wso2.users, artifacts.list_roles(), changes)
    apis = steps.ensure_apis(wso2.publisher, artifacts, changes)
    return apis | ensure_mcp_servers(wso2.mcp_servers, artifacts, apis, changes)


def _ensure_applications(
    wso2: Wso2, artifacts: Artifacts, published: dict[str, LiveProduct], changes: ChangeLog, *, rotate_secret: bool
) -> list[ProvisionedApplication]:
    """Make each application whose owner's password is set; that of EVApp is."""
    made: list[ProvisionedApplication] = []
    for spec in APPLICATIONS:
        password = wso2.settings.find_owner_password(spec)
        if password is None:
            changes.report(f"{spec.name} is left out: {spec.password_variable} is not set")
            continue
        # Nobody but EVApp has its secret in a file that this run could replace, too.
        rotate = rotate_secret and spec is EVAPP
        made.append(
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
    return made


def _check_scopes(
    wso2: Wso2, artifacts: Artifacts, made: list[ProvisionedApplication], changes: ChangeLog
) -> Token | None:
    """Compare what is granted with what must be: to each its own, nothing to an application of the administrator."""
    portal = wso2.admin_portal
    probe_id = steps.ensure_application(portal, SCOPE_PROBE, "Must be granted no scope of ours", changes)
    probe = steps.ensure_keys(portal, probe_id, SCOPE_PROBE, changes)
    if probe is None or any(one.credentials is None for one in made) or (changes.is_dry_run and changes.entries):
        # A dry run that found something to change cannot expect scopes to be right before that is done.
        return None
    # The probe first: where it is granted something, nobody's scopes mean anything.
    check_scope_probe(wso2, artifacts, probe.credentials)
    tokens = [check_scopes(wso2, artifacts, one) for one in made]
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
        changes.warn(f"every API is closed to {EVAPP.name}; nothing could be proven")
        return None
    proof = run_smoke_test(wso2.http, wso2.settings.wso2_gateway_url, open_to_it[0], EVAPP.name, token)
    if proof.backend_failed:
        backend = open_to_it[0].api.endpoint_config.production_endpoints.url
        changes.warn(f"{proof.summary}: the gateway lets {EVAPP.name} through, but gets no reading from {backend}")
    return proof.summary
