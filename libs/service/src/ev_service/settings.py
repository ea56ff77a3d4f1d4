"""Types of settings, settings that several members share, and how all settings are read.

Every setting comes from the environment; an empty variable counts as unset. URLs of governed calls use TLS or a
loopback address.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ev_service.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or address, is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("wso2am")
    (True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def http_url(value: str) -> str:
    """Validate a URL without user information; return it without a slash at the end.

    Raises:
        ValueError: not such a URL.
    """
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
        raise ValueError("must be a URL such as https://localhost:9443, without a user in it")
    return value.rstrip("/")


def safe_url(value: str) -> str:
    """Validate a URL that may carry secrets; return it without a slash at the end.

    Raises:
        ValueError: not a URL, one with user information, or http:// to another machine.

    >>> safe_url("https://wso2am:9443/")
    'https://wso2am:9443'
    """
    accepted = http_url(value)
    url = urlsplit(accepted)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError(f"http:// is taken for a loopback address alone, use https:// for {url.hostname}")
    return accepted


HttpUrl = Annotated[str, AfterValidator(http_url)]
"""A URL without secrets whose responses are not trusted: that of the simulated site, on its own network."""

SafeUrl = Annotated[str, AfterValidator(safe_url)]


def mqtt_url(value: str) -> str:
    """Validate the URL of an MQTT broker to which no password is sent in plain text.

    Raises:
        ValueError: not such a URL, one with user information or a path, or mqtt:// to another machine.

    >>> mqtt_url("mqtts://broker.example")
    'mqtts://broker.example'
    """
    url = urlsplit(value)
    port = url.port  # raises ValueError if it is not a number
    is_address = url.scheme in ("mqtt", "mqtts") and bool(url.hostname) and url.username is None and port != 0
    if not is_address or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("must be a URL such as mqtts://localhost:8883, without a user or a path in it")
    if url.scheme == "mqtt" and not is_loopback(url.hostname or ""):
        raise ValueError(f"mqtt:// is taken for a loopback address alone, use mqtts:// for {url.hostname}")
    return value.rstrip("/")


def mqtt_host_port(url: str) -> tuple[str, int]:
    """Return host and port of a broker; without a port in the URL the registered one: 1883, with TLS 8883.

    >>> mqtt_host_port("mqtts://broker.example")
    ('broker.example', 8883)
    """
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (8883 if parts.scheme == "mqtts" else 1883)


MqttUrl = Annotated[str, AfterValidator(mqtt_url)]


S = TypeVar("S", bound=BaseSettings)

PLACEHOLDER = "change-me"
"""Prefix of every placeholder secret in `.env.example`; no service starts with one."""


class Settings(BaseSettings):
    """Base of all settings: frozen, read from the environment."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)


class SiteSettings(Settings):
    """The site. The default is Greensboro, whose measured typical year is part of pvlib."""

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
    """Settings that all processes of a run share."""

    sim_seed: int = Field(default=7, ge=0, description="Same seed and clock, same simulated readings.")
    sim_clock_file: Path | None = Field(default=None, description="File that describes the run's clock; else real UTC.")
    gateway_cert_file: Path | None = Field(
        default=None,
        description="PEM of the gateway's signing certificates, read again when it changes; set: only calls through it "
        "are answered.",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level logged.")


def secret_from(value: SecretStr | None, file: Path | None, name: str) -> SecretStr | None:
    """Return the secret, or the content of the file that has it; the value takes precedence.

    Args:
        value: the secret from the variable `name`.
        file: path from the variable `name`_FILE.
        name: the variable's name, for the error.

    Returns:
        The secret, or None if neither is set.

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
