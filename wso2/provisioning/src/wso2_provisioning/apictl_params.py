"""Writes what apictl puts into a project at import: the endpoints, which it takes from a parameters file alone.

Source: apictl 4.6, "Configuring Environment Specific Parameters"; variables in api.yaml itself it leaves as they are.
"""

from pathlib import Path

import yaml

from wso2_terms.api_project import Endpoint, EndpointConfig
from wso2_terms.artifacts import Artifacts


def write_apictl_params(artifacts: Artifacts, folder: Path, environment: str) -> list[Path]:
    """Write one parameters file for each API, `FOLDER/ENVIRONMENT/SolarAPI-1.0.0.yaml`.

    Args:
        artifacts: their placeholders filled.
        folder: made where it is missing; files of an earlier run are replaced.
        environment: name that apictl knows WSO2 by.

    Returns:
        The files.
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
    """The content of a parameters file with these endpoints for one environment."""
    endpoints = {"production": _dump_endpoint(config.production_endpoints)}
    if config.sandbox_endpoints is not None:
        endpoints["sandbox"] = _dump_endpoint(config.sandbox_endpoints)
    return {"environments": [{"name": environment, "configs": {"endpoints": endpoints}}]}


def _dump_endpoint(endpoint: Endpoint) -> dict[str, object]:
    # apictl replaces the endpoint as a whole, so its timeout and suspension are said again.
    return endpoint.model_dump(mode="json", by_alias=True, exclude_none=True)
