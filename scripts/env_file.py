"""The stack's `.env`: made from `.env.example` with random passwords, and read as far as `make up` needs it.

Standard library only, for any Python from 3.8 on; knows nothing of Docker.
"""

from __future__ import annotations

import os
import re
import secrets
import string
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSWORDS = ("WSO2_ADMIN_PASSWORD", "EVAPP_PASSWORD", "WSO2_KEYSTORE_PASSWORD", "WSO2_TRUSTSTORE_PASSWORD")
ADDED = ("ASSISTANT_PASSWORD", "OPERATOR_PASSWORD")
"""Passwords that an older `.env` lacks, and that nothing remembers before they are there."""
PLACEHOLDER = "change-me"
PROFILES = "COMPOSE_PROFILES"
PYTHON_IMAGE = "python:3.13-slim"
"""What compose.yaml builds on unless `PYTHON_IMAGE` says otherwise."""
SIMULATION = "simulation"
DEFAULT_PROFILES = f"wso2,{SIMULATION}"

_ENTRY = re.compile(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$")
# WSO2 takes 5 to 30 characters without blanks; these need no quoting anywhere.
_LENGTH = 24
_ALPHABET = string.ascii_letters + string.digits


def make(env: Path, example: Path, profile: str | None) -> None:
    """Write `.env`, readable by its owner alone, with a random password for each placeholder."""
    text = example.read_text(encoding="utf-8")
    text = re.sub(rf"(?m)^([A-Z0-9_]+)={PLACEHOLDER}.*$", lambda found: f"{found[1]}={_password()}", text)
    if profile:
        chosen = ",".join(profiles({}, profile))
        text = re.sub(rf"(?m)^{PROFILES}=.*$", f"{PROFILES}={chosen}", text)
    descriptor = os.open(str(env), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def profiles(settings: Mapping[str, str], gateway: str | None) -> list[str]:
    """The profiles of the stack: those of the settings, with the gateway that was asked for in place of theirs.

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
            file.write("\n" + "".join(f"{name}={_password()}\n" for name in missing))
    return missing


def read(env: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What Compose will see: the file's entries, and over them what the shell sets. Empty counts as unset."""
    text = env.read_text(encoding="utf-8") if env.exists() else ""
    entries = {name: value.strip().strip("'\"") for name, value in _ENTRY.findall(text)}
    entries.update(environment)
    return {name: value for name, value in entries.items() if value}


def find_password_error(settings: Mapping[str, str]) -> str | None:
    """Say which password is missing or still a placeholder, None when all are set."""
    for name in (*PASSWORDS, *ADDED):
        value = settings.get(name, "")
        # Without the added ones the bootstrap leaves their applications out.
        if not value and name in PASSWORDS:
            return f"{name} is not set in .env: set it to a password of 6 to 30 characters without blanks."
        if value.startswith(PLACEHOLDER):
            return (
                f"{name} in .env is still the placeholder: set a password of your own, 6 to 30 characters, no blanks."
            )
    return None


def _password() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
