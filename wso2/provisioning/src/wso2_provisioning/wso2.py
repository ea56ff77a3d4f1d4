"""One WSO2 and who acts there: which REST API is called as whom.

Puts addresses, identities and REST APIs together; knows no step.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from wso2_provisioning import admin, devportal, mcp_servers, publisher
from wso2_provisioning.admin import Admin
from wso2_provisioning.devportal import DevPortal
from wso2_provisioning.mcp_servers import McpServers
from wso2_provisioning.publisher import Publisher
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.tokens import (
    CLIENT_NAME,
    ClientCredentials,
    Token,
    client_token,
    password_token,
    register_client,
    revoke_token,
)
from wso2_provisioning.users import Users
from wso2_provisioning.wire import Identity, Wire

ADMIN_SCOPES = admin.SCOPES | publisher.SCOPES | mcp_servers.SCOPES | devportal.SCOPES | devportal.EXPORT_SCOPES
"""Scopes of the REST APIs that the bootstrap needs."""
SWITCH_SCOPES = ADMIN_SCOPES | admin.DENY_SCOPES | publisher.BLOCK_SCOPES
"""The same, and those that deny policies and blocked subscriptions need."""


@dataclass(frozen=True, slots=True)
class OwnSession:
    """The Developer Portal as a user sees it, until it is ended."""

    portal: DevPortal
    end: Callable[[], None]


class Wso2:
    """One WSO2 and who may change it. Asks for tokens when they are first needed."""

    def __init__(
        self,
        wire: Wire,
        settings: ProvisioningSettings,
        *,
        is_dry_run: bool = False,
        admin_scopes: frozenset[str] = ADMIN_SCOPES,
    ) -> None:
        """Remember where everything is.

        Args:
            wire: how to reach it.
            settings: where it is and who may change it.
            is_dry_run: come with passwords instead of tokens, because to get one a client must be registered.
            admin_scopes: what the administrator's token is to allow; more than the bootstrap needs for who stops
                applications (`SWITCH_SCOPES`).

        Raises:
            ConfigurationError: the administrator's password is not set.
        """
        self.wire = wire
        self.settings = settings
        self._is_dry_run = is_dry_run
        self._admin_scopes = admin_scopes
        self._admin = Identity.of_password(settings.wso2_admin_username, settings.admin_password())
        self._client: ClientCredentials | None = None
        self._admin_token: Identity | None = None

    @property
    def users(self) -> Users:
        """Users and roles."""
        return Users(self.wire, self.settings.wso2_management_url, self._admin)

    @property
    def admin(self) -> Admin:
        """Throttling and deny policies, and the applications of all owners."""
        return Admin(self.wire, self.settings.wso2_management_url, self._administrator())

    @property
    def publisher(self) -> Publisher:
        """APIs and subscriptions."""
        return Publisher(self.wire, self.settings.wso2_management_url, self._administrator())

    @property
    def mcp_servers(self) -> McpServers:
        """MCP servers."""
        return McpServers(self.wire, self.settings.wso2_management_url, self._administrator())

    @property
    def admin_portal(self) -> DevPortal:
        """Applications of the administrator, and the export of any."""
        return DevPortal(self.wire, self.settings.wso2_management_url, self._administrator())

    def portal_of(self, user: str, password: SecretStr) -> DevPortal:
        """Return the Developer Portal as a user sees it.

        Raises:
            CredentialsRefused: the password is wrong.
            ScopesWrong: the user may not own applications.
        """
        return self.session_of(user, password).portal

    def session_of(self, user: str, password: SecretStr) -> OwnSession:
        """Return the Developer Portal as a user sees it, with a token that ends with the session.

        Raises:
            CredentialsRefused: the password is wrong.
            ScopesWrong: the user may not own applications.
        """
        management_url = self.settings.wso2_management_url
        if self._is_dry_run:
            return OwnSession(DevPortal(self.wire, management_url, Identity.of_password(user, password)), lambda: None)
        client = self._registered()
        token = password_token(self.wire, self.settings.token_url, client, user, password, devportal.SCOPES)
        portal = DevPortal(self.wire, management_url, Identity.of_token(user, token.access_token))
        return OwnSession(portal, lambda: revoke_token(self.wire, self.settings.token_url, client, token, CLIENT_NAME))

    def token_of(self, application: str, credentials: ClientCredentials, scopes: frozenset[str]) -> Token:
        """Get a token in an application's name, apart from the one that it uses itself."""
        return client_token(self.wire, self.settings.token_url, credentials, application, scopes)

    def _administrator(self) -> Identity:
        if self._admin_token is None:
            name, password = self.settings.wso2_admin_username, self.settings.admin_password()
            self._admin_token = self._identity(name, password, self._admin_scopes)
        return self._admin_token

    def _identity(self, user: str, password: SecretStr, scopes: frozenset[str]) -> Identity:
        if self._is_dry_run:
            return Identity.of_password(user, password)
        token = password_token(self.wire, self.settings.token_url, self._registered(), user, password, scopes)
        return Identity.of_token(user, token.access_token)

    def _registered(self) -> ClientCredentials:
        if self._client is None:
            self._client = register_client(self.wire, self.settings.wso2_management_url, self._admin)
        return self._client
