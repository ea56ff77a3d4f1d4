"""Bootstrap steps for MCP servers: bring them to the state that the artifacts describe.

A blocked one stays blocked. An interrupted run can be repeated: the description of a deployed revision identifies its
artifact, so that a change that was not deployed is detected.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wso2_provisioning.artifact_diff import FINGERPRINT, diff_mcp_server, find_identity_conflict, format_tool_key
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.mcp_servers import ACTIONS, MAX_REVISIONS, LiveMcpServer, McpServers, build_server_body
from wso2_provisioning.steps import LiveProduct
from wso2_terms.api_project import ApiProject
from wso2_terms.artifacts import Artifacts
from wso2_terms.mcp_project import McpServerProject
from wso2_terms.tools import list_tools, to_canonical_json, to_stored_tool

_NOT_DEPLOYED, _OTHER_REVISION, _LIFECYCLE = "not deployed to", "other revision deployed to", "lifeCycleStatus"
_WARNING_ONLY = frozenset({"transport", "visibility", "authorizationHeader"})
_BLOCKED = "BLOCKED"


@dataclass(frozen=True, slots=True)
class _DesiredServer:
    """Required state of one MCP server, and its backend API as WSO2 has it."""

    project: McpServerProject
    behind: ApiProject
    """Backend API."""
    api_id: str
    """Id of the backend API."""
    vhosts: Mapping[str, str]
    """Virtual hosts of the backend API, by environment."""

    @property
    def body(self) -> dict[str, Any]:
        return build_server_body(self.project, self.api_id, self.behind.api.versioned_context)

    @property
    def fingerprint(self) -> str:
        """Description of a revision of this artifact; the tools' texts come from the API."""
        tools = sorted(to_canonical_json(tool) for tool in list_tools(self.project.server, self.behind.definition))
        message = json.dumps([self.body, tools], sort_keys=True)
        return f"{FINGERPRINT} {hashlib.sha256(message.encode()).hexdigest()}"

    def diff(self, live: LiveMcpServer) -> list[str]:
        different = diff_mcp_server(self.project.server, self.behind.definition, self.api_id, live.body)
        for deployment in self.project.deployments:
            environment = deployment.deployment_environment
            deployed = live.find_deployed_revision(environment)
            if deployed is None:
                different.append(f"{_NOT_DEPLOYED} {environment}")
            elif deployed.description != self.fingerprint:
                different.append(f"{_OTHER_REVISION} {environment}")
        return different


def ensure_mcp_servers(
    servers: McpServers, artifacts: Artifacts, apis: Mapping[str, LiveProduct], changes: ChangeLog
) -> dict[str, LiveProduct]:
    """Create missing MCP servers, change those that differ, and return all of them by name.

    Args:
        servers: MCP servers of the Publisher.
        artifacts: the required state.
        apis: live APIs by name.
        changes: carries changes out.

    Raises:
        ProvisioningError: another MCP server has the name, or WSO2 does not adopt a governing field.
    """
    return {
        project.server.name: _ensure_server(servers, project, artifacts.find_underlying_api(project), apis, changes)
        for project in artifacts.mcp_servers
    }


def _ensure_server(
    servers: McpServers,
    project: McpServerProject,
    behind: ApiProject,
    apis: Mapping[str, LiveProduct],
    changes: ChangeLog,
) -> LiveProduct:
    api = apis[behind.api.name]
    live = servers.find(project.server.name, project.server.version)
    if live is not None and (why := find_identity_conflict(project.server, live.body)):
        raise ProvisioningError(
            f"there is another MCP server {project.server.name} {project.server.version} in WSO2 ({why}): "
            "nothing of it was changed; delete or rename it in the Publisher"
        )
    if live is not None and live.life_cycle_status == _BLOCKED != project.server.life_cycle_status:
        changes.warn(f"{project.server.name} is blocked in the Publisher and stays so; nothing was changed")
        return LiveProduct(project, live.server_id, is_blocked=True)
    wanted = _DesiredServer(project, behind, api.product_id or "", api.vhosts)
    differences = ["new"] if live is None else wanted.diff(live)
    if not differences:
        return LiveProduct(project, live.server_id if live else None)
    what = f"bring MCP server {project.root} up to date ({', '.join(differences)})"
    server_id = changes.apply(what, lambda: _apply(servers, wanted, live, changes))
    return LiveProduct(project, server_id or (live.server_id if live else None))


def _apply(servers: McpServers, wanted: _DesiredServer, live: LiveMcpServer | None, changes: ChangeLog) -> str:
    now = live or _create(servers, wanted)
    differences = wanted.diff(now)
    if not all(difference.startswith((_NOT_DEPLOYED, _LIFECYCLE)) for difference in differences):
        # A different revision may contain different tool descriptions; restore them too.
        servers.update(now.server_id, _build_update(wanted, now.body))
    if any(not difference.startswith(_LIFECYCLE) for difference in differences):
        _deploy(servers, wanted, now)
    if now.life_cycle_status != wanted.project.server.life_cycle_status:
        servers.change_lifecycle(now.server_id, ACTIONS[wanted.project.server.life_cycle_status])
    left = wanted.diff(_get_existing(servers, now.server_id, wanted))
    message = f"{wanted.project.root} was changed, but WSO2 still differs in {', '.join(left)}"
    if any(difference not in _WARNING_ONLY for difference in left):
        raise ProvisioningError(f"{message}: see repository/logs/wso2carbon.log")
    if left:
        # It may represent the same value differently; no governing field is among them.
        changes.warn(message)
    return now.server_id


def _create(servers: McpServers, wanted: _DesiredServer) -> LiveMcpServer:
    server = wanted.project.server
    server_id = servers.create(wanted.project, wanted.api_id, wanted.behind.api.versioned_context)
    if server_id is None:
        raise ProvisioningError(
            f"WSO2 knows {server.name} {server.version} or its context {server.context}, but does not list it yet: "
            "run this again in a minute, or look in the Publisher who has that context"
        )
    return _get_existing(servers, server_id, wanted)


def _get_existing(servers: McpServers, server_id: str, wanted: _DesiredServer) -> LiveMcpServer:
    found = servers.get(server_id)
    if found is None:
        raise ProvisioningError(f"{wanted.project.root} does not exist any more: did somebody delete it?")
    return found


def _build_update(wanted: _DesiredServer, live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an update: the live server with all fields of the artifact."""
    stored = {format_tool_key(operation): operation for operation in live.get("operations") or ()}
    # Omitting the limit on all tools removes it: the specification does not allow null.
    kept = {name: value for name, value in live.items() if name != "throttlingPolicy"}
    body = {**kept, **wanted.body, "lifeCycleStatus": live.get("lifeCycleStatus")}
    body["operations"] = [
        {**stored.get(format_tool_key(sent), {}), **sent, **_build_tool_texts(wanted, index)}
        if format_tool_key(sent) in stored
        else sent
        for index, sent in enumerate(wanted.body["operations"])
    ]
    return body


def _build_tool_texts(wanted: _DesiredServer, index: int) -> dict[str, str]:
    """Return name, description and schema of an existing tool: WSO2 generates them only once."""
    tool = to_stored_tool(wanted.project.server.operations[index], wanted.behind.definition)
    if tool is None:
        return {}
    return {"target": tool.target, "description": tool.description, "schemaDefinition": tool.schema_definition}


def _deploy(servers: McpServers, wanted: _DesiredServer, live: LiveMcpServer) -> None:
    if len(live.revisions) >= MAX_REVISIONS:
        idle = [revision for revision in live.revisions if not revision.environments]
        if not idle:
            raise ProvisioningError(
                f"{wanted.project.root} has {MAX_REVISIONS} revisions, and all are deployed: undeploy one"
            )
        servers.delete_revision(live.server_id, idle[0].revision_id)
    revision_id = servers.add_revision(live.server_id, wanted.fingerprint)
    deployments: list[dict[str, object]] = [
        {
            "name": deployment.deployment_environment,
            # The backend API is deployed there already, so its host exists in that environment.
            "vhost": deployment.deployment_vhost or wanted.vhosts.get(deployment.deployment_environment, "localhost"),
            "displayOnDevportal": deployment.display_on_devportal,
        }
        for deployment in wanted.project.deployments
    ]
    if deployments:
        servers.deploy(live.server_id, revision_id, deployments)
