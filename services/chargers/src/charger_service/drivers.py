"""The tokens that may charge, and the pseudonyms of drivers for other services.

A token identifies a person. Other services get a keyed pseudonym of it, `driver_id`: the same driver has the same one
as long as the key in the state folder is kept, and the token cannot be derived from it without that key.
"""

import hmac
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_service.errors import ConfigurationError
from ev_service.files import WatchedFile

KEY_FILE = "driver.key"
AUTOSTART_TOKEN = "AUTOSTART"
"""Token of transactions that the service itself requests; a list of tokens has to contain it to allow them."""
_AUTOSTART_DRIVER = "autostart"
_KEY_BYTES = 32
_ID_LENGTH = 20
"""Hexadecimal digits of a pseudonym: 80 bits, so that no two drivers of a site share one."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver of a session, by the token that was presented."""

    id_token: str
    """The token as the charger sent it; it stays in this service."""
    driver_id: str
    """Its pseudonym."""
    is_allowed: bool = True
    """Whether it may charge, by the list at that time."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    id_token: str = Field(min_length=1, max_length=64)
    name: str = Field(default="", max_length=100)


class _List(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Entry] = Field(max_length=100_000)


class Drivers:
    """The list of tokens, where there is one, and the key of the pseudonyms.

    Args:
        tokens_file: JSON with the tokens that may charge, read again when it changes; None: every token may.
        state_dir: where the key is kept; None: in memory, and other pseudonyms after a restart.

    Raises:
        ConfigurationError: the list or the key cannot be used.
    """

    def __init__(self, tokens_file: Path | None = None, state_dir: Path | None = None) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES) if state_dir is None else _read_or_create_key(state_dir)
        self._list: WatchedFile[Mapping[str, str]] | None = None
        if tokens_file is not None:
            try:
                self._list = WatchedFile(tokens_file, _names_of, "CHARGERS_TOKENS_FILE")
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"CHARGERS_TOKENS_FILE {tokens_file} cannot be used: {error}") from error

    @property
    def is_open(self) -> bool:
        """Whether every token may charge, because no list is set."""
        return self._list is None

    def may_charge(self, id_token: str) -> bool:
        """Return whether a token may charge."""
        return self._list is None or _fold_case(id_token) in self._list.read()

    def name_of(self, id_token: str) -> str | None:
        """Return the name of a token in the list; None: it has none."""
        return None if self._list is None else self._list.read().get(_fold_case(id_token)) or None

    def driver_of(self, id_token: str | None) -> Driver | None:
        """Return the driver of a token; None: no token. All sessions that the service requested have one driver."""
        if not id_token:
            return None
        if _fold_case(id_token) == _fold_case(AUTOSTART_TOKEN):
            return Driver(id_token, _AUTOSTART_DRIVER, self.may_charge(id_token))
        digest = hmac.digest(self._key, _fold_case(id_token).encode(errors="replace"), "sha256")
        return Driver(id_token, digest.hex()[:_ID_LENGTH], self.may_charge(id_token))

    def read_error(self) -> str | None:
        """Report why the list cannot be read again; None: it can, or there is none."""
        return None if self._list is None else self._list.read_error()


def _fold_case(id_token: str) -> str:
    """Normalize a token: its case does not count (CiString of OCPP 1.6, identifierString of 2.0.1)."""
    return id_token.strip().casefold()


def _names_of(content: bytes) -> Mapping[str, str]:
    try:
        entries = _List.model_validate_json(content).tokens
    except ValidationError as error:
        # Without the input, which is a token.
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where or 'the file'}: {first['msg']}") from None
    names = {_fold_case(entry.id_token): entry.name for entry in entries}
    if len(names) < len(entries):
        raise ValueError("a token is listed twice")
    return names


def _read_or_create_key(folder: Path) -> bytes:
    file = folder / KEY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            # The file is either complete or absent, and no other user can read it at any time.
            draft = folder / f"{KEY_FILE}.new"
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as writing:
                writing.write(secrets.token_bytes(_KEY_BYTES))
                writing.flush()
                os.fsync(writing.fileno())
            draft.replace(file)
        key = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"CHARGERS_STATE_DIR {folder}: {KEY_FILE} cannot be used: {error.strerror}") from error
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"CHARGERS_STATE_DIR {folder}: {KEY_FILE} is damaged; put back a copy, or remove it")
    return key
