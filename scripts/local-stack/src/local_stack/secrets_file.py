"""The passwords of one run: random, and kept in a file only where the run's state is kept."""

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ev_service.files import replace_file

# 24 characters: WSO2 accepts 5 to 30 without blanks.
_PASSWORD_BYTES = 12


@dataclass(frozen=True, slots=True, repr=False)
class Passwords:
    """Passwords of the administrator and of each application's owner."""

    admin: str
    evapp: str
    assistant: str
    operator: str


def make_passwords() -> Passwords:
    """Create new passwords of 24 hexadecimal digits."""
    return Passwords(**{field.name: secrets.token_hex(_PASSWORD_BYTES) for field in fields(Passwords)})


def load_passwords(path: Path) -> Passwords:
    """Read the passwords from the file; missing ones are created and written to it."""
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    passwords = Passwords(
        **{field.name: kept.get(field.name) or secrets.token_hex(_PASSWORD_BYTES) for field in fields(Passwords)}
    )
    if asdict(passwords) != kept:
        replace_file(path, json.dumps(asdict(passwords)))
    return passwords
