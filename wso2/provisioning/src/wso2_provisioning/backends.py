"""Backend URLs of the published APIs: filled into the artifacts, or written as parameter files for apictl.

apictl takes endpoints from a parameter file only; it does not replace variables in api.yaml.
Source: apictl 4.6, "Configuring Environment Specific Parameters".
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from wso2_terms.api_project import Endpoint, EndpointConfig
from wso2_terms.artifacts import Artifacts, load_artifacts


@dataclass(frozen=True, slots=True)
class Backend:
    """A service that stands behind APIs."""

    url: str
    """Base URL where no variable sets it: the default port of the service."""

    module: str
    """Python module whose `create_app` builds the service; its routes make the definitions of its APIs."""


BACKENDS: Mapping[str, Backend] = {
    "SOLAR_BACKEND_URL": Backend("http://localhost:8001", "solar_service.app"),
    "BATTERY_BACKEND_URL": Backend("http://localhost:8002", "battery_service.app"),
    "GRID_BACKEND_URL": Backend("http://localhost:8003", "grid_service.app"),
    "AGENT_BACKEND_URL": Backend("http://localhost:8004", "charging_agent.app"),
    "CHARGERS_BACKEND_URL": Backend("http://localhost:8005", "charger_service.app"),
}
"""Services by the variable that the endpoint of an `api.yaml` names."""

DEFAULT_BACKENDS: Mapping[str, str] = {name: backend.url for name, backend in BACKENDS.items()}
"""Base URLs by variable, where no variable is set."""


def load_configured_artifacts(folder: Path) -> Artifacts:
    """Load the artifacts, with placeholders replaced from the environment.

    Args:
        folder: contains apis/, mcp-servers/ and policies/.

    Raises:
        ArtifactError: they cannot be read, or a placeholder has no value.
    """
    return load_artifacts(folder, {**DEFAULT_BACKENDS, **{name: value for name, value in os.environ.items() if value}})


def write_apictl_params(artifacts: Artifacts, folder: Path, environment: str) -> list[Path]:
    """Write one parameters file for each API, `FOLDER/ENVIRONMENT/SolarAPI-1.0.0.yaml`.

    Args:
        artifacts: with placeholders replaced.
        folder: created if missing; existing files are replaced.
        environment: name of WSO2 in apictl.

    Returns:
        Paths of the files.
    """
    written: list[Path] = []
    for project in artifacts.apis:
        path = folder / environment / f"{project.root}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(build_apictl_params(project.api.endpoint_config, environment), sort_keys=False)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def build_apictl_params(config: EndpointConfig, environment: str) -> dict[str, object]:
    """Return the content of a parameters file with these endpoints for one environment."""
    endpoints = {"production": _dump_endpoint(config.production_endpoints)}
    if config.sandbox_endpoints is not None:
        endpoints["sandbox"] = _dump_endpoint(config.sandbox_endpoints)
    return {"environments": [{"name": environment, "configs": {"endpoints": endpoints}}]}


def _dump_endpoint(endpoint: Endpoint) -> dict[str, object]:
    # apictl replaces the endpoint as a whole, so timeout and suspension are included.
    return endpoint.model_dump(mode="json", by_alias=True, exclude_none=True)
