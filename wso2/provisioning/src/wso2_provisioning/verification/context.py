"""The verified WSO2, and the calls that rows need.

The name of everything that is created here starts with one prefix; `cleanup` removes it.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import httpx
from pydantic import SecretStr

from ev_service.clock import Clock
from wso2_provisioning import publisher, steps
from wso2_provisioning.admin import Admin
from wso2_provisioning.applications import EVAPP, SCOPE_PROBE, SUBSCRIBER_ROLE
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.devportal import DevPortal, Subscription
from wso2_provisioning.errors import GatewayAccessError, ProvisioningError
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object
from wso2_provisioning.mcp_servers import McpServers
from wso2_provisioning.publisher import LiveApi, Publisher
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.smoke_test import Verdict, find_probe_path, parse_answer
from wso2_provisioning.tokens import ClientCredentials, build_revocation_url, register_client, request_password_token
from wso2_provisioning.wso2 import SWITCH_SCOPES, Wso2
from wso2_terms.api_project import ApiProject
from wso2_terms.artifacts import Artifacts

PREFIX = "Verify"
"""Start of the name of everything that the verification creates."""
OWNER = "verify"
"""User who owns what is created; has the roles of EVApp's owner, and may use the Developer Portal."""
ADDED_SCOPES = frozenset({"apim:api_manage", "apim:api_delete", "apim:mcp_server_delete"})
"""Scopes that the verification needs in addition to those of the kill switch."""
SETTLES_S = 60.0
"""How long new applications, subscriptions and APIs may take to reach the gateway [s]."""
_PAUSE_S = 0.2


