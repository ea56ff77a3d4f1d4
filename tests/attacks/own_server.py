"""The attacker's own MCP server: one tool, made of the attacker's own API."""

from tests.attacks import own_api

from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.mcp_servers import McpServers
from wso2_terms.artifacts import Artifacts

DESCRIPTION = "Made to attack"
_DEPLOYMENT: list[dict[str, object]] = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]


class OwnServer:
    """Makes, changes and blocks it, as the administrator."""

    def __init__(self, servers: McpServers, artifacts: Artifacts) -> None:
        self.servers = servers
        self._like = artifacts
        self._server_id = ""

    def set_up(self, api_id: str) -> str:
        """Make it of the attacker's API, and return its id.

        Raises:
            ProvisioningError: there is one already.
        """
        project = own_api.server(self._like.find_mcp_server("SolarMCP"))
        made = self.servers.create(project, api_id, own_api.VERSIONED_CONTEXT)
        if made is None:
            raise ProvisioningError(f"{own_api.SERVER_NAME} is there already")
        self._server_id = made
        # WSO2 may leave limits and scopes of tools out when it makes them of an API.
        self.describe(DESCRIPTION)
        self.servers.change_lifecycle(made, "Publish")
        return made

    def describe(self, description: str) -> None:
        """Give the tool a description, with its scope and limit, and deploy that."""
        live = self.servers.get(self._server_id)
        if live is None:
            raise ProvisioningError(f"{own_api.SERVER_NAME} is gone")
        wanted = own_api.server(self._like.find_mcp_server("SolarMCP")).server
        told = wanted.model_dump(mode="json", by_alias=True, include={"scopes", "operations"})
        governed = {name: told["operations"][0][name] for name in ("scopes", "throttlingPolicy")}
        (tool,) = live.body["operations"]
        changed = {"scopes": told["scopes"], "operations": [tool | governed | {"description": description}]}
        self.servers.update(self._server_id, live.body | changed)
        self._forget_oldest(live.revisions[0].revision_id if len(live.revisions) >= 4 else None)
        self.servers.deploy(self._server_id, self.servers.add_revision(self._server_id, description), _DEPLOYMENT)

    def block(self, *, undo: bool = False) -> None:
        """Block it, or publish it again."""
        self.servers.change_lifecycle(self._server_id, "Re-Publish" if undo else "Block")

    def _forget_oldest(self, revision_id: str | None) -> None:
        # Five are kept; the sixth would be refused.
        if revision_id is not None:
            self.servers.delete_revision(self._server_id, revision_id)
