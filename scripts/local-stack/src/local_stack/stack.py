"""Starts the stack as processes: gateway, services, bootstrap, agent; in this order."""

import os
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from ev_service.connections import UVICORN_OPTIONS
from ev_service.settings import load
from local_stack import forking
from local_stack.environment import HOST, Passwords, Ports, StackSettings, select_system_variables
from local_stack.processes import Processes

ROOT = Path(__file__).resolve().parents[4]
ARTIFACTS = ROOT / "wso2"
_TARIFF = {
    "GRID_PRICES_SOURCE": "tariff",
    "GRID_PRICES_TARIFF_FILE": str(ROOT / "deploy" / "tariffs" / "example-us.json"),
}
"""Prices of a run whose caller sets none: an example for the site that is simulated by default."""
READING_SERVICES = ("solar", "battery", "grid")
SERVICES = (*READING_SERVICES, "chargers")
TWIN = "site-twin"

# One thread each: eight processes share few cores, and none has large arrays.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

PRELOADED = (
    (
        "local_gateway.app",
        "solar_service.app",
        "battery_service.app",
        "grid_service.app",
        "charger_service.app",
        "site_twin.app",
        "site_twin.field_devices",
        "charging_agent.app",
        "charging_agent.ledger.store",
        "ev_service.history.migration",
        "wso2_provisioning.cli",
        # Modules that libraries and the command line import at first use.
        "anyio._backends._asyncio",
        "cryptography.hazmat.backends.openssl.backend",
        "ev_service.http_protocol",
        "pydantic.v1",
        "uvicorn.lifespan.on",
        "uvicorn.loops.uvloop",
        "uvicorn.main",
        "uvicorn.protocols.websockets.auto",
    )
    if forking.IS_SUPPORTED
    else ()
)
"""Names of the modules that are imported once for all forked processes."""

_BLOCKED = "(blocked)"
"""In the agent's health where the gateway refuses it: `readings.ReadingError.BLOCKED`."""