class VerificationContext:
    """One bootstrapped WSO2, as an administrator and as an owner of applications use it."""

    def __init__(self, http: HttpClient, settings: ProvisioningSettings, artifacts: Artifacts, clock: Clock) -> None:
        self.http = http
        self.settings = settings
        self.artifacts = artifacts
        self.clock = clock
        self.wso2 = Wso2(http, settings)
        self.project: ApiProject = EVAPP.find_projects(artifacts)[0]
        self.path = find_probe_path(self.project)
        self.scope = self.project.api.scopes[0].scope.name
        self.own_api_id: str | None = None
        self.own_tools_api_id: str | None = None
        self.own_server_id: str | None = None
        self._applications: dict[str, str] = {}

    @property
    def quota(self) -> int:
        """Calls per minute that the plan of the API allows."""
        return self.artifacts.list_plans()[self.project.api.policies[0]].default_limit.request_count.request_count

    @cached_property
    def password_identity(self) -> Identity:
        """The administrator, with password."""
        return Identity.from_password(self.settings.wso2_admin_username, self.settings.require_admin_password())

    @cached_property
    def client(self) -> ClientCredentials:
        """The bootstrap's own client."""
        return register_client(self.http, self.settings.wso2_management_url, self.password_identity)

    @cached_property
    def token_identity(self) -> Identity:
        """The administrator, with a token of every scope that the verification needs."""
        name, password = self.settings.wso2_admin_username, self.settings.require_admin_password()
        scopes = SWITCH_SCOPES | ADDED_SCOPES
        token = request_password_token(self.http, self.settings.token_url, self.client, name, password, scopes)
        return Identity.from_token(name, token.access_token)

    @cached_property
    def owner_password(self) -> SecretStr:
        """Password of the owner, who is created, or gets this new password if an earlier run left the user."""
        password = SecretStr(secrets.token_urlsafe(18))
        roles = {SUBSCRIBER_ROLE, *EVAPP.collect_roles(self.artifacts)}
        if self.wso2.users.user_exists(OWNER):
            self.wso2.users.set_password(OWNER, password)
            self.wso2.users.grant_roles(OWNER, roles)
        else:
            self.wso2.users.add_user(OWNER, password, sorted(roles))
        return password

    @cached_property
    def portal(self) -> DevPortal:
        """The Developer Portal, as that user."""
        return self.wso2.open_portal(OWNER, self.owner_password)

    @cached_property
    def admin(self) -> Admin:
        """Throttling and deny policies, as the administrator."""
        return Admin(self.http, self.settings.wso2_management_url, self.token_identity)

    @cached_property
    def publisher(self) -> Publisher:
        """APIs, as the administrator."""
        return Publisher(self.http, self.settings.wso2_management_url, self.token_identity)

    @cached_property
    def mcp_servers(self) -> McpServers:
        """MCP servers, as the administrator."""
        return McpServers(self.http, self.settings.wso2_management_url, self.token_identity)

    @cached_property
    def live_api(self) -> LiveApi:
        """The called API, as WSO2 has it.

        Raises:
            ProvisioningError: WSO2 does not have it.
        """
        found = self.publisher.find(self.project.api.name, self.project.api.version)
        if found is None:
            raise ProvisioningError(f"{self.project.api.name} is missing: run the bootstrap first")
        return found

    def read_scope_probe(self) -> ClientCredentials:
        """Return the credentials of the bootstrap's probe application, whose owner has none of the reading roles.

        Raises:
            ProvisioningError: it is missing.
        """
        portal = self.wso2.admin_portal
        application_id = portal.find_application(SCOPE_PROBE)
        keys = None if application_id is None else portal.find_keys(application_id)
        if keys is None:
            raise ProvisioningError(f"{SCOPE_PROBE} is missing: run the bootstrap first")
        return keys.credentials

    def ensure_application(self, name: str, *, subscribed: bool = True) -> ClientCredentials:
        """Create an application of that user, or find the existing one.

        Args:
            name: without the prefix.
            subscribed: whether it is subscribed to the called API.
        """
        changes = ChangeLog(is_dry_run=False, report=lambda _: None)
        application_id = steps.ensure_application(
            self.portal, PREFIX + name, "Created by verify-wso2, which removes it", changes
        )
        assert application_id is not None
        self._applications[name] = application_id
        if subscribed:
            self.portal.subscribe(application_id, self.live_api.api_id, self.project.api.policies[0])
        keys = steps.ensure_keys(self.portal, application_id, PREFIX + name, changes)
        assert keys is not None
        return keys.credentials

    def application_id_of(self, name: str) -> str:
        """Return the id of an application that was created here."""
        return self._applications[name]

    def find_subscription(self, name: str) -> Subscription:
        """Return the only subscription of an application that was created here."""
        return self.portal.list_subscriptions(self._applications[name])[0]

    def send_token_request(self, client: ClientCredentials, *scopes: str) -> httpx.Response:
        """Request a token with these scopes; return any answer."""
        identity = Identity.from_client(client.client_id, client.client_secret)
        form = {"grant_type": "client_credentials", "scope": " ".join(scopes)}
        return self.http.send("POST", self.settings.token_url, identity, data=form)

    def request_token(self, client: ClientCredentials, *scopes: str) -> SecretStr:
        """Request a token with these scopes.

        Raises:
            ProvisioningError: WSO2 issues none.
        """
        answer = self.send_token_request(client, *scopes)
        if answer.status_code != 200:
            raise ProvisioningError(f"the token endpoint answered {answer.status_code}")
        return SecretStr(str(parse_json_object(answer)["access_token"]))

    def revoke_token(self, client: ClientCredentials, token: SecretStr) -> httpx.Response:
        """Revoke a token."""
        identity = Identity.from_client(client.client_id, client.client_secret)
        url = build_revocation_url(self.settings.token_url)
        return self.http.send("POST", url, identity, data={"token": token.get_secret_value()})

    def call(self, token: SecretStr | None, path: str | None = None, method: str = "GET") -> httpx.Response:
        """Call the gateway; return any answer.

        Args:
            token: None for a call without one.
            path: None for the API's first reading.
            method: HTTP method.
        """
        identity = None if token is None else Identity.from_token("an application", token)
        return self.http.send_once(method, self.settings.wso2_gateway_url + (path or self.path), identity)

    def call_admin(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Call a REST API as the administrator; return any answer."""
        return self.http.send(method, self.settings.wso2_management_url + path, self.token_identity, **content)

    def call_publisher(self, path: str, query: Mapping[str, str]) -> httpx.Response:
        """POST to the Publisher as the administrator."""
        return self.call_admin("POST", publisher.BASE_PATH + path, params=dict(query))

    def wait_for_access(self, token: SecretStr, path: str | None = None) -> None:
        """Wait until the gateway accepts a token, whether the service behind it answers or not.

        Raises:
            GatewayAccessError: it does not within a minute.
        """
        passes = (Verdict.LET_THROUGH, Verdict.BACKEND_FAILED)
        answer, _ = self.poll(
            lambda: self.call(token, path), lambda found: parse_answer(found).verdict in passes, SETTLES_S
        )
        if answer is None:
            raise GatewayAccessError(f"the gateway does not accept a valid token within {SETTLES_S:.0f} s")

    def poll(
        self, call: Callable[[], httpx.Response], wanted: Callable[[httpx.Response], bool], longest_s: float
    ) -> tuple[httpx.Response | None, float]:
        """Repeat a call until its answer is the wanted one.

        Returns:
            The answer, None if it did not come in time, and the time taken [s].
        """
        started_s = time.monotonic()
        while True:
            answer = call()
            passed_s = time.monotonic() - started_s
            if wanted(answer):
                return answer, passed_s
            if passed_s >= longest_s:
                return None, passed_s
            self.http.sleep(_PAUSE_S)
