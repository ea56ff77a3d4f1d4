"""`HISTORY_…`: where a service keeps its readings, how often, and for how long."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from ev_service.settings import Settings


def postgresql_url(value: str) -> str:
    """Validate the URL of a PostgreSQL database without a password in it.

    Raises:
        ValueError: not such a URL, or one with a password.

    >>> postgresql_url("postgresql://history@db.example/energy?sslmode=verify-full")
    'postgresql://history@db.example/energy?sslmode=verify-full'
    """
    url = urlsplit(value)
    _ = url.port  # raises ValueError if it is not a number
    if url.scheme != "postgresql" or not url.hostname or not url.path.strip("/") or url.fragment:
        raise ValueError("must be a URL such as postgresql://user@host:5432/database")
    if url.password is not None or "password" in url.query:
        raise ValueError("must not hold a password; set HISTORY_DATABASE_PASSWORD or its _FILE")
    return value


class HistorySettings(Settings):
    """Of solar, battery and grid service."""

    model_config = SettingsConfigDict(env_prefix="HISTORY_")

    dir: Path | None = Field(
        default=None,
        description="Folder of the SQLite file in which each service keeps its readings; with neither this nor "
        "HISTORY_DATABASE_URL nothing is kept and GET /history answers 404.",
    )
    database_url: Annotated[str, AfterValidator(postgresql_url)] | None = Field(
        default=None,
        description="PostgreSQL database for the readings in place of HISTORY_DIR, without a password. Without "
        "sslmode in it, another machine has to prove who it is (verify-full).",
    )
    database_password: SecretStr | None = Field(default=None, description="Password of that database's user.")
    database_password_file: Path | None = Field(default=None, description="File that has it.")
    period_s: int = Field(
        default=60, ge=10, le=900, description="One reading is kept in each period of this length [s]."
    )
    raw_days: int = Field(
        default=14, ge=1, le=366, description="Age up to which every reading is kept [d]; then their means of 15 min."
    )
    mean_days: int = Field(default=730, ge=1, le=7300, description="Age up to which means are kept [d].")

    @model_validator(mode="after")
    def _means_last_longer(self) -> "HistorySettings":
        if self.mean_days < self.raw_days:
            raise ValueError("HISTORY_MEAN_DAYS must not be less than HISTORY_RAW_DAYS")
        return self
