"""Finds the stack to attack: that of the variables, else that of `make run`, of `make up`, or one of its own."""

import os
import ssl
import subprocess
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from dotenv import dotenv_values
from pydantic import SecretStr
from tests.attacks.minutes import RealMinutes
from tests.attacks.own_stack import artifacts, of_plan, own_stack
from tests.attacks.stack import Stack
from tests.attacks.traffic import Text

from ev_service.errors import ConfigurationError
from ev_service.settings import load
from local_stack.environment import HOST, Ports, PortSettings, load_passwords
from local_stack.run import STATE
from local_stack.stack import ROOT, StackPlan
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.smoke_test import HEALTH_PATH

Report = Callable[[str], None]
SERVICE_PORTS = {"solar": 8001, "battery": 8002, "grid": 8003, "chargers": 8005}
_CA_FILES = {
    "gateway": "/var/lib/ev/keys/ca.pem",
    "wso2am": "/home/wso2carbon/wso2-config-volume/ca.pem",
}
_METRICS_LOGS = {
    "gateway": "/var/lib/ev/state/apim_metrics.log",
    "wso2am": "/home/wso2carbon/wso2am-4.6.0/repository/logs/apim_metrics.log",
}
_NAMED_BY = ("WSO2_MANAGEMENT_URL", "WSO2_GATEWAY_URL")
_DOCKER_S = 30.0


@contextmanager
def find_stack(report: Report, *, is_own: bool = False) -> Generator[Stack]:
    """Give the stack that is attacked; one that is started for it ends on leaving.

    Args:
        report: told what is done.
        is_own: start one of our own, whatever runs.

    Raises:
        EvError: variables name a stack that does not answer, or our own does not start.
    """
    if not is_own:
        with TemporaryDirectory(prefix="ev-prove-ca-") as folder:
            stack = (
                find_configured_stack(report) or find_make_run_stack(report) or find_compose_stack(Path(folder), report)
            )
            if stack is not None:
                yield stack
                return
    with own_stack(report) as (stack, _):
        yield stack


def find_configured_stack(report: Report) -> Stack | None:
    """The stack that the bootstrap's variables name, None where none does.

    Raises:
        ConfigurationError: it does not answer.
    """
    if not any(os.environ.get(name) for name in _NAMED_BY):
        return None
    settings = load(ProvisioningSettings)
    settings.require_evapp_password()
    if not is_reachable(settings.wso2_management_url, settings.wso2_ca_file):
        raise ConfigurationError(
            f"{settings.wso2_management_url} does not answer, or is not trusted: see WSO2_MANAGEMENT_URL, WSO2_CA_FILE"
        )
    kind, is_local = detect_kind(settings)
    services = {name: url for name in SERVICE_PORTS if (url := os.environ.get(f"{name.upper()}_BACKEND_URL"))}
    return Stack(
        label=f"{kind} at {settings.wso2_gateway_url}, named by variables",
        is_local=is_local,
        settings=settings,
        artifacts=artifacts(dict(os.environ)),
        minutes=RealMinutes(report),
        ca_file=settings.wso2_ca_file,
        services=services,
        passwords=_passwords(settings),
    )


def find_make_run_stack(report: Report) -> Stack | None:
    """The stack of `make run`, None where it does not run."""
    passwords_file = STATE / "passwords.json"
    if not passwords_file.exists():
        return None
    # The ports as set, whoever listens on them: PortSettings.ports() insists on their being free.
    ports = Ports(*load(PortSettings).model_dump().values())
    plan = StackPlan(ports, load_passwords(passwords_file), STATE)
    if not plan.ca_file.exists() or not is_reachable(plan.management_url, plan.ca_file):
        return None
    return of_plan(plan, "local gateway, processes of make run", RealMinutes(report), None)


