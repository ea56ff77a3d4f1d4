"""The REST APIs of one WSO2, each with its address and identity."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from wso2_provisioning import admin, devportal, mcp_servers, publisher
from wso2_provisioning.admin import Admin
from wso2_provisioning.devportal import DevPortal
from wso2_provisioning.http_client import HttpClient, Identity
from wso2_provisioning.mcp_servers import McpServers
from wso2_provisioning.publisher import Publisher
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.tokens import (
    CLIENT_NAME,
    ClientCredentials,
    Token,
    register_client,
    request_client_token,
    request_password_token,
    revoke_token,
)
from wso2_provisioning.users import Users

ADMIN_SCOPES = admin.SCOPES | publisher.SCOPES | mcp_servers.SCOPES | devportal.SCOPES | devportal.EXPORT_SCOPES
"""Scopes of the bootstrap."""
SWITCH_SCOPES = ADMIN_SCOPES | admin.DENY_SCOPES | publisher.BLOCK_SCOPES
"""Scopes of the bootstrap, and those for deny policies and blocked subscriptions."""


@dataclass(frozen=True, slots=True)
class PortalSession:
    """The Developer Portal of a user, with a token until `end` is called."""

    portal: DevPortal
    end: Callable[[], None]


class Wso2:
    """One WSO2 and its administrator; requests tokens when they are first needed."""

    def __init__(
        self,
        http: HttpClient,
        settings: ProvisioningSettings,
        *,
        is_dry_run: bool = False,
        admin_scopes: frozenset[str] = ADMIN_SCOPES,
    ) -> None:
        """Create the facade; nothing is requested yet.

        Args:
            http: HTTP client.
            settings: addresses and administrator.
            is_dry_run: use passwords instead of tokens, because a token requires registering a client.
            admin_scopes: of the administrator's token; the kill switch needs `SWITCH_SCOPES`.

        Raises:
            ConfigurationError: the administrator's password is not set.
        """
        self.http = http
        self.settings = settings
        self._is_dry_run = is_dry_run
        self._admin_scopes = admin_scopes
        self._admin = Identity.from_password(settings.wso2_admin_username, settings.require_admin_password())
        self._client: ClientCredentials | None = None
        self._admin_token: Identity | None = None

    @property
    def users(self) -> Users:
        """Users and roles."""
        return Users(self.http, self.settings.wso2_management_url, self._admin)

    @property
    def admin(self) -> Admin:
        """Throttling and deny policies, and the applications of all owners."""
        return Admin(self.http, self.settings.wso2_management_url, self._authenticate_admin())

    @property
    def publisher(self) -> Publisher:
        """APIs and subscriptions."""
        return Publisher(self.http, self.settings.wso2_management_url, self._authenticate_admin())

    @property
    def mcp_servers(self) -> McpServers:
        """MCP servers."""
        return McpServers(self.http, self.settings.wso2_management_url, self._authenticate_admin())

    @property
    def admin_portal(self) -> DevPortal:
        """Applications of the administrator, and the export of any."""
        return DevPortal(self.http, self.settings.wso2_management_url, self._authenticate_admin())

    def open_portal(self, user: str, password: SecretStr) -> DevPortal:
        """Return the Developer Portal of a user.

        Raises:
            CredentialsRefusedError: the password is wrong.
            ScopeMismatchError: the user may not own applications.
        """
        return self.open_session(user, password).portal

    def open_session(self, user: str, password: SecretStr) -> PortalSession:
        """Return the Developer Portal of a user, with a token that is revoked at the end of the session.

        Raises:
            CredentialsRefusedError: the password is wrong.
            ScopeMismatchError: the user may not own applications.
        """
        management_url = self.settings.wso2_management_url
        if self._is_dry_run:
            return PortalSession(
                DevPortal(self.http, management_url, Identity.from_password(user, password)), lambda: None
            )
        client = self._ensure_client()
        token = request_password_token(self.http, self.settings.token_url, client, user, password, devportal.SCOPES)
        portal = DevPortal(self.http, management_url, Identity.from_token(user, token.access_token))
        return PortalSession(
            portal, lambda: revoke_token(self.http, self.settings.token_url, client, token, CLIENT_NAME)
        )

    def request_token(self, application: str, credentials: ClientCredentials, scopes: frozenset[str]) -> Token:
        """Request a token of an application without revoking the one that it uses itself."""
        return request_client_token(self.http, self.settings.token_url, credentials, application, scopes)

    def _authenticate_admin(self) -> Identity:
        if self._admin_token is None:
            name, password = self.settings.wso2_admin_username, self.settings.require_admin_password()
            self._admin_token = self._authenticate(name, password, self._admin_scopes)
        return self._admin_token

    def _authenticate(self, user: str, password: SecretStr, scopes: frozenset[str]) -> Identity:
        if self._is_dry_run:
            return Identity.from_password(user, password)
        token = request_password_token(
            self.http, self.settings.token_url, self._ensure_client(), user, password, scopes
        )
        return Identity.from_token(user, token.access_token)

    def _ensure_client(self) -> ClientCredentials:
        if self._client is None:
            self._client = register_client(self.http, self.settings.wso2_management_url, self._admin)
        return self._client
