"""EVApp's credentials and call limits, from variables or from the files that the bootstrap writes.

The bootstrap replaces all files together by switching one link, so each read resolves the folder once.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import SecretStr

from charging_agent.gateway.budget import CallLimit
from ev_service.errors import ConfigurationError
from ev_service.settings import secret_from

_logger = logging.getLogger(__name__)

_LIMITS_FILE = "limits.json"
APPLICATION_LIMIT = "*"
"""Name of the limit that the application has for all its APIs together, where it has one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Consumer key and secret of EVApp."""

    client_id: str
    client_secret: SecretStr


class CredentialSource(Protocol):
    """Where the credentials come from; read again when the token endpoint refuses them."""

    def read(self) -> Credentials: ...


@dataclass(frozen=True, slots=True)
class EnvironmentOrFileCredentials:
    """Variables win over files."""

    client_id: SecretStr | None
    client_secret: SecretStr | None
    client_id_file: Path | None
    client_secret_file: Path | None

    def read(self) -> Credentials:
        """Read the credentials as they are now.

        Raises:
            ConfigurationError: a file is missing, unreadable or empty, or nothing is set.
        """
        id_file, secret_file = _resolve_together(self.client_id_file, self.client_secret_file)
        client_id = secret_from(self.client_id, id_file, "WSO2_CLIENT_ID")
        client_secret = secret_from(self.client_secret, secret_file, "WSO2_CLIENT_SECRET")
        if client_id is None or client_secret is None:
            raise ConfigurationError(
                "set WSO2_CLIENT_ID and WSO2_CLIENT_SECRET, or the same with _FILE; scripts/bootstrap.py writes them"
            )
        return Credentials(client_id.get_secret_value(), client_secret)


def read_call_limits(limits_file: Path | None, client_secret_file: Path | None) -> dict[str, CallLimit]:
    """Limits that the bootstrap found on the gateway, by name of the API or MCP server, and `SHARED`.

    An API that is not in it has the default; without `SHARED` the application has no limit of its own.

    Args:
        limits_file: `AGENT_LIMITS_FILE`, which must be readable when set.
        client_secret_file: else `limits.json` beside it, where there is one.

    Raises:
        ConfigurationError: the file is not what the bootstrap writes.
    """
    path = limits_file
    if path is None and client_secret_file is not None:
        beside = client_secret_file.parent / _LIMITS_FILE
        path = beside if beside.exists() else None
    if path is None:
        return {}
    try:
        content = cast(dict[str, dict[str, Any]], json.loads(path.read_text(encoding="utf-8")))
        return {name: _parse_limit(entry) for name, entry in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"limits file {path} cannot be used: {error}") from error


def _parse_limit(entry: dict[str, Any]) -> CallLimit:
    requests, per_s = entry["requests"], int(entry["per_s"])
    if per_s <= 0 or (requests is not None and int(requests) < 0):
        raise ValueError(f"requests and per_s must be positive, got {entry}")
    return CallLimit(None if requests is None else int(requests), per_s)


def _resolve_together(*files: Path | None) -> list[Path | None]:
    # The bootstrap's files are links through one folder that is switched as a whole, and so are those of a mounted
    # Kubernetes secret: the link is followed once, or key and secret could come from two sides of a switch.
    real: dict[Path, Path] = {}
    for file in files:
        if file is not None:
            real.setdefault(file.parent, file.resolve().parent)
    return [None if file is None else _in_folder(real[file.parent], file) for file in files]


def _in_folder(folder: Path, file: Path) -> Path:
    return folder / file.name if (folder / file.name).exists() else file
