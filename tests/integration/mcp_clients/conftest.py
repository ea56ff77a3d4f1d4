"""The whole stack on a clock that the tests move, and tokens of its applications for clients of the protocol."""

import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from tests.fetching import npm_modules
from tests.integration.mcp_clients.node_tools import INSPECTOR, INSPECTOR_OF_4_6, NodeTools

from ev_service.clock import FollowedClock, write_clock_file
from local_stack.controls import build_provisioning_settings
from local_stack.environment import free_ports, make_passwords
from local_stack.stack import StackPlan, running
from wso2_provisioning.applications import ASSISTANT, EVAPP, ApplicationSpec
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.owner_applications import read_credentials
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.tokens import ClientCredentials, request_client_token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.mcp import Wso2Version

HERE = Path(__file__).parent

A_MINUTE_AND_MORE_S = 61.0
"""After it, every limit counts anew."""


@dataclass(frozen=True)
class Site:
    """A running stack, the hand on its clock, and the applications' keys."""

    settings: ProvisioningSettings
    agent_url: str
    clock_file: Path
    keys: dict[str, ClientCredentials]

    @property
    def ca_file(self) -> Path:
        assert self.settings.wso2_ca_file is not None
        return self.settings.wso2_ca_file

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def url(self, subject: str) -> str:
        """Where the MCP server of a subject listens, e.g. `solar`."""
        return f"{self.settings.wso2_gateway_url}/{subject}-mcp/1.0.0/mcp"

    def pass_time(self, seconds: float) -> None:
        write_clock_file(self.clock_file, FollowedClock(self.clock_file).now() + timedelta(seconds=seconds))

    def let_the_agent_look(self) -> None:
        """Wait until the agent decided by itself, so that it does not in the midst of what a test asks."""
        asked_at, deadline = FollowedClock(self.clock_file).now(), time.monotonic() + 10
        while self._decided_at() < asked_at:
            assert time.monotonic() < deadline, "the agent did not look by itself"
            time.sleep(0.05)

    def _decided_at(self) -> datetime:
        told = httpx.get(f"{self.agent_url}/site-status", trust_env=False).raise_for_status().json()
        return datetime.fromisoformat(told["latest_decision"]["decided_at"])

    def token(self, application: ApplicationSpec, *scopes: str) -> str:
        with HttpClient(self.ca_file) as http:
            keys = self.keys[application.name]
            return request_client_token(
                http, self.settings.token_url, keys, application.name, scopes
            ).access_token.get_secret_value()


@contextmanager
def start_site(folder: Path, version: Wso2Version) -> Generator[Site]:
    """The whole stack, whose gateway answers like a version of the product."""
    clock_file = folder / "clock.json"
    write_clock_file(clock_file, datetime(2026, 6, 25, 16, tzinfo=UTC))
    variables = {"SIM_CLOCK_FILE": str(clock_file), "LOCAL_GATEWAY_WSO2_VERSION": version.value}
    plan = StackPlan(free_ports(), make_passwords(), folder, variables)
    with running(plan, lambda _step: None):
        settings = build_provisioning_settings(plan)
        with HttpClient(plan.ca_file) as http:
            wso2 = Wso2(http, settings)
            keys = {spec.name: read_credentials(wso2, spec) for spec in (EVAPP, ASSISTANT)}
        yield Site(settings, plan.agent_url, clock_file, keys)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    with start_site(tmp_path_factory.mktemp("stack"), Wso2Version.V4_6) as site:
        yield site


@pytest.fixture
def site(stack: Site) -> Site:
    """The stack with no call counted yet."""
    stack.pass_time(A_MINUTE_AND_MORE_S)
    return stack


@pytest.fixture(scope="module")
def newer_stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    with start_site(tmp_path_factory.mktemp("newer-stack"), Wso2Version.V4_7) as site:
        yield site


@pytest.fixture
def newer_site(newer_stack: Site) -> Site:
    """A stack whose gateway answers like 4.7, with no call counted yet."""
    newer_stack.pass_time(A_MINUTE_AND_MORE_S)
    return newer_stack


@pytest.fixture(scope="package")
def node_tools(request: pytest.FixtureRequest) -> NodeTools:
    """The tools that offer the revision of 4.6, installed once for each lock; skips where they cannot be had."""
    return _tools(request, HERE / "node", INSPECTOR_OF_4_6)


@pytest.fixture(scope="package")
def current_tools(request: pytest.FixtureRequest) -> NodeTools:
    """Today's inspector with today's SDK."""
    return _tools(request, HERE / "node-current", INSPECTOR)


def _tools(request: pytest.FixtureRequest, packages: Path, inspector: Path) -> NodeTools:
    cache = request.config.cache
    assert cache is not None
    return NodeTools(npm_modules(cache, packages), inspector)
