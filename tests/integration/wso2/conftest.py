"""The Compose stack, with WSO2 API Manager where its image can be had, and with the local gateway in its place.

The same tests run on both, so that where the image cannot be pulled the tests themselves are still tried.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from testcontainers.compose import DockerCompose

from local_stack.environment import HOST, Ports, find_free_ports, free_ports, make_passwords

ROOT = Path(__file__).resolve().parents[3]
VERSION = os.environ.get("WSO2AM_VERSION", "4.6.0")
IMAGE = f"wso2/wso2am:{VERSION}"
REGISTRY_S, PULL_S = 20, 1200
VERIFY_S = 900


@dataclass(frozen=True)
class Site:
    """A stack that is up and bootstrapped."""

    compose: DockerCompose
    project: str
    profile: str
    ports: Ports

    def run(self, *arguments: str, timeout_s: float = 120, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.compose.docker_compose_command(), *arguments],
            cwd=ROOT,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def verify(self) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
        """Run the verification where the bootstrap runs; its echo is reached by the container's name."""
        name = f"{self.project}-verify"
        done = self.run(
            *("run", "--rm", "--no-deps", "--name", name, "--entrypoint", "python", f"verify-{self.profile}"),
            *("-m", "wso2_provisioning.verification", "--artifacts", "/app/wso2", "--json", "-"),
            *(
                "--metrics-log",
                "/var/lib/ev/calls/apim_metrics.log",
                "--echo-url",
                f"http://{name}:8099",
                "--echo-bind",
                "0.0.0.0",
            ),
            timeout_s=VERIFY_S,
        )
        assert done.stdout, done.stderr[-4000:]
        return done, json.loads(done.stdout)["rows"]

    def metrics(self) -> str:
        return httpx.get(f"http://{HOST}:{self.ports.agent}/metrics", timeout=10, trust_env=False).text

    def decide(self) -> dict[str, Any]:
        answer = httpx.get(f"http://{HOST}:{self.ports.agent}/optimize-charging", timeout=10, trust_env=False)
        return answer.raise_for_status().json()


@pytest.fixture(
    scope="module",
    params=[pytest.param("local", id="local gateway"), pytest.param("wso2", marks=pytest.mark.wso2, id="WSO2")],
)
def site(
    request: pytest.FixtureRequest, docker_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Site]:
    profile: str = request.param
    if profile == "wso2":
        skip_without_image()
    request.getfixturevalue("images")
    request.getfixturevalue("broker_image")
    project, ports, passwords = f"ev-{profile}-{secrets.token_hex(4)}", free_ports(), make_passwords()
    settings = {
        "COMPOSE_PROJECT_NAME": project,
        "PYTHON_IMAGE": docker_environment["PYTHON_IMAGE"],
        "WSO2AM_VERSION": VERSION,
        "WSO2_ADMIN_PASSWORD": passwords.admin,
        "EVAPP_PASSWORD": passwords.evapp,
        "WSO2_KEYSTORE_PASSWORD": secrets.token_hex(12),
        "WSO2_TRUSTSTORE_PASSWORD": secrets.token_hex(12),
        "AGENT_PORT": str(ports.agent),
        "GATEWAY_HTTPS_PORT": str(ports.gateway_https),
        "GATEWAY_HTTP_PORT": str(ports.gateway_http),
        "GATEWAY_MANAGEMENT_PORT": str(ports.management),
        "OCPP_TLS_PORT": str(ports.ocpp),
        "MQTT_TLS_PORT": str(next(find_free_ports())),
    }
    file = tmp_path_factory.mktemp("compose") / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
    compose = DockerCompose(ROOT, "compose.yaml", env_file=str(file), profiles=[profile, "simulation"])
    try:
        compose.start()
        yield Site(compose, project, profile, ports)
    finally:
        compose.stop()


def skip_without_image() -> None:
    """Skip, within seconds, where the image is not here and the registry does not have it for us."""
    if _ends_well(["docker", "image", "inspect", IMAGE], REGISTRY_S):
        return
    if not _ends_well(["docker", "manifest", "inspect", IMAGE], REGISTRY_S):
        pytest.skip(f"{IMAGE} is not here and cannot be pulled")
    if not _ends_well(["docker", "pull", "--quiet", IMAGE], PULL_S):
        pytest.skip(f"{IMAGE} could not be pulled within {PULL_S} s")


def _ends_well(command: list[str], timeout_s: float) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout_s).returncode == 0
    except subprocess.TimeoutExpired:
        return False