def find_compose_stack(folder: Path, report: Report) -> Stack | None:
    """The Compose stack of this checkout, None where it does not run."""
    settings = _env_file(ROOT / ".env")
    service = _gateway_service() if settings else None
    if service is None:
        return None
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(_docker("compose", "exec", "-T", service, "cat", _CA_FILES[service]))
    provisioning = ProvisioningSettings(
        wso2_management_url=f"https://localhost:{settings.get('GATEWAY_MANAGEMENT_PORT', '9443')}",
        wso2_gateway_url=f"https://localhost:{settings.get('GATEWAY_HTTPS_PORT', '8243')}",
        wso2_ca_file=ca_file,
        wso2_admin_username=settings.get("WSO2_ADMIN_USERNAME") or "admin",
        wso2_admin_password=SecretStr(settings["WSO2_ADMIN_PASSWORD"]),
        evapp_password=SecretStr(settings["EVAPP_PASSWORD"]),
        assistant_password=_secret(settings.get("ASSISTANT_PASSWORD")),
        operator_password=_secret(settings.get("OPERATOR_PASSWORD")),
    )
    if not is_reachable(provisioning.wso2_management_url, ca_file):
        return None
    kind, is_local = detect_kind(provisioning)
    return Stack(
        label=f"{kind} in Compose",
        is_local=is_local,
        settings=provisioning,
        artifacts=artifacts(settings),
        minutes=RealMinutes(report),
        ca_file=ca_file,
        services={name: f"http://{_address_of(name)}:{port}" for name, port in SERVICE_PORTS.items()},
        is_walled=True,
        agent_url=f"http://{HOST}:{settings.get('AGENT_PORT', '8004')}",
        logs=lambda: _compose_logs(service),
        passwords={name: value for name, value in settings.items() if name.endswith("_PASSWORD") and value},
    )


def is_reachable(management_url: str, ca_file: Path | None) -> bool:
    """Tell whether a gateway that is trusted is ready there."""
    trust = ssl.create_default_context()
    if ca_file is not None:
        trust.load_verify_locations(cafile=ca_file)
    try:
        return httpx.get(management_url + HEALTH_PATH, verify=trust, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def detect_kind(settings: ProvisioningSettings) -> tuple[str, bool]:
    """Tell which gateway it is, with its version, and whether it is the local one."""
    trust = ssl.create_default_context()
    if settings.wso2_ca_file is not None:
        trust.load_verify_locations(cafile=settings.wso2_ca_file)
    url = f"{settings.wso2_management_url}/services/Version"
    said = httpx.get(url, verify=trust, timeout=10, trust_env=False)
    _, found, version = said.text.partition("WSO2 API Manager-")
    return (f"WSO2 API Manager {version.partition('<')[0]}", False) if found else ("local gateway", True)


def _secret(text: str | None) -> SecretStr | None:
    return SecretStr(text) if text else None


def _passwords(settings: ProvisioningSettings) -> Mapping[str, str]:
    return {
        "administrator": settings.require_admin_password().get_secret_value(),
        "evapp": settings.require_evapp_password().get_secret_value(),
    }


def _env_file(path: Path) -> dict[str, str]:
    values = {name: value for name, value in dotenv_values(path).items() if value}
    return values if values.get("WSO2_ADMIN_PASSWORD") and values.get("EVAPP_PASSWORD") else {}


def _gateway_service() -> str | None:
    running = _docker("compose", "ps", "--services", "--status", "running").decode().split()
    return next((service for service in _CA_FILES if service in running), None)


def _address_of(service: str) -> str:
    """Address of a container: from the host it is reached past every network of Compose."""
    container = _docker("compose", "ps", "--quiet", service).decode().strip()
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    found = _docker("inspect", "--format", form, container).decode().split() if container else []
    return found[0] if found else HOST


def _compose_logs(service: str) -> Iterable[Text]:
    yield "docker compose logs", _docker("compose", "logs", "--no-color")
    yield "apim_metrics.log", _docker("compose", "exec", "-T", service, "cat", _METRICS_LOGS[service])


def _docker(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, timeout=_DOCKER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout
