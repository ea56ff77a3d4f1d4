"""Brings one WSO2 to the state that the artifacts describe, or says what that would take.

Puts steps in their order; the steps themselves know how.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from wso2_provisioning import admin, devportal, publisher, steps
from wso2_provisioning.admin import Admin
from wso2_provisioning.applications import EVAPP, SCOPE_PROBE, ApplicationSpec
from wso2_provisioning.changes import Changes
from wso2_provisioning.credentials import Limit, check_folder, is_written, write_credentials
from wso2_provisioning.devportal import DevPortal, Subscription
from wso2_provisioning.errors import CredentialsRefused, ScopesWrong
from wso2_provisioning.proof import prove
from wso2_provisioning.publisher import Publisher
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.steps import PublishedApi
from wso2_provisioning.tokens import ClientCredentials, Token, client_token, password_token, register_client
from wso2_provisioning.users import Users
from wso2_provisioning.wire import Identity, Wire
from wso2_terms.artifacts import Artifacts

ADMIN_SCOPES = admin.SCOPES | publisher.SCOPES | devportal.SCOPES


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    changes: what was changed, or would be in a dry run. credentials: of EVApp, None where a dry run found none.
    proof: what the gateway answered, None in a dry run.
    """

    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    credentials: ClientCredentials | None
    limits: dict[str, Limit]
    proof: str | None


class Wso2:
    """One WSO2 and who may change it. Asks for tokens when they are first needed."""

    def __init__(self, wire: Wire, settings: ProvisioningSettings, *, is_dry_run: bool = False) -> None:
        """Remember where everything is.

        Args:
            wire: how to reach it.
            settings: where it is and who may change it.
            is_dry_run: come with passwords instead of tokens, because to get one a client must be registered.

        Raises:
            ConfigurationError: the administrator's password is not set.
        """
        self.wire = wire
        self.settings = settings
        self._is_dry_run = is_dry_run
        self._admin = Identity.of_password(settings.wso2_admin_username, settings.admin_password())
        self._client: ClientCredentials | None = None
        self._admin_token: Identity | None = None

    @property
    def users(self) -> Users:
        """Users and roles."""
        return Users(self.wire, self.settings.wso2_management_url, self._admin)

    @property
    def admin(self) -> Admin:
        """Throttling policies."""
        return Admin(self.wire, self.settings.wso2_management_url, self._administrator())

    @property
    def publisher(self) -> Publisher:
        """APIs."""
        return Publisher(self.wire, self.settings.wso2_management_url, self._administrator())

    @property
    def admin_portal(self) -> DevPortal:
        """Applications of the administrator."""
        return DevPortal(self.wire, self.settings.wso2_management_url, self._administrator())

    def portal_of(self, user: str, password: SecretStr) -> DevPortal:
        """Return the Developer Portal as a user sees it.

        Raises:
            CredentialsRefused: the password is wrong.
            ScopesWrong: the user may not own applications.
        """
        identity = self._identity(user, password, devportal.SCOPES)
        return DevPortal(self.wire, self.settings.wso2_management_url, identity)

    def token_of(self, application: str, credentials: ClientCredentials, scopes: frozenset[str]) -> Token:
        """Get a token in an application's name, apart from the one that it uses itself."""
        return client_token(self.wire, self.settings.token_url, credentials, application, scopes)

    def _administrator(self) -> Identity:
        if self._admin_token is None:
            name, password = self.settings.wso2_admin_username, self.settings.admin_password()
            self._admin_token = self._identity(name, password, ADMIN_SCOPES)
        return self._admin_token

    def _identity(self, user: str, password: SecretStr, scopes: frozenset[str]) -> Identity:
        if self._is_dry_run:
            return Identity.of_password(user, password)
        if self._client is None:
            self._client = register_client(self.wire, self.settings.wso2_management_url, self._admin)
        token = password_token(self.wire, self.settings.token_url, self._client, user, password, scopes)
        return Identity.of_token(user, token.access_token)


def provision(
    wso2: Wso2,
    artifacts: Artifacts,
    changes: Changes,
    *,
    credentials_dir: Path | None = None,
    rotate_secret: bool = False,
) -> Outcome:
    """Carry out every step; a run that was cut off is simply run again.

    Args:
        wso2: what is provisioned; made for a dry run exactly where `changes` is.
        artifacts: the state it is to have.
        changes: carries changes out, or only notes them.
        credentials_dir: where the agent's files go; None writes none.
        rotate_secret: replace EVApp's secret, and its owner's password where WSO2 knows another one.

    Raises:
        ProvisioningError: a step failed; the message says why and what to do.
        ConfigurationError: a password is not set.
    """
    if credentials_dir is not None and not changes.is_dry_run:
        # First of all: a secret that was rotated and cannot be written down is lost to the agent.
        check_folder(credentials_dir)
    owner_password = wso2.settings.owner_password()
    apis = _govern(wso2, artifacts, changes)
    portal = _owner_portal(wso2, EVAPP, owner_password, artifacts, changes, may_set_password=rotate_secret)
    wanted = [apis[project.api.name] for project in EVAPP.projects(artifacts)]
    keys, held = _application(portal, EVAPP, wanted, changes, rotate_secret=rotate_secret)
    limits = steps.live_limits(wso2.admin, wanted, held)
    token = _check_scopes(wso2, artifacts, keys, changes)
    if credentials_dir is not None:
        _keep_credentials(credentials_dir, keys, limits, changes)
    proof = None if token is None or changes.is_dry_run else _prove(wso2, wanted, held, token, changes)
    return Outcome(tuple(changes.made), tuple(changes.warnings), keys, limits, proof)


