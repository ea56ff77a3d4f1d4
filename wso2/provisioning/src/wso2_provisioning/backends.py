"""Where the gateway finds the services, and the artifacts in which that is filled in."""

import os
from collections.abc import Mapping
from pathlib import Path

from wso2_terms.artifacts import Artifacts, load_artifacts

DEFAULT_BACKENDS: Mapping[str, str] = {
    "SOLAR_BACKEND_URL": "http://localhost:8001",
    "BATTERY_BACKEND_URL": "http://localhost:8002",
    "GRID_BACKEND_URL": "http://localhost:8003",
    "AGENT_BACKEND_URL": "http://localhost:8004",
    "CHARGERS_BACKEND_URL": "http://localhost:8005",
}
"""Where the gateway finds the services when nothing else is said: the ports they listen on by default."""


def load_configured_artifacts(folder: Path) -> Artifacts:
    """Read the artifacts, their placeholders filled from the environment.

    Args:
        folder: holds apis/, mcp-servers/ and policies/.

    Raises:
        ArtifactError: they can not be read, or a placeholder has no value.
    """
    return load_artifacts(folder, {**DEFAULT_BACKENDS, **{name: value for name, value in os.environ.items() if value}})
