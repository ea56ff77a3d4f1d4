"""Applications of one owner: created and changed with a role that is granted for the change, and their keys.

The portal role would let the owner's own key obtain scopes that undo a kill. So it is granted for due changes only and
revoked afterwards; see docs/decisions/0033. Reading uses the administrator's rights.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol

from pydantic import SecretStr

from wso2_provisioning.applications import SUBSCRIBER_ROLE, ApplicationSpec
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.devportal import ApplicationExport, ApplicationKeys, DevPortal, Subscription
from wso2_provisioning.errors import CredentialsRefusedError, ProvisioningError, RequestRefusedError, ScopeMismatchError
from wso2_provisioning.tokens import ClientCredentials, Token, request_exact_token
from wso2_provisioning.wso2 import PortalSession, Wso2
from wso2_terms.artifacts import Artifacts


class ApplicationPortal(Protocol):
    """Operations on the applications of one owner."""

    def find_application(self, name: str) -> str | None: ...
    def get_application_policy(self, application_id: str) -> str: ...
    def create_application(self, name: str, description: str) -> str: ...
    def list_subscriptions(self, application_id: str) -> list[Subscription]: ...
    def subscribe(self, application_id: str, api_id: str, plan: str) -> None: ...
    def change_plan(self, application_id: str, subscription: Subscription, plan: str) -> None: ...
    def find_keys(self, application_id: str) -> ApplicationKeys | None: ...
    def generate_keys(self, application_id: str) -> ApplicationKeys: ...
    def rotate_secret(self, application_id: str, keys: ApplicationKeys) -> ApplicationKeys: ...


class OwnerPortal:
    """The applications of one owner.

    On leaving the context the role is revoked from the owner, and the owner's token is revoked.

    Args:
        wso2: management APIs.
        spec: application of the owner.
        password: of the owner.
        product_ids: APIs and MCP servers to read in addition to those in WSO2's search index, which lags.
        changes: reports granting and revoking the role.
    """

    def __init__(
        self, wso2: Wso2, spec: ApplicationSpec, password: SecretStr, product_ids: Iterable[str], changes: ChangeLog
    ) -> None:
        self._wso2 = wso2
        self._spec = spec
        self._password = password
        self._product_ids = frozenset(product_ids)
        self._changes = changes
        self._session: PortalSession | None = None
        self._is_role_granted = False

    def __enter__(self) -> "OwnerPortal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        owner, users = self._spec.owner, self._wso2.users
        # The role first: afterwards no key of the owner can use the portal.
        if self._is_role_granted:
            users.revoke_role(owner, SUBSCRIBER_ROLE)
            self._is_role_granted = False
            self._changes.report(f"took {SUBSCRIBER_ROLE} back from {owner}")
        if self._session is not None:
            self._session.end()
            self._session = None

    def find_application(self, name: str) -> str | None:
        """Return the id of the owner's application of that name."""
        found = self._wso2.admin.list_applications(self._spec.owner)
        return next((one.application_id for one in found if one.name == name), None)

    def get_application_policy(self, application_id: str) -> str:
        """Return the name of the policy that limits an application at all APIs together."""
        return self._export(application_id).policy

    def list_subscriptions(self, application_id: str) -> list[Subscription]:
        """Return the application's subscriptions, also those that it does not need."""
        if self._session is not None:
            return self._session.portal.list_subscriptions(application_id)
        publisher = self._wso2.publisher
        ids = self._product_ids | publisher.list_names().keys() | self._wso2.mcp_servers.list_names().keys()
        return [
            Subscription(held.subscription_id, product_id, held.plan, held.status)
            for product_id in sorted(ids)
            for held in publisher.list_subscriptions(product_id)
            if held.application_id == application_id
        ]

    def find_keys(self, application_id: str) -> ApplicationKeys | None:
        """Return the application's keys, secret included, None before they are generated."""
        return self._export(application_id).keys

    def create_application(self, name: str, description: str) -> str:
        """Create an application and return its id."""
        return self._open_portal().create_application(name, description)

    def subscribe(self, application_id: str, api_id: str, plan: str) -> None:
        """Subscribe an application to an API or MCP server."""
        self._open_portal().subscribe(application_id, api_id, plan)

    def change_plan(self, application_id: str, subscription: Subscription, plan: str) -> None:
        """Change the plan of a subscription."""
        self._open_portal().change_plan(application_id, subscription, plan)

    def generate_keys(self, application_id: str) -> ApplicationKeys:
        """Generate the application's keys."""
        return self._open_portal().generate_keys(application_id)

    def rotate_secret(self, application_id: str, keys: ApplicationKeys) -> ApplicationKeys:
        """Replace the application's secret."""
        portal = self._open_portal()
        # An export may lack the portal's id of the keys.
        return portal.rotate_secret(application_id, portal.find_keys(application_id) or keys)

    def _export(self, application_id: str) -> ApplicationExport:
        owner = self._spec.owner
        for one in self._wso2.admin.list_applications(owner):
            if one.application_id == application_id:
                return self._wso2.admin_portal.export_application(owner, one.name)
        raise RequestRefusedError(f"{owner} has no application {application_id}", status=404)

    def _open_portal(self) -> DevPortal:
        if self._session is None:
            if not self._spec.keeps_portal:
                # Set before the call: an interrupted call may have granted the role, which must then be revoked.
                self._is_role_granted = True
                self._changes.report(f"lend {self._spec.owner} {SUBSCRIBER_ROLE} for changes in the Developer Portal")
                self._wso2.users.grant_roles(self._spec.owner, {SUBSCRIBER_ROLE})
            self._session = self._wso2.open_session(self._spec.owner, self._password)
        return self._session.portal


