"""Approves the tools that the agent may use: shows how they differ from wso2/mcp-servers/tools.lock, asks, writes it.

The tools are those of the files in wso2/, or with `--live` those that a running gateway lists for EVApp (address from
WSO2_GATEWAY_URL, WSO2_TOKEN_URL, WSO2_CA_FILE; credentials from WSO2_CLIENT_ID_FILE and WSO2_CLIENT_SECRET_FILE, or the
same without _FILE). A description is what a model goes by: read what changed before saying yes.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from charging_agent.gateway.mcp import HEADERS, build_list_request, parse_tools
from charging_agent.gateway.tokens import EnvironmentOrFileCredentials
from charging_agent.settings import GatewaySettings
from ev_service.errors import EvError
from ev_service.settings import load
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.http_client import HttpClient, Identity
from wso2_provisioning.tokens import ClientCredentials, request_client_token
from wso2_terms.artifacts import Artifacts, load_artifacts
from wso2_terms.documents import ArtifactError
from wso2_terms.mcp import MCP_RESOURCE
from wso2_terms.tools import Tool, ToolsLock, compare_tools, list_tools, read_tools_lock, write_tools_lock

WSO2_DIR = Path(__file__).resolve().parents[1] / "wso2"
LOCK = WSO2_DIR / "mcp-servers" / "tools.lock"


def main(argv: list[str] | None = None, *, lock_file: Path = LOCK) -> int:
    """Compare and, with --yes or after confirmation, approve; return 1 when something differs and stays so."""
    arguments = _build_parser().parse_args(argv)
    try:
        artifacts = load_artifacts(WSO2_DIR, DEFAULT_BACKENDS)
        approved = _read_approved(lock_file)
        offered = {**approved, **_request_offered(artifacts)} if arguments.live else _read_offered(artifacts)
    except (EvError, ArtifactError, ValueError) as error:
        print(f"tools-approve: {error}", file=sys.stderr)
        return 1
    servers = sorted(approved.keys() | offered.keys())
    differ = [
        server for server in servers if _print_differences(server, approved.get(server, {}), offered.get(server, {}))
    ]
    if not differ:
        print(f"{len(servers)} servers offer exactly the tools that were approved")
        return 0
    if arguments.check or not (arguments.yes or _ask_for_approval()):
        print("nothing approved; scripts/tools_approve.py does it")
        return 1
    write_tools_lock(lock_file, offered)
    print(f"approved in {lock_file}: agents take it up when they start the next time")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make tools-approve", description=__doc__)
    parser.add_argument("--live", action="store_true", help="ask the running gateway instead of the files")
    decided = parser.add_mutually_exclusive_group()
    decided.add_argument("--check", action="store_true", help="change nothing, exit 1 on a difference")
    decided.add_argument("--yes", action="store_true", help="approve without asking")
    return parser


def _read_approved(lock_file: Path) -> ToolsLock:
    return read_tools_lock(lock_file) if lock_file.exists() else {}


def _read_offered(artifacts: Artifacts) -> ToolsLock:
    return {
        project.root: _by_name(list_tools(project.server, artifacts.find_underlying_api(project).definition))
        for project in artifacts.mcp_servers
    }


def _request_offered(artifacts: Artifacts) -> ToolsLock:
    """Request the tools of the MCP servers that EVApp is subscribed to; it has no access to others."""
    settings = load(GatewaySettings)
    source = EnvironmentOrFileCredentials(
        settings.client_id, settings.client_secret, settings.client_id_file, settings.client_secret_file
    )
    read, servers = source.read(), [project.server for project in EVAPP.find_mcp_projects(artifacts)]
    client = ClientCredentials(read.client_id, read.client_secret)
    scopes = {listed.scope.name for server in servers for listed in server.scopes}
    listed: dict[str, dict[str, Tool]] = {}
    with HttpClient(settings.ca_file) as http:
        token = request_client_token(http, settings.token_url, client, EVAPP.name, scopes)
        bearer = Identity.from_token(EVAPP.name, token.access_token)
        for number, server in enumerate(servers, start=1):
            url = f"{settings.gateway_url}{server.versioned_context}{MCP_RESOURCE}"
            answer = http.call("POST", url, bearer, content=build_list_request(number), headers=HEADERS)
            listed[f"{server.name}-{server.version}"] = _by_name(parse_tools(answer.content, number))
    return listed


def _by_name(tools: tuple[Tool, ...]) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools}


def _print_differences(server: str, approved: Mapping[str, Tool], offered: Mapping[str, Tool]) -> bool:
    found = compare_tools(approved, offered.values())
    for difference in found:
        print(f"{server}: {difference}")
        before, after = _lines(approved.get(difference.name)), _lines(offered.get(difference.name))
        for line in list(difflib.unified_diff(before, after, "approved", "offered", n=2, lineterm="")):
            # Texts of a server are untrusted: no control character reaches the terminal.
            print("    " + "".join(letter if letter.isprintable() else "?" for letter in line))
    return bool(found)


def _lines(tool: Tool | None) -> list[str]:
    if tool is None:
        return []
    schema = json.dumps(tool.input_schema, indent=2, sort_keys=True, ensure_ascii=False)
    return [f"name: {tool.name}", "description:", *tool.description.split("\n"), "inputSchema:", *schema.split("\n")]


def _ask_for_approval() -> bool:
    try:
        return input("approve these tools? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    sys.exit(main())
