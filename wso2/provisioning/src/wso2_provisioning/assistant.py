"""How to connect a person's own assistant: address, token, and a configuration to paste. Changes nothing."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ev_service.errors import EvError
from ev_service.settings import load
from wso2_provisioning.applications import ASSISTANT
from wso2_provisioning.backends import load_configured_artifacts
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.owner_applications import request_application_token
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.wso2 import Wso2
from wso2_terms.documents import ArtifactError


def main(argv: Sequence[str] | None = None, *, artifacts_dir: Path) -> int:
    """Print the instructions and return the exit code.

    Args:
        argv: arguments; None takes those of the process.
        artifacts_dir: folder of the artifacts.
    """
    parser = argparse.ArgumentParser(prog="make assistant", description=__doc__)
    parser.add_argument("--token-only", action="store_true", help="print the token and nothing else")
    arguments = parser.parse_args(argv)
    try:
        settings = load(ProvisioningSettings)
        artifacts = load_configured_artifacts(artifacts_dir)
        server = ASSISTANT.find_mcp_projects(artifacts)[0].server
        with HttpClient(settings.wso2_ca_file) as http:
            token = request_application_token(Wso2(http, settings), artifacts, ASSISTANT)
    except (EvError, ArtifactError) as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    text = token.access_token.get_secret_value()
    if not arguments.token_only:
        url = f"{settings.wso2_gateway_url}{server.versioned_context}/mcp"
        text = _format_instructions(url, text, settings.wso2_ca_file)
    sys.stdout.write(f"{text}\n")
    return 0


def _format_instructions(url: str, token: str, ca_file: Path | None) -> str:
    server = {"type": "http", "url": url, "headers": {"Authorization": f"Bearer {token}"}}
    snippet = json.dumps({"mcpServers": {"ev-charging": server}}, indent=2)
    trust = "" if ca_file is None else f"\nAuthority to trust (for Node: NODE_EXTRA_CA_CERTS): {ca_file}"
    return (
        f"MCP server: {url}   (Streamable HTTP, protocol 2025-06-18){trust}\n"
        "The token is valid for an hour; requesting another one revokes it.\n\n"
        f"mcp.json:\n{snippet}"
    )