def read_credentials(wso2: Wso2, spec: ApplicationSpec) -> ClientCredentials:
    """Return an application's credentials, which requires the owner's password.

    Raises:
        ProvisioningError: the password is not set or wrong, or the bootstrap did not create the application.
    """
    password = wso2.settings.find_owner_password(spec)
    if password is None:
        raise ProvisioningError(f"{spec.password_variable} is not set: it proves who may act as {spec.name}")
    if not spec.keeps_portal:
        if not wso2.users.authenticates(spec.owner, password):
            raise CredentialsRefusedError(f"WSO2 does not accept {spec.owner}: check {spec.password_variable}")
        return export_credentials(wso2, spec)
    portal = wso2.open_portal(spec.owner, password)
    application_id = portal.find_application(spec.name)
    keys = None if application_id is None else portal.find_keys(application_id)
    if keys is None:
        raise _build_missing_error(spec)
    return keys.credentials


def export_application(wso2: Wso2, spec: ApplicationSpec) -> ApplicationExport:
    """Export an application as the administrator.

    Raises:
        ProvisioningError: the bootstrap did not create it, or it was renamed.
    """
    try:
        return wso2.admin_portal.export_application(spec.owner, spec.name)
    except RequestRefusedError as error:
        if error.status != 404:
            raise
        raise _build_missing_error(spec) from error


def export_credentials(wso2: Wso2, spec: ApplicationSpec) -> ClientCredentials:
    """Return an application's credentials, read as the administrator.

    Raises:
        ProvisioningError: there is no such application, or it has no key.
    """
    keys = export_application(wso2, spec).keys
    if keys is None:
        raise _build_missing_error(spec)
    return keys.credentials


def _build_missing_error(spec: ApplicationSpec) -> ProvisioningError:
    return ProvisioningError(f"there is no application {spec.name} with a key: run the bootstrap with its password")


def request_application_token(
    wso2: Wso2, artifacts: Artifacts, spec: ApplicationSpec, device: str | None = None
) -> Token:
    """Request a token of an application with exactly its scopes.

    Args:
        wso2: management APIs.
        artifacts: define the scopes.
        spec: the application.
        device: an additional scope without rights; the request then revokes no other token of the application.

    Raises:
        ProvisioningError: the owner's password is not set or wrong, or WSO2 grants other scopes.
    """
    wanted, own = spec.collect_scopes(artifacts), {device} if device else set[str]()
    token = request_exact_token(
        wso2.http, wso2.settings.token_url, read_credentials(wso2, spec), spec.name, wanted | own
    )
    granted = token.scopes - own
    if granted != wanted:
        raise ScopeMismatchError(
            f"{spec.name} is granted {' '.join(sorted(granted)) or 'nothing'} instead of {' '.join(sorted(wanted))}: "
            f"run the bootstrap with {spec.password_variable}"
        )
    return token