def extra_application(
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
    changes = Changes(is_dry_run=False, report=report)
    portal = wso2.portal_of(owner, password)
    application_id = steps.ensure_application(portal, name, "Without subscriptions", changes)
    keys = steps.ensure_keys(portal, application_id, name, changes)
    assert keys is not None
    return keys.credentials


def _govern(wso2: Wso2, artifacts: Artifacts, changes: Changes) -> dict[str, PublishedApi]:
    steps.ensure_policies(wso2.admin, artifacts, changes)
    steps.ensure_roles(wso2.users, artifacts.roles(), changes)
    return steps.ensure_apis(wso2.publisher, artifacts, changes)


def _owner_portal(
    wso2: Wso2,
    spec: ApplicationSpec,
    password: SecretStr,
    artifacts: Artifacts,
    changes: Changes,
    *,
    may_set_password: bool,
) -> DevPortal | None:
    if not steps.ensure_owner(wso2.users, spec.owner, password, spec.roles(artifacts), changes):
        return None
    try:
        portal = wso2.portal_of(spec.owner, password)
        portal.find_application(spec.name)
    except CredentialsRefused as error:
        if not may_set_password:
            raise CredentialsRefused(
                f"user {spec.owner} exists with another password than EVAPP_PASSWORD: set the right one, "
                "or let --rotate-secret set this one"
            ) from error
        changes.make(f"set the password of {spec.owner}", lambda: wso2.users.set_password(spec.owner, password))
        return None if changes.is_dry_run else wso2.portal_of(spec.owner, password)
    return portal


def _application(
    portal: DevPortal | None, spec: ApplicationSpec, apis: list[PublishedApi], changes: Changes, *, rotate_secret: bool
) -> tuple[ClientCredentials | None, dict[str, Subscription]]:
    if portal is None:
        changes.make(f"make application {spec.name} with its subscriptions and keys", lambda: None)
        return None, {}
    application_id = steps.ensure_application(portal, spec.name, spec.description, changes)
    held = steps.ensure_subscriptions(portal, application_id, spec.name, apis, changes)
    keys = steps.ensure_keys(portal, application_id, spec.name, changes, rotate=rotate_secret)
    return (keys.credentials if keys else None), held


def _check_scopes(
    wso2: Wso2, artifacts: Artifacts, credentials: ClientCredentials | None, changes: Changes
) -> Token | None:
    """Compare what is granted with what must be: all to EVApp, nothing to an application of the administrator."""
    wanted, every = EVAPP.scopes(artifacts), frozenset(scope.name for scope in artifacts.scopes())
    portal = wso2.admin_portal
    probe_id = steps.ensure_application(portal, SCOPE_PROBE, "Must be granted no scope of ours", changes)
    probe = steps.ensure_keys(portal, probe_id, SCOPE_PROBE, changes)
    if credentials is None or probe is None or (changes.is_dry_run and changes.made):
        # A dry run that found something to change cannot expect scopes to be right before that is done.
        return None
    token = wso2.token_of(EVAPP.name, credentials, every)
    if missing := wanted - token.scopes:
        raise ScopesWrong(
            f"{EVAPP.name} is not granted {', '.join(sorted(missing))}: see the roles of user {EVAPP.owner} "
            "and the roles that the scopes are bound to"
        )
    if excess := (every - wanted) & token.scopes:
        raise ScopesWrong(
            f"{EVAPP.name} is granted {', '.join(sorted(excess))}, which it must not have: "
            f"take the roles for it from user {EVAPP.owner}"
        )
    probed = wso2.token_of(SCOPE_PROBE, probe.credentials, every)
    if excess := every & probed.scopes:
        raise ScopesWrong(
            f"{SCOPE_PROBE}, whose owner holds none of the roles, is granted {', '.join(sorted(excess))}: "
            "scopes protect nothing; check their roles and restrict.unassigned.scopes in deployment.toml"
        )
    return token


def _keep_credentials(
    folder: Path, credentials: ClientCredentials | None, limits: dict[str, Limit], changes: Changes
) -> None:
    if credentials is None:
        changes.make(f"write credentials to {folder}", lambda: None)
    elif not is_written(folder, credentials, limits):
        changes.make(f"write credentials to {folder}", lambda: write_credentials(folder, credentials, limits))


def _prove(
    wso2: Wso2, apis: list[PublishedApi], held: dict[str, Subscription], token: Token, changes: Changes
) -> str | None:
    unblocked = {name for name, subscription in held.items() if subscription.status == "UNBLOCKED"}
    open_to_it = [api for api in apis if not api.is_blocked and api.project.api.name in unblocked]
    if not open_to_it:
        changes.warn(f"every API is closed to {EVAPP.name}; nothing could be proven")
        return None
    proof = prove(wso2.wire, wso2.settings.wso2_gateway_url, open_to_it[0].project, EVAPP.name, token)
    if proof.backend_failed:
        backend = open_to_it[0].project.api.endpoint_config.production_endpoints.url
        changes.warn(f"{proof.seen}: the gateway lets {EVAPP.name} through, but gets no answer from {backend}")
    return proof.seen
