"""The passwords of one run: random, and kept in a file only where the run's state is kept."""

import json
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

# WSO2 takes 5 to 30 characters without blanks.
_LENGTH = 24
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True, repr=False)
class Passwords:
    """Passwords of the administrator and of EVApp's owner."""

    admin: str
    evapp: str


def random_passwords() -> Passwords:
    """New passwords of 24 letters and digits."""
    return Passwords(*("".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for _ in range(2)))


def kept_passwords(path: Path) -> Passwords:
    """The passwords in the file, which is made with random ones where there is none."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(random_passwords())), encoding="utf-8")
    return Passwords(**json.loads(path.read_text(encoding="utf-8")))
