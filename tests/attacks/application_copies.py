"""A copy of a published application, created by the bootstrap's steps, and the holder of its key.

It has its own owner, so that the published application is neither stopped nor changed.
"""

import secrets
from dataclasses import dataclass, replace
from typing import Any

import httpx
from pydantic import SecretStr
from tests.attacks.attack_run import AttackRun
from tests.attacks.own_api import LIKES, PREFIX
from tests.attacks.rows import RowSkippedError

from wso2_provisioning import devportal
from wso2_provisioning.application_steps import ensure_application
from wso2_provisioning.applications import PORTAL_SCOPES, ApplicationSpec
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object, require_field
from wso2_provisioning.steps import LiveProduct
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.wso2 import Wso2

_UNTIL_LATER = 1
"""How many of its APIs and MCP servers it subscribes to only in a second run, which is then one with changes due."""


class _PollingHttpClient(HttpClient):
    """Carries a bootstrap's requests; after each, whoever has the key asks for what the portal takes."""

    holder: "KeyHolder | None" = None
    polls_on = False

    def send_once(self, method: str, url: str, identity: Identity | None = None, **content: Any) -> httpx.Response:
        answer = super().send_once(method, url, identity, **content)
        if self.holder is not None and (self.polls_on or not self.holder.portal_tokens):
            self.holder.poll()
        return answer


class KeyHolder:
    """Whoever has the key of an application.

    Args:
        run: the run of the attacks.
        spec: the application.
        key: its key and secret.
    """

    def __init__(self, run: AttackRun, spec: ApplicationSpec, key: ClientCredentials) -> None:
        self.run = run
        self.spec = spec
        self.key = key
        self.portal_tokens: list[str] = []
        self._asked = 0

    def poll(self) -> None:
        """Ask for the scopes of the portal; keep the token where one is granted."""
        self._asked += 1
        answer = self.run.ask_token(self.key, *sorted(PORTAL_SCOPES), f"device_poll{self._asked}")
        body = answer.json()
        if answer.status_code == 200 and PORTAL_SCOPES & set(str(body.get("scope", "")).split()):
            self.portal_tokens.append(str(body["access_token"]))

    def portal(self, method: str, path: str, token: str | None = None, **content: Any) -> dict[str, Any]:
        """Call the Developer Portal with a token that was caught.

        Raises:
            RowSkippedError: none was, or it does not open the portal.
        """
        bearer = {"Authorization": f"Bearer {token or self._get_portal_token()}"}
        answer = self.run.access.management.request(method, devportal.BASE_PATH + path, headers=bearer, **content)
        if not answer.is_success:
            raise RowSkippedError(f"{method} {path} answered {answer.status_code}")
        return parse_json_object(answer) if answer.content else {}

    def call(self, key: ClientCredentials | None = None) -> httpx.Response:
        """Call the first API with a token of a key, its own unless said otherwise."""
        scopes = sorted(self.spec.collect_scopes(self.run.stack.artifacts))
        answer = self.run.ask_token(key or self.key, *scopes, f"device_holder{secrets.token_hex(4)}")
        return self.run.call(str(answer.json().get("access_token", "")), self.path)

    @property
    def path(self) -> str:
        """A resource of its first API that is read without a parameter and costs nothing."""
        api = self.run.stack.artifacts.find_api(self.spec.apis[0]).api
        cheap = [one.target for one in api.operations if one.verb == "GET" and "status" in one.target]
        return api.versioned_context + cheap[0]

    @property
    def application_id(self) -> str:
        """Of its own application, whatever its name is now."""
        (one,) = self.portal("GET", "/applications?limit=100")["list"]
        return require_field(one, "applicationId")

    def second_application(self, token: str | None = None) -> ClientCredentials:
        """Make another application of the same owner, subscribe it and give it a key."""
        name = f"{PREFIX}Second{secrets.token_hex(3)}"
        made = self.portal("POST", "/applications", token, json={"name": name, "throttlingPolicy": "Unlimited"})
        application_id = require_field(made, "applicationId")
        for product in self.spec.products:
            self._subscribe(application_id, product, token)
        wanted = {"keyType": devportal.KEY_TYPE, "grantTypesToBeSupported": ["client_credentials"]}
        keys = self.portal("POST", f"/applications/{application_id}/generate-keys", token, json=wanted)
        return self._register_secret(name, require_field(keys, "consumerKey"), require_field(keys, "consumerSecret"))

    def rename(self) -> ClientCredentials:
        """Give the application another name."""
        body = {"name": f"{PREFIX}Renamed{secrets.token_hex(3)}", "throttlingPolicy": "Unlimited"}
        self.portal("PUT", f"/applications/{self.application_id}", json=body)
        return self.key

    def resubscribe(self) -> ClientCredentials:
        """Take every subscription back and make it anew."""
        application_id = self.application_id
        for held in self.portal("GET", f"/subscriptions?applicationId={application_id}&limit=100")["list"]:
            self.portal("DELETE", f"/subscriptions/{require_field(held, 'subscriptionId')}")
        for product in self.spec.products:
            self._subscribe(application_id, product)
        return self.key

    def new_key(self) -> ClientCredentials:
        """Give the application's key a new secret, which nobody else knows."""
        keys_path = f"/applications/{self.application_id}/oauth-keys"
        (held,) = self.portal("GET", keys_path)["list"]
        made = self.portal("POST", f"{keys_path}/{require_field(held, 'keyMappingId')}/regenerate-secret")
        self.key = self._register_secret(
            self.spec.name, require_field(made, "consumerKey"), require_field(made, "consumerSecret")
        )
        return self.key

    def _get_portal_token(self) -> str:
        if not self.portal_tokens:
            raise RowSkippedError("no token of the portal was caught during the bootstrap")
        return self.portal_tokens[0]

    def _subscribe(self, application_id: str, product: str, token: str | None = None) -> None:
        resources = self.run.resources
        wanted = {"apiId": resources.api_id(product), "throttlingPolicy": resources.plan_of(product)}
        self.portal("POST", "/subscriptions", token, json=wanted | {"applicationId": application_id})

    def _register_secret(self, name: str, client_id: str, secret: str) -> ClientCredentials:
        self.run.traffic.keep_client(name, client_id, secret)
        return ClientCredentials(client_id, SecretStr(secret))