Report = Callable[[str], None]
Wait = Callable[[], None]


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What is started, and where."""

    ports: Ports
    """Port of each listener."""

    passwords: Passwords
    """Passwords of the gateway's users."""

    state: Path
    """Folder of certificates, gateway state, credentials and logs."""

    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables for every process in addition to those that the stack sets."""

    has_twin: bool = True
    """Whether the devices are simulated by the site twin; otherwise they are real ones."""

    ready_s: float = field(default_factory=lambda: load(StackSettings).stack_ready_s)
    """Maximum time until a process is ready [s]."""

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def credentials(self) -> Path:
        return self.state / "credentials"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def ca_file(self) -> Path:
        return self.certificates / "ca.pem"

    @property
    def agent_url(self) -> str:
        return f"http://{HOST}:{self.ports.agent}"

    @property
    def gateway_url(self) -> str:
        return f"https://localhost:{self.ports.gateway_https}"

    @property
    def management_url(self) -> str:
        return f"https://localhost:{self.ports.management}"

    @property
    def twin_url(self) -> str:
        return f"http://{HOST}:{self.ports.twin}"

    @property
    def fleet(self) -> Path:
        """Folder of the charger configuration of charger service and twin."""
        return self.state / "fleet"

    def tls_context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts only the stack's own certificate authority."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def service_url(self, service: str) -> str:
        """Return the base URL of a service, without the gateway."""
        return f"http://{HOST}:{getattr(self.ports, service)}"

    def client_environment(self) -> dict[str, str]:
        """Return the variables by which bootstrap and agent reach the gateway."""
        return {
            "WSO2_MANAGEMENT_URL": self.management_url,
            "WSO2_GATEWAY_URL": self.gateway_url,
            "WSO2_TOKEN_URL": f"{self.management_url}/oauth2/token",
            "WSO2_CA_FILE": str(self.ca_file),
        }

    def operator_environment(self) -> dict[str, str]:
        """Return further variables of the bootstrap: the passwords, and the addresses of services and agent."""
        backends = {f"{service.upper()}_BACKEND_URL": self.service_url(service) for service in SERVICES}
        return backends | {
            "AGENT_BACKEND_URL": self.agent_url,
            "WSO2_ADMIN_PASSWORD": self.passwords.admin,
            "EVAPP_PASSWORD": self.passwords.evapp,
            "ASSISTANT_PASSWORD": self.passwords.assistant,
            "OPERATOR_PASSWORD": self.passwords.operator,
        }


class Stack:
    """A running stack."""

    def __init__(self, plan: StackPlan, processes: Processes) -> None:
        self.plan = plan
        self.processes = processes

    def check(self) -> None:
        """Check that every process runs.

        Raises:
            ProcessError: a process ended.
        """
        self.processes.check()


@contextmanager
def running(plan: StackPlan, report: Report) -> Generator[Stack]:
    """Start the stack and wait until it is bootstrapped and the agent has its readings; end it on leaving.

    Args:
        plan: what is started where.
        report: called with each step as it begins.

    Raises:
        ProcessError: a process ended or was not ready in time.
    """
    settings = dict(plan.settings) if "GRID_PRICES_SOURCE" in plan.settings else _TARIFF | dict(plan.settings)
    environment = select_system_variables(os.environ) | _ONE_THREAD | {"PYTHONUNBUFFERED": "1"} | settings
    plan.state.mkdir(parents=True, exist_ok=True)
    with Processes(plan.logs, environment, PRELOADED) as processes:
        report("certificates")
        commands = {"certificates": ["local_gateway", "--init", str(plan.certificates)]}
        commands |= {"fleet": ["site_twin", "--init", str(plan.fleet)]} if plan.has_twin else {}
        for child in [processes.start_module(name, *command, environment={}) for name, command in commands.items()]:
            processes.wait_for_end(child)
        report("gateway, services and devices")
        starters = [_start_gateway(plan, processes), *(_start_service(plan, processes, name) for name in SERVICES)]
        if plan.has_twin:
            _start_twin(plan, processes)
        # The bootstrap ends with a test call for a reading; the last service may start while the bootstrap runs.
        for wait in starters[:-1]:
            wait()
        report("bootstrap: policies, APIs, MCP servers, applications, subscriptions, keys")
        bootstrap(plan, processes)
        starters[-1]()
        report("agent")
        start_agent(plan, processes)
        yield Stack(plan, processes)


def bootstrap(plan: StackPlan, processes: Processes) -> None:
    """Run scripts/bootstrap.py against the gateway.

    Raises:
        ProcessError: its exit code is not 0; with the end of its log.
    """
    command = [str(ROOT / "scripts" / "bootstrap.py"), "--credentials-dir", str(plan.credentials)]
    environment = plan.client_environment() | plan.operator_environment()
    processes.wait_for_end(processes.start_module("bootstrap", *command, environment=environment))


def start_service(plan: StackPlan, processes: Processes, service: str) -> None:
    """Start one service and wait until it answers."""
    _start_service(plan, processes, service)()


def start_gateway(plan: StackPlan, processes: Processes) -> None:
    """Start the local gateway and wait until it answers."""
    _start_gateway(plan, processes)()


def start_agent(plan: StackPlan, processes: Processes) -> None:
    """Start the agent and wait until its readings allow a decision, or the gateway refuses it.

    An agent that was stopped by `make kill` stays stopped over a restart; the stack has to start without it.
    """
    environment = plan.client_environment() | {
        "WSO2_CLIENT_ID_FILE": str(plan.credentials / "client_id"),
        "WSO2_CLIENT_SECRET_FILE": str(plan.credentials / "client_secret"),
        "AGENT_STATE_DIR": str(plan.state / "agent"),
        "AGENT_TOOLS_LOCK_FILE": str(ARTIFACTS / "mcp-servers" / "tools.lock"),
    }
    _start_app(processes, "agent", ROOT / "agent", plan.ports.agent, environment)
    _wait_until_ready(plan, processes, "agent", f"{plan.agent_url}/health", probe_agent)


_HEALTH_PATH = "/api/am/gateway/v2/server-startup-healthcheck"


def _start_gateway(plan: StackPlan, processes: Processes) -> Wait:
    environment = {
        "LOCAL_GATEWAY_HTTPS_PORT": str(plan.ports.gateway_https),
        "LOCAL_GATEWAY_HTTP_PORT": str(plan.ports.gateway_http),
        "LOCAL_GATEWAY_MANAGEMENT_PORT": str(plan.ports.management),
        "LOCAL_GATEWAY_DEPLOYMENT_FILE": str(ARTIFACTS / "conf" / "deployment.toml"),
        "LOCAL_GATEWAY_STATE_DIR": str(plan.state / "gateway"),
        "LOCAL_GATEWAY_CERTIFICATE_DIR": str(plan.certificates),
        "WSO2_ADMIN_PASSWORD": plan.passwords.admin,
    }
    processes.start_module("gateway", "local_gateway", environment=environment)
    return partial(_wait_until_ready, plan, processes, "gateway", f"{plan.management_url}{_HEALTH_PATH}")


def _start_service(plan: StackPlan, processes: Processes, service: str) -> Wait:
    environment = {"GATEWAY_CERT_FILE": str(plan.certificates / "gateway-signing.pem")}
    if service in READING_SERVICES:
        environment |= {"HISTORY_DIR": str(plan.state / "history")}
        environment |= {"SITE_TWIN_URL": plan.twin_url} if plan.has_twin else {}
    else:
        environment |= {
            "CHARGERS_STATE_DIR": str(plan.state / service),
            "CHARGERS_OCPP_PORT": str(plan.ports.ocpp),
        }
        if plan.has_twin:
            environment |= {
                "CHARGERS_FILE": str(plan.fleet / "chargers.json"),
                "CHARGERS_METER_SOURCE": "simulated",
                "SITE_TWIN_URL": plan.twin_url,
            }
    _start_app(processes, service, ROOT / "services" / service, getattr(plan.ports, service), environment)
    return partial(_wait_until_ready, plan, processes, service, f"{plan.service_url(service)}/health")


def _start_twin(plan: StackPlan, processes: Processes) -> None:
    environment = {
        "TWIN_OCPP_URL": f"ws://{HOST}:{plan.ports.ocpp}",
        "TWIN_CHARGE_POINTS_FILE": str(plan.fleet / "charge-points.json"),
    }
    _start_app(processes, TWIN, ROOT / "services" / TWIN, plan.ports.twin, environment)


def _start_app(processes: Processes, name: str, folder: Path, port: int, environment: Mapping[str, str]) -> None:
    options = ["--host", HOST, "--port", str(port), *UVICORN_OPTIONS]
    processes.start_module(name, "uvicorn", "main:app", *options, environment=environment, folder=folder)


def probe_agent(url: str, trusted: ssl.SSLContext) -> str | None:
    """Return why the agent cannot decide; None if it can, or if the gateway refuses it.

    Args:
        url: URL of its health.
        trusted: TLS context, for https.
    """
    reason = _probe(url, trusted)
    return None if reason is not None and _BLOCKED in reason else reason


def _probe(url: str, trusted: ssl.SSLContext) -> str | None:
    try:
        response = httpx.get(url, verify=trusted, timeout=2, trust_env=False)
    except httpx.HTTPError as error:
        return type(error).__name__
    return None if response.status_code == 200 else f"{response.status_code} {response.text[:300]}"


def _wait_until_ready(
    plan: StackPlan,
    processes: Processes,
    name: str,
    url: str,
    probe: Callable[[str, ssl.SSLContext], str | None] = _probe,
) -> None:
    # Once, not for each probe: loading the authorities costs more than the request.
    trusted = plan.tls_context()
    processes.wait_until_ready(name, lambda: probe(url, trusted), plan.ready_s)
