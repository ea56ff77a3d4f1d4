"""Publisher REST API v4: APIs and their subscriptions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wso2_provisioning.http_client import HttpClient, Identity, list_entries, parse_json_object, require_field
from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import ApiProject

BASE_PATH = "/api/am/publisher/v4"
SCOPES = frozenset({"apim:api_view", "apim:api_import_export", "apim:subscription_view"})
"""Scopes for APIs and for reading their subscriptions."""
BLOCK_SCOPES = frozenset({"apim:subscription_block"})
"""Scopes for blocking a subscription; the bootstrap does not need them."""
BLOCKED, UNBLOCKED = "BLOCKED", "UNBLOCKED"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Subscription of one application to one API or MCP server, as its publisher sees it."""

    subscription_id: str
    application_id: str
    application: str
    owner: str
    plan: str
    status: str
    """`UNBLOCKED` unless somebody blocked it."""


@dataclass(frozen=True, slots=True)
class LiveApi:
    """An API as WSO2 has it."""

    api_id: str
    body: dict[str, object]
    """As the Publisher returns it."""
    vhosts: Mapping[str, str]
    """Virtual host of the API, by environment."""

    @property
    def life_cycle_status(self) -> str:
        """State in capitals, e.g. `PUBLISHED`."""
        return str(self.body.get("lifeCycleStatus", "")).upper()


class Publisher:
    """The Publisher REST API of one WSO2."""

    def __init__(self, http: HttpClient, management_url: str, identity: Identity) -> None:
        self._http = http
        self._base = management_url + BASE_PATH
        self._identity = identity

    def find(self, name: str, version: str) -> LiveApi | None:
        """Return the API of that name and version.

        WSO2 answers from a search index that lags: an API imported seconds ago may be missing.
        """
        answer = self._http.call(
            "GET",
            f"{self._base}/apis",
            self._identity,
            params={"query": f"name:{name} version:{version}", "limit": "100"},
        )
        # The search also matches parts of names.
        found = [
            api
            for api in list_entries(parse_json_object(answer))
            if (api.get("name"), api.get("version")) == (name, version)
        ]
        return self.get(require_field(found[0], "id")) if found else None

    def list_names(self) -> dict[str, str]:
        """Return the names of all APIs by id; one that was imported seconds ago may be missing."""
        answer = self._http.call("GET", f"{self._base}/apis", self._identity, params={"limit": "1000"})
        return {require_field(api, "id"): require_field(api, "name") for api in list_entries(parse_json_object(answer))}

    def get(self, api_id: str) -> LiveApi | None:
        """Return an API, None if it does not exist."""
        url = f"{self._base}/apis/{api_id}"
        answer = self._http.call("GET", url, self._identity, accept=(200, 404))
        if answer.status_code == 404:
            return None
        deployments = list_entries(parse_json_object(self._http.call("GET", f"{url}/deployments", self._identity)))
        vhosts = {require_field(found, "name"): str(found.get("vhost") or "localhost") for found in deployments}
        return LiveApi(api_id, parse_json_object(answer), vhosts)

    def import_project(self, project: ApiProject) -> str:
        """Create or update an API with the life cycle state of its project, deploy a new revision, and return its id.

        Raises:
            RequestRefusedError: WSO2 rejects it, e.g. because a policy or role is unknown.
        """
        answer = self._http.call(
            "POST",
            f"{self._base}/apis/import",
            self._identity,
            params={
                "overwrite": "true",
                # WSO2 keeps five revisions; without this the sixth import fails.
                "rotateRevision": "true",
                "preserveProvider": "false",
                "preservePortalConfigurations": "false",
                "dryRun": "false",
            },
            headers={"Accept": "application/json"},
            files={"file": (f"{project.root}.zip", write_api_archive(project), "application/zip")},
        )
        return require_field(parse_json_object(answer), "id")

    def list_subscriptions(self, product_id: str) -> list[Subscriber]:
        """Return the subscriptions to an API or MCP server.

        Args:
            product_id: of the API or MCP server.
        """
        query = {"apiId": product_id, "limit": "1000"}
        answer = parse_json_object(self._http.call("GET", f"{self._base}/subscriptions", self._identity, params=query))
        return [_parse_subscriber(found) for found in list_entries(answer)]

    def block_subscription(self, subscription_id: str) -> None:
        """Refuse every call under a subscription from now on (900907). WSO2 writes no audit line for it."""
        query = {"subscriptionId": subscription_id, "blockState": BLOCKED}
        self._http.call("POST", f"{self._base}/subscriptions/block-subscription", self._identity, params=query)

    def unblock_subscription(self, subscription_id: str) -> None:
        """Let a subscription's calls through again."""
        query = {"subscriptionId": subscription_id}
        self._http.call("POST", f"{self._base}/subscriptions/unblock-subscription", self._identity, params=query)


def _parse_subscriber(found: dict[str, Any]) -> Subscriber:
    application: dict[str, Any] = found.get("applicationInfo") or {}
    return Subscriber(
        subscription_id=require_field(found, "subscriptionId"),
        application_id=require_field(application, "applicationId"),
        application=require_field(application, "name"),
        owner=require_field(application, "subscriber"),
        plan=require_field(found, "throttlingPolicy"),
        status=require_field(found, "subscriptionStatus"),
    )
