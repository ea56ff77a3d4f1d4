"""Publisher REST API v4: MCP servers that are created from an API.

In 4.6 the import of such a server works only once, so it is created, changed, frozen as a revision and deployed by
single calls. Source: WSO2 API Manager 4.6.0, publisher-api.yaml and its own integration tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wso2_provisioning.http_client import HttpClient, Identity, list_entries, parse_json_object, require_field
from wso2_provisioning.publisher import BASE_PATH
from wso2_terms.mcp_project import McpServerProject

SCOPES = frozenset({"apim:mcp_server_view", "apim:mcp_server_create", "apim:mcp_server_publish"})
"""Scopes of these calls."""
MAX_REVISIONS = 5
"""Number of revisions that WSO2 keeps of one API or MCP server; it refuses another one."""
ACTIONS: Mapping[str, str] = {
    "CREATED": "Demote to Created",
    "PROTOTYPED": "Deploy as a Prototype",
    "PUBLISHED": "Publish",
    "BLOCKED": "Block",
    "DEPRECATED": "Deprecate",
    "RETIRED": "Retire",
}
"""Lifecycle action that leads to each state."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A frozen copy of an MCP server."""

    revision_id: str
    description: str
    environments: frozenset[str]
    """Environments to which it is deployed."""


@dataclass(frozen=True, slots=True)
class LiveMcpServer:
    """An MCP server as WSO2 has it."""

    server_id: str
    body: dict[str, Any]
    """As the Publisher returns it."""
    revisions: tuple[Revision, ...]
    """The oldest first."""

    @property
    def life_cycle_status(self) -> str:
        """State in capitals, e.g. `PUBLISHED`."""
        return str(self.body.get("lifeCycleStatus", "")).upper()

    def find_deployed_revision(self, environment: str) -> Revision | None:
        """Return the revision that is deployed to an environment, None without one."""
        return next((revision for revision in self.revisions if environment in revision.environments), None)


class McpServers:
    """MCP servers in the Publisher REST API."""

    def __init__(self, http: HttpClient, management_url: str, identity: Identity) -> None:
        self._http = http
        self._base = f"{management_url}{BASE_PATH}/mcp-servers"
        self._identity = identity

    def find(self, name: str, version: str) -> LiveMcpServer | None:
        """Return the MCP server of that name and version.

        WSO2 answers from a search index that lags: a server created seconds ago may be missing.
        """
        query = {"query": f"name:{name} version:{version}", "limit": "100"}
        answer = parse_json_object(self._http.call("GET", self._base, self._identity, params=query))
        # The search also matches parts of names.
        found = [
            entry for entry in list_entries(answer) if (entry.get("name"), entry.get("version")) == (name, version)
        ]
        return self.get(require_field(found[0], "id")) if found else None

    def list_names(self) -> dict[str, str]:
        """Return the names of all MCP servers by id; one that was created seconds ago may be missing."""
        answer = parse_json_object(self._http.call("GET", self._base, self._identity, params={"limit": "1000"}))
        return {require_field(entry, "id"): require_field(entry, "name") for entry in list_entries(answer)}

    def get(self, server_id: str) -> LiveMcpServer | None:
        """Return an MCP server, None if it does not exist."""
        url = f"{self._base}/{server_id}"
        answer = self._http.call("GET", url, self._identity, accept=(200, 404))
        if answer.status_code == 404:
            return None
        revisions = list_entries(parse_json_object(self._http.call("GET", f"{url}/revisions", self._identity)))
        oldest_first = sorted(revisions, key=_parse_revision_number)
        return LiveMcpServer(
            server_id, parse_json_object(answer), tuple(_parse_revision(entry) for entry in oldest_first)
        )

    def create(self, project: McpServerProject, api_id: str, api_context: str) -> str | None:
        """Create an MCP server from an API's operations and return its id; None if it exists already.

        Args:
            project: describes it. Callers must check whether the limits and scopes of its tools were adopted.
            api_id: of the API whose operations its tools are.
            api_context: the API's, with the version.

        Raises:
            RequestRefusedError: WSO2 rejects it, e.g. because another one has its context.
        """
        body = build_server_body(project, api_id, api_context)
        # WSO2 sets both.
        del body["lifeCycleStatus"], body["subtypeConfiguration"]
        url = f"{self._base}/generate-from-api"
        answer = self._http.call("POST", url, self._identity, accept=(201, 409), json=body)
        return require_field(parse_json_object(answer), "id") if answer.status_code == 201 else None

    def update(self, server_id: str, body: Mapping[str, object]) -> None:
        """Replace the working copy; deployed revisions do not change."""
        self._http.call("PUT", f"{self._base}/{server_id}", self._identity, json=dict(body))

    def add_revision(self, server_id: str, description: str) -> str:
        """Create a revision of the working copy and return its id."""
        url = f"{self._base}/{server_id}/revisions"
        answer = self._http.call("POST", url, self._identity, accept=(201,), json={"description": description})
        return require_field(parse_json_object(answer), "id")

    def delete_revision(self, server_id: str, revision_id: str) -> None:
        """Delete a revision that is not deployed."""
        url = f"{self._base}/{server_id}/revisions/{revision_id}"
        self._http.call("DELETE", url, self._identity, accept=(200, 204, 404))

    def deploy(self, server_id: str, revision_id: str, deployments: list[dict[str, object]]) -> None:
        """Deploy a revision; it replaces the one deployed to the same environments.

        Args:
            server_id: of the MCP server.
            revision_id: of the revision.
            deployments: name, vhost and visibility in the Developer Portal of each environment.
        """
        url = f"{self._base}/{server_id}/deploy-revision"
        query = {"revisionId": revision_id}
        self._http.call("POST", url, self._identity, accept=(200, 201), params=query, json=deployments)

    def change_lifecycle(self, server_id: str, action: str) -> None:
        """Carry out a lifecycle action, e.g. `Publish`."""
        query = {"mcpServerId": server_id, "action": action}
        url = f"{self._base}/change-lifecycle"
        self._http.call("POST", url, self._identity, accept=(200, 202), params=query)


def build_server_body(project: McpServerProject, api_id: str, api_context: str) -> dict[str, Any]:
    """Return a project as the Publisher accepts it: each tool with the API's id, which files do not contain."""
    # The caller becomes the provider.
    body = project.server.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"provider"})
    for operation in body["operations"]:
        operation["apiOperationMapping"] |= {"apiId": api_id, "apiContext": api_context}
    return body


def _parse_revision(found: Mapping[str, Any]) -> Revision:
    deployed: list[dict[str, Any]] = found.get("deploymentInfo") or []
    environments = frozenset(require_field(entry, "name") for entry in deployed)
    return Revision(require_field(found, "id"), str(found.get("description") or ""), environments)


def _parse_revision_number(entry: Mapping[str, Any]) -> int:
    """Return the number in the display name `Revision 7`, which orders the revisions."""
    number = str(entry.get("displayName", "")).rpartition(" ")[2]
    return int(number) if number.isdigit() else 0
