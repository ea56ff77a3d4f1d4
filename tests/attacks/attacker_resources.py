"""Resources of the attacker: a user, applications and an API, created by the administrator and removed afterwards.

They are identified by name, so that leftovers of an earlier run are found as well.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from tests.attacks import own_api
from tests.attacks.own_api import OWNER, PREFIX
from tests.attacks.own_server import OwnServer
from tests.attacks.traffic import Traffic

from wso2_provisioning import admin, devportal, publisher
from wso2_provisioning.admin import Admin
from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.devportal import DevPortal
from wso2_provisioning.errors import ProvisioningError, RequestRefusedError
from wso2_provisioning.http_client import HttpClient, Identity, list_entries, parse_json_object, require_field
from wso2_provisioning.mcp_servers import McpServers
from wso2_provisioning.publisher import LiveApi, Publisher
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.tokens import ClientCredentials, register_client, request_password_token
from wso2_provisioning.users import Users
from wso2_provisioning.verification.rows import remove_each
from wso2_terms.artifacts import Artifacts

DENY_PATH = f"{admin.BASE_PATH}/throttling/deny-polic"
_KEYS: dict[str, Any] = {
    "keyType": devportal.KEY_TYPE,
    "keyManager": devportal.KEY_MANAGER,
    "grantTypesToBeSupported": ["client_credentials"],
    "callbackUrl": "",
    "scopes": ["default"],
}


@dataclass(frozen=True, slots=True)
class Application:
    """An application with keys. full_name: as WSO2 has it."""

    full_name: str
    application_id: str
    client: ClientCredentials


class AttackerResources:
    """Gives and takes back, as the administrator."""

    def __init__(
        self, http: HttpClient, settings: ProvisioningSettings, artifacts: Artifacts, traffic: Traffic
    ) -> None:
        self._http = http
        self._settings = settings
        self._artifacts = artifacts
        self._traffic = traffic
        self._password = SecretStr(traffic.keep_secret(f"password of {OWNER}", secrets.token_urlsafe(18)))
        self.admin = Identity.from_password(settings.wso2_admin_username, settings.require_admin_password())
        self.publisher = Publisher(http, settings.wso2_management_url, self.admin)
        servers = McpServers(http, settings.wso2_management_url, self.admin)
        self.server = OwnServer(servers, artifacts)
        self._owner = Identity.from_password(OWNER, self._password)
        self._api_ids: dict[str, str] = {}
        self._made = 0

    def rest(self, method: str, path: str, identity: Identity | None = None, **content: Any) -> httpx.Response:
        """Call a REST API, as the administrator unless said otherwise.

        Raises:
            RequestRefusedError: any status but a success.
        """
        url = self._settings.wso2_management_url + path
        return self._http.call(method, url, identity or self.admin, accept=(200, 201, 202), **content)

    @property
    def login(self) -> tuple[str, str]:
        """Name and password of the attacker."""
        return OWNER, self._password.get_secret_value()

    def administrators_token(self) -> str:
        """Return a token of the REST APIs in the administrator's name."""
        url, name = self._settings.wso2_management_url, self._settings.wso2_admin_username
        client = register_client(self._http, url, self.admin)
        self._traffic.keep_client("the bootstrap's client", client.client_id, client.client_secret.get_secret_value())
        password = self._settings.require_admin_password()
        token = request_password_token(self._http, self._settings.token_url, client, name, password, ("apim:api_view",))
        return self._traffic.keep_secret("an administrator's token", token.access_token.get_secret_value())

    def set_up(self) -> None:
        """Make the user and their API."""
        roles = {SUBSCRIBER_ROLE, *self._artifacts.list_roles()}
        users = self._users()
        if users.user_exists(OWNER):
            # The password of an earlier run is not known any more.
            users.set_password(OWNER, self._password)
        else:
            users.add_user(OWNER, self._password, sorted(roles))
        solar = self.live("SolarAPI")
        project = own_api.project(self._artifacts.find_api("SolarAPI").api, own_api.backend_of(solar.body))
        self._api_ids[own_api.NAME] = self.publisher.import_project(project)
        self._api_ids[own_api.SERVER_NAME] = self.server.set_up(self._api_ids[own_api.NAME])

    def live(self, api_name: str) -> LiveApi:
        """Return an API as the Publisher has it.

        Raises:
            ProvisioningError: it is not there.
        """
        known = self._api_ids.get(api_name)
        version = own_api.VERSION if api_name == own_api.NAME else self._artifacts.find_api(api_name).api.version
        found = self.publisher.get(known) if known else self.publisher.find(api_name, version)
        if found is None:
            raise ProvisioningError(f"{api_name} is not there: run the bootstrap first")
        self._api_ids[api_name] = found.api_id
        return found

    def api_id(self, api_name: str) -> str:
        """Return the id of an API or MCP server."""
        if api_name not in self._api_ids and api_name.endswith("MCP"):
            found = self.server.servers.find(api_name, self._artifacts.find_mcp_server(api_name).server.version)
            if found is None:
                raise ProvisioningError(f"{api_name} is not there: run the bootstrap first")
            self._api_ids[api_name] = found.server_id
        return self._api_ids.get(api_name) or self.live(api_name).api_id

    def application(
        self, name: str, *apis: str, policy: str = "Unlimited", validity_s: int = 3600, roleless: bool = False
    ) -> Application:
        """Make an application with keys.

        Args:
            name: what it is for.
            apis: names of what it subscribes to, with the plan that each offers first.
            policy: its own limit.
            validity_s: how long its tokens live [s].
            roleless: owned by the administrator, who holds none of the roles of the scopes.
        """
        owner = self.admin if roleless else self._owner
        portal = self._portal(owner)
        # Numbered, so that a row that is tried again begins with an application that has called nothing yet.
        self._made += 1
        full_name = f"{PREFIX}{name}{self._made}"
        body: dict[str, Any] = {"name": full_name, "throttlingPolicy": policy, "description": "Made to attack"}
        path = f"{devportal.BASE_PATH}/applications"
        application_id = require_field(parse_json_object(self.rest("POST", path, owner, json=body)), "applicationId")
        for api in apis:
            portal.subscribe(application_id, self.api_id(api), self.plan_of(api))
        properties = {"application_access_token_expiry_time": validity_s}
        wanted = _KEYS | {"validityTime": str(validity_s), "additionalProperties": properties}
        keys = parse_json_object(self.rest("POST", f"{path}/{application_id}/generate-keys", owner, json=wanted))
        client = ClientCredentials(require_field(keys, "consumerKey"), SecretStr(require_field(keys, "consumerSecret")))
        self._traffic.keep_client(full_name, client.client_id, client.client_secret.get_secret_value())
        match keys:
            case {"token": {"accessToken": str(token)}}:
                self._traffic.keep_secret(f"first token of {full_name}", token)
            case _:
                pass
        return Application(full_name, application_id, client)

    def plan_of(self, api_name: str) -> str:
        """The plan that an API offers first."""
        if api_name in (own_api.NAME, own_api.SERVER_NAME):
            return own_api.PLAN
        if api_name.endswith("MCP"):
            return self._artifacts.find_mcp_server(api_name).server.policies[0]
        return self._artifacts.find_api(api_name).api.policies[0]

    def subscription(self, application: Application, api_name: str) -> str:
        """Return the id of an application's subscription."""
        wanted = self.api_id(api_name)
        held = self._portal(self._owner).list_subscriptions(application.application_id)
        found = [one for one in held if one.api_id == wanted]
        if not found:
            raise ProvisioningError(f"{application.full_name} is not subscribed to {api_name}")
        return found[0].subscription_id

    def subscribe(self, application: Application, api_name: str) -> None:
        """Subscribe an application."""
        portal = self._portal(self._owner)
        portal.subscribe(application.application_id, self.api_id(api_name), self.plan_of(api_name))

    def unsubscribe(self, application: Application, api_name: str) -> None:
        """Take a subscription back."""
        path = f"{devportal.BASE_PATH}/subscriptions/{self.subscription(application, api_name)}"
        self.rest("DELETE", path, self._owner)

    def delete(self, application: Application) -> None:
        """Delete an application."""
        self._portal(self._owner).delete_application(application.application_id)

    def block(self, subscription_id: str, state: str = "BLOCKED") -> None:
        """Block a subscription."""
        query = {"subscriptionId": subscription_id, "blockState": state}
        self.rest("POST", f"{publisher.BASE_PATH}/subscriptions/block-subscription", params=query)

    def unblock(self, subscription_id: str) -> None:
        """Let a subscription go on."""
        query = {"subscriptionId": subscription_id}
        self.rest("POST", f"{publisher.BASE_PATH}/subscriptions/unblock-subscription", params=query)

    def deny(self, kind: str, value: object) -> str:
        """Make a deny policy and return its id."""
        body = {"conditionType": kind, "conditionValue": value, "conditionStatus": True}
        return require_field(parse_json_object(self.rest("POST", f"{DENY_PATH}ies", json=body)), "conditionId")

    def allow(self, condition_id: str) -> None:
        """Delete a deny policy."""
        self.rest("DELETE", f"{DENY_PATH}y/{condition_id}")

    def change_lifecycle(self, action: str) -> None:
        """Block or publish the attacker's API."""
        query = {"apiId": self.api_id(own_api.NAME), "action": action}
        self.rest("POST", f"{publisher.BASE_PATH}/apis/change-lifecycle", params=query)

    def deploy(self, *, undo: bool = False) -> None:
        """Deploy the latest revision of the attacker's API, or undo that."""
        path = f"{publisher.BASE_PATH}/apis/{self.api_id(own_api.NAME)}"
        revision = list_entries(parse_json_object(self.rest("GET", f"{path}/revisions")))[-1]
        body = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]
        act = "undeploy" if undo else "deploy"
        self.rest("POST", f"{path}/{act}-revision", params={"revisionId": require_field(revision, "id")}, json=body)

    def remove_all(self, report: Callable[[str], None]) -> bool:
        """Remove everything, also what an earlier run left; deny policies first.

        Args:
            report: told what could not be removed.

        Returns:
            Whether nothing is left.
        """
        removals: Iterable[tuple[str, Callable[[], None]]] = (
            ("deny policies", self._remove_denials),
            ("applications", self._remove_applications),
            (f"MCP server {own_api.SERVER_NAME}", self._remove_server),
            (f"API {own_api.NAME}", self._remove_api),
            ("users", self._remove_users),
        )
        return remove_each(removals, report)

    def _remove_denials(self) -> None:
        for found in list_entries(parse_json_object(self.rest("GET", f"{DENY_PATH}ies"))):
            if own_api.is_own_denial(found.get("conditionValue")):
                self.allow(require_field(found, "conditionId"))

    def _remove_applications(self) -> None:
        for owner in (self.admin.name, *own_api.OWNERS):
            self.remove_applications_of(owner)

    def remove_applications_of(self, owner: str) -> None:
        """Remove what an owner made to attack, and let them go on."""
        for found in list_entries(parse_json_object(self.rest("GET", f"{DENY_PATH}ies"))):
            if str(found.get("conditionValue")).split("@")[0].split(":")[0] == owner != self.admin.name:
                self.allow(require_field(found, "conditionId"))
        portal = Admin(self._http, self._settings.wso2_management_url, self.admin)
        for application in portal.list_applications(owner):
            if application.name.startswith(PREFIX):
                portal.delete_application(application.application_id)

    def _remove_api(self) -> None:
        found = self._api_ids.pop(own_api.NAME, None)
        if found is None:
            live = self.publisher.find(own_api.NAME, own_api.VERSION)
            found = None if live is None else live.api_id
        if found is not None:
            url = f"{self._settings.wso2_management_url}{publisher.BASE_PATH}/apis/{found}"
            answer = self._http.send("DELETE", url, self.admin)
            if answer.status_code not in (200, 202, 204, 404):
                raise RequestRefusedError(f"the API is kept ({answer.status_code})", status=answer.status_code)

    def _remove_server(self) -> None:
        self._api_ids.pop(own_api.SERVER_NAME, None)
        found = self.server.servers.find(own_api.SERVER_NAME, own_api.VERSION)
        if found is not None:
            self.rest("DELETE", f"{publisher.BASE_PATH}/mcp-servers/{found.server_id}")

    def _remove_users(self) -> None:
        for owner in own_api.OWNERS:
            if self._users().user_exists(owner):
                self._users().delete_user(owner)

    def _portal(self, owner: Identity) -> DevPortal:
        return DevPortal(self._http, self._settings.wso2_management_url, owner)

    def _users(self) -> Users:
        return Users(self._http, self._settings.wso2_management_url, self.admin)
