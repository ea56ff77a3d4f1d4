"""The `.env` of the stack: written from `.env.example` with random passwords, read as Compose reads it; its ports."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from docker_stack.docker_cli import DockerStackError

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSWORDS = ("WSO2_ADMIN_PASSWORD", "EVAPP_PASSWORD", "WSO2_KEYSTORE_PASSWORD", "WSO2_TRUSTSTORE_PASSWORD")
ADDED = ("ASSISTANT_PASSWORD", "OPERATOR_PASSWORD")
"""Passwords that an older `.env` lacks; no state depends on them before they are set."""
PLACEHOLDER = "change-me"
PROFILES = "COMPOSE_PROFILES"
PYTHON_IMAGE = "python:3.13-slim"
"""Base image of compose.yaml unless `PYTHON_IMAGE` names another one."""
SIMULATION = "simulation"
DEFAULT_PROFILES = f"wso2,{SIMULATION}"

GATEWAYS = {"wso2": "wso2am", "local": "gateway"}
"""Service of the gateway, by profile."""

_PORTS = {
    "AGENT_PORT": ("EDGE_ADDRESS", 8004),
    "GATEWAY_MANAGEMENT_PORT": ("EDGE_ADDRESS", 9443),
    "GATEWAY_HTTPS_PORT": ("EDGE_ADDRESS", 8243),
    "GATEWAY_HTTP_PORT": ("EDGE_ADDRESS", 8280),
    "MQTT_TLS_PORT": ("FIELD_ADDRESS", 8883),
    "OCPP_TLS_PORT": ("FIELD_ADDRESS", 9001),
}
"""For each variable of a port: the variable of its address, and the default port."""

LOCAL_ADDRESS = "127.0.0.1"
_ENTRY = re.compile(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$")
# 24 characters: WSO2 accepts 5 to 30 without blanks, and hexadecimal digits need no quoting anywhere.
_PASSWORD_BYTES = 12


def create(env: Path, example: Path, profile: str | None) -> None:
    """Write `.env`, readable by its owner alone, with a random password for each placeholder."""
    text = example.read_text(encoding="utf-8")
    text = re.sub(
        rf"(?m)^([A-Z0-9_]+)={PLACEHOLDER}.*$", lambda found: f"{found[1]}={secrets.token_hex(_PASSWORD_BYTES)}", text
    )
    if profile:
        chosen = ",".join(list_profiles({}, profile))
        text = re.sub(rf"(?m)^{PROFILES}=.*$", f"{PROFILES}={chosen}", text)
    descriptor = os.open(str(env), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def list_profiles(settings: Mapping[str, str], gateway: str | None) -> list[str]:
    """Return the profiles of the stack: those of the settings, with the requested gateway instead of theirs.

    Args:
        settings: entries of `.env`.
        gateway: profile of the gateway; None keeps that of the settings.
    """
    named = [name.strip() for name in settings.get(PROFILES, DEFAULT_PROFILES).split(",") if name.strip()]
    return named if gateway is None else [gateway, *(name for name in named if name == SIMULATION)]


def complete(env: Path, settings: Mapping[str, str]) -> list[str]:
    """Add random passwords that a file of an earlier version lacks; return their names."""
    missing = [name for name in ADDED if name not in settings]
    if missing:
        with env.open("a", encoding="utf-8", newline="\n") as file:
            file.write("\n" + "".join(f"{name}={secrets.token_hex(_PASSWORD_BYTES)}\n" for name in missing))
    return missing


def read(env: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Compose sees: entries of the file, overridden by the shell; empty counts as unset."""
    text = env.read_text(encoding="utf-8") if env.exists() else ""
    entries = {name: value.strip().strip("'\"") for name, value in _ENTRY.findall(text)}
    entries.update(environment)
    return {name: value for name, value in entries.items() if value}


def find_password_error(settings: Mapping[str, str]) -> str | None:
    """Return which password is missing or still a placeholder, None if all are set."""
    for name in (*PASSWORDS, *ADDED):
        value = settings.get(name, "")
        # Without an added one the bootstrap omits its application.
        if not value and name in PASSWORDS:
            return f"{name} is not set in .env: set it to a password of 6 to 30 characters without blanks."
        if value.startswith(PLACEHOLDER):
            return (
                f"{name} in .env is still the placeholder: set a password of your own, 6 to 30 characters, no blanks."
            )
    return None


def read_ports(settings: Mapping[str, str]) -> dict[str, int]:
    """Return the published ports by the variable that sets them.

    Raises:
        DockerStackError: a port is not a number.
    """
    wrong = [name for name in _PORTS if name in settings and not settings[name].isdigit()]
    if wrong:
        raise DockerStackError(f"{wrong[0]} in .env must be a number, such as {_PORTS[wrong[0]][1]}.")
    return {name: int(settings.get(name, default)) for name, (_, default) in _PORTS.items()}


def read_address(settings: Mapping[str, str], port: str) -> str:
    """Return the address on which a port, named by its variable, is published."""
    return settings.get(_PORTS[port][0], LOCAL_ADDRESS)
