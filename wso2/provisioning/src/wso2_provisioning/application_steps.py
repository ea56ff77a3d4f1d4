"""Bootstrap steps for one application: owner, subscriptions, keys, and the scopes that its token is granted."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from wso2_provisioning import steps
from wso2_provisioning.admin import DenyTarget
from wso2_provisioning.applications import PORTAL_SCOPES, SCOPE_PROBE, ApplicationSpec
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.devportal import Subscription
from wso2_provisioning.errors import CredentialsRefusedError, ScopeMismatchError
from wso2_provisioning.owner_applications import OwnerPortal
from wso2_provisioning.steps import LiveProduct
from wso2_provisioning.tokens import ClientCredentials, Token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class ProvisionedApplication:
    """An application as it is now in WSO2."""

    spec: ApplicationSpec
    products: tuple[LiveProduct, ...]
    """APIs and MCP servers that it needs."""
    subscriptions: Mapping[str, Subscription]
    """Its subscriptions to them, by name."""
    credentials: ClientCredentials | None
    """None if a dry run found none."""
    policy: str | None
    """Policy that limits it at all products together; None if a dry run found no application."""


def ensure_application(
    wso2: Wso2,
    spec: ApplicationSpec,
    password: SecretStr,
    artifacts: Artifacts,
    published: Mapping[str, LiveProduct],
    changes: ChangeLog,
    *,
    may_set_password: bool,
    rotate_secret: bool,
) -> ProvisionedApplication:
    """Create or complete an application with its owner, subscriptions and keys.

    Args:
        wso2: the WSO2 to change.
        spec: the application.
        password: of the owner.
        artifacts: define its roles.
        published: APIs and MCP servers by name.
        changes: carries changes out.
        may_set_password: set this password if WSO2 has another one.
        rotate_secret: replace an existing secret.

    Raises:
        CredentialsRefusedError: the owner has another password.
        ProvisioningError: a step failed.
    """
    products = tuple(published[name] for name in spec.products)
    is_there = _ensure_usable_owner(wso2, spec, password, artifacts, changes, may_set_password=may_set_password)
    if not is_there:
        changes.apply(f"make application {spec.name} with its subscriptions and keys", lambda: None)
        return ProvisionedApplication(spec, products, {}, None, None)
    ids = [one.product_id for one in products if one.product_id is not None]
    due = changes
    if wso2.admin.find_active_deny_policy(DenyTarget.for_owner(spec.owner)) is not None:
        changes.warn(f"{spec.owner} is denied at the gateway, so {spec.name} is not changed")
        due = ChangeLog(is_dry_run=True, report=lambda _: None)
    with OwnerPortal(wso2, spec, password, ids, due) as portal:
        application_id = steps.ensure_application(portal, spec.name, spec.description, due)
        held = steps.ensure_subscriptions(portal, application_id, spec.name, products, due)
        keys = steps.ensure_keys(portal, application_id, spec.name, due, rotate=rotate_secret)
    policy = None if application_id is None else portal.get_application_policy(application_id)
    _warn_of_other_applications(wso2, spec, changes)
    return ProvisionedApplication(spec, products, held, keys.credentials if keys else None, policy)


def _ensure_usable_owner(
    wso2: Wso2,
    spec: ApplicationSpec,
    password: SecretStr,
    artifacts: Artifacts,
    changes: ChangeLog,
    *,
    may_set_password: bool,
) -> bool:
    users = wso2.users
    if not steps.ensure_owner(users, spec.owner, password, spec.collect_roles(artifacts), changes):
        return False
    if users.authenticates(spec.owner, password):
        return True
    if not may_set_password:
        raise CredentialsRefusedError(
            f"user {spec.owner} exists with another password than {spec.password_variable}: set the right one, "
            "or let --rotate-secret set this one"
        )
    changes.apply(f"set the password of {spec.owner}", lambda: users.set_password(spec.owner, password))
    return not changes.is_dry_run


def _warn_of_other_applications(wso2: Wso2, spec: ApplicationSpec, changes: ChangeLog) -> None:
    others = sorted(one.name for one in wso2.admin.list_applications(spec.owner) if one.name != spec.name)
    if others:
        changes.warn(
            f"{spec.owner} owns {', '.join(others)} in addition to {spec.name}, which no artifact describes: "
            "make revive ARGS=--remove removes them"
        )


def check_scopes(wso2: Wso2, artifacts: Artifacts, application: ProvisionedApplication) -> Token:
    """Check that an application is granted exactly its scopes, and return the token.

    Raises:
        ScopeMismatchError: it is granted fewer or more.
        CredentialsRefusedError: its secret is wrong.
    """
    spec, every = application.spec, frozenset(scope.name for scope in artifacts.list_scopes())
    wanted = spec.collect_scopes(artifacts)
    unwanted = (every - wanted) | (frozenset[str]() if spec.keeps_portal else PORTAL_SCOPES)
    assert application.credentials is not None
    token = wso2.request_token(spec.name, application.credentials, wanted | unwanted)
    if missing := wanted - token.scopes:
        raise ScopeMismatchError(
            f"{spec.name} is not granted {', '.join(sorted(missing))}: see the roles of user {spec.owner} "
            "and the roles that the scopes are bound to"
        )
    if excess := unwanted & token.scopes:
        raise ScopeMismatchError(
            f"{spec.name} is granted {', '.join(sorted(excess))}, which it must not have: "
            f"take the roles for it from user {spec.owner}"
        )
    return token


def check_scope_probe(wso2: Wso2, artifacts: Artifacts, probe: ClientCredentials) -> None:
    """Check that an application whose owner has none of the roles is granted none of the scopes.

    Raises:
        ScopeMismatchError: it is granted one.
    """
    every = frozenset(scope.name for scope in artifacts.list_scopes())
    if excess := every & wso2.request_token(SCOPE_PROBE, probe, every).scopes:
        raise ScopeMismatchError(
            f"{SCOPE_PROBE}, whose owner holds none of the roles, is granted {', '.join(sorted(excess))}: "
            "scopes protect nothing; check their roles and restrict.unassigned.scopes in deployment.toml"
        )
