"""Settings that more than one room reads, and the manner in which all are read.

Every setting comes from the environment; an empty variable counts as unset.
"""

from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ev_service.addresses import HttpUrl
from ev_service.errors import ConfigurationError

S = TypeVar("S", bound=BaseSettings)

PLACEHOLDER = "change-me"
"""How every placeholder secret of `.env.example` begins; nothing starts with one."""


class Settings(BaseSettings):
    """Base of all settings: frozen, read from the environment."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)


class SiteSettings(Settings):
    """The site. The default stands at Greensboro, whose measured typical year ships with pvlib."""

    model_config = SettingsConfigDict(env_prefix="SITE_")

    id: str = Field(default="greensboro", min_length=1, max_length=64, description="Name of the site.")
    latitude_deg: float = Field(default=36.1, ge=-90, le=90, description="Latitude [°], north positive.")
    longitude_deg: float = Field(default=-79.95, ge=-180, le=180, description="Longitude [°], east positive.")
    timezone: str = Field(default="America/New_York", description="IANA time zone of the site.")
    limit_kw: float = Field(default=100.0, gt=0, le=100_000, description="What the grid connection may carry [kW].")
    voltage_v: float = Field(default=230.0, ge=100, le=1000, description="Voltage between phase and neutral [V].")
    phases: int = Field(default=3, ge=1, le=3, description="Phases of the connection.")
    twin_url: HttpUrl | None = Field(
        default=None, description="Where the site twin answers; set: `simulated` readings come from it."
    )

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value} is not an IANA time zone such as America/New_York") from error
        return value


class RunSettings(Settings):
    """What all processes of one run share."""

    sim_seed: int = Field(default=7, ge=0, description="Same seed and clock, same simulated readings.")
    sim_clock_file: Path | None = Field(default=None, description="File that describes the run's clock; else real UTC.")
    gateway_cert_file: Path | None = Field(
        default=None,
        description="PEM of the gateway's signing certificates, read again when it changes; set: only calls through it "
        "are answered.",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level logged.")


def secret_from(value: SecretStr | None, file: Path | None, name: str) -> SecretStr | None:
    """The secret itself, or the content of the file that holds it; the value wins.

    Args:
        value: the secret from the variable `name`.
        file: path from the variable `name`_FILE.
        name: the variable's name, for the error.

    Returns:
        The secret, or None where neither is set.

    Raises:
        ConfigurationError: the file cannot be read or is empty, or the secret is a placeholder.
    """
    if value is None and file is not None:
        try:
            value = SecretStr(file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigurationError(f"{name}_FILE {file} cannot be read: {reason}") from error
        if not value.get_secret_value():
            raise ConfigurationError(f"{name}_FILE {file} is empty")
    if value is not None and value.get_secret_value().startswith(PLACEHOLDER):
        raise ConfigurationError(f"{name} is still the placeholder of .env.example; set a value of your own")
    return value


def load(settings: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        ConfigurationError: names each variable that is wrong and what it must be, never its value.
    """
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        wrong = "; ".join(
            f"{prefix}{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"settings are wrong: {wrong}") from error