@dataclass(frozen=True, slots=True)
class ApplicationCopy:
    """One published application's like. products: what it subscribes to, the first to be called."""

    spec: ApplicationSpec

    @classmethod
    def of(cls, spec: ApplicationSpec) -> "ApplicationCopy":
        """The like of a published application, with two of its products."""
        owner, kept = LIKES[spec.name], 1 + _UNTIL_LATER
        products = (*spec.apis[:kept], *spec.mcp_servers[: max(kept - len(spec.apis), 0)])
        apis = tuple(name for name in products if name in spec.apis)
        servers = tuple(name for name in products if name in spec.mcp_servers)
        return cls(replace(spec, name=f"{PREFIX}{spec.name}", owner=owner, apis=apis, mcp_servers=servers))

    def set_up(self, run: AttackRun, *, polls_on: bool = False) -> KeyHolder:
        """Make it as the bootstrap does, and once more with a change that is due, while the holder of its key polls.

        Args:
            run: the run of the attacks.
            polls_on: until the end, rather than until a token is caught.
        """
        settings, spec = run.stack.settings, self.spec
        password = SecretStr(run.traffic.keep_secret(f"password of {spec.owner}", secrets.token_urlsafe(18)))
        first = spec.products[:-_UNTIL_LATER]
        fewer = replace(
            spec,
            apis=tuple(name for name in spec.apis if name in first),
            mcp_servers=tuple(name for name in spec.mcp_servers if name in first),
        )
        run.resources.remove_applications_of(spec.owner)
        with _PollingHttpClient(settings.wso2_ca_file) as http:
            holder = KeyHolder(run, spec, _create_application(run, Wso2(http, settings), fewer, password))
            run.traffic.keep_client(spec.name, holder.key.client_id, holder.key.client_secret.get_secret_value())
            http.holder, http.polls_on = holder, polls_on
            _create_application(run, Wso2(http, settings), spec, password)
        return holder


def _create_application(run: AttackRun, wso2: Wso2, spec: ApplicationSpec, password: SecretStr) -> ClientCredentials:
    artifacts = run.stack.artifacts
    projects = [*spec.find_projects(artifacts), *spec.find_mcp_projects(artifacts)]
    published = [LiveProduct(project, None) for project in projects]
    known = {one.name: replace(one, product_id=run.resources.api_id(one.name)) for one in published}
    made = ensure_application(
        wso2,
        spec,
        password,
        artifacts,
        known,
        ChangeLog(is_dry_run=False, report=lambda _: None),
        may_set_password=True,
        rotate_secret=False,
    )
    assert made.credentials is not None
    return made.credentials
