"""Settings of prices, and the feed and the tariff that they name."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from ev_sensors.broker import Broker
from ev_sensors.settings import MqttSettings
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.files import WatchedFile
from ev_service.settings import SafeUrl, Settings, SiteSettings, load, secret_from
from ev_service.trust import Authorities
from grid_service.prices.assembly import demand_distinct_parts
from grid_service.prices.entsoe import parse_entsoe
from grid_service.prices.feeds import FileFeed, MqttFeed, Parse, PriceFeed
from grid_service.prices.formats import parse_awattar, parse_csv, parse_energy_charts, parse_own, parse_tibber
from grid_service.prices.http_feed import (
    MIN_REFRESH_S,
    HttpFeed,
    HttpTiming,
    PriceRequest,
    awattar_request,
    energy_charts_request,
    entsoe_request,
    tibber_request,
)
from grid_service.prices.table import ENERGY, TAXES
from grid_service.prices.tariff import LocalTariff, Tariff, parse_tariff

PriceFormat = Literal["own", "csv", "energy-charts", "awattar", "tibber", "entsoe"]


@dataclass(frozen=True, slots=True)
class _Format:
    """What is known of a format."""

    parse: Parse
    parts: frozenset[str] = frozenset({ENERGY})
    """Parts of the price that it gives."""
    url: str | None = None
    """Where its publisher answers; None: no single one does."""
    needs_zone: bool = False
    needs_token: bool = False


_FORMATS: dict[PriceFormat, _Format] = {
    "own": _Format(parse_own),
    "csv": _Format(parse_csv),
    "energy-charts": _Format(parse_energy_charts, url="https://api.energy-charts.info/price", needs_zone=True),
    "awattar": _Format(parse_awattar, url="https://api.awattar.de/v1/marketdata"),
    "tibber": _Format(parse_tibber, frozenset({ENERGY, TAXES}), "https://api.tibber.com/v1-beta/gql", needs_token=True),
    "entsoe": _Format(parse_entsoe, url="https://web-api.tp.entsoe.eu/api", needs_zone=True, needs_token=True),
}


class PriceSettings(Settings):
    """`GRID_PRICES_…`: where prices and carbon come from."""

    model_config = SettingsConfigDict(env_prefix="GRID_PRICES_")

    source: Literal["off", "tariff", "file", "mqtt", "http"] = Field(
        default="off",
        description="Where prices come from: tariff is the tariff file alone. off: GET /grid-prices answers 404.",
    )
    tariff_file: Path | None = Field(
        default=None,
        description="JSON with the parts of the price that no market sets, see docs/prices.md; read again when it "
        "changes.",
    )
    format: PriceFormat = Field(default="own", description="Format of file, message or answer, see docs/prices.md.")
    file: Path | None = Field(default=None, description="Source file: prices, read again when replaced.")
    co2_file: Path | None = Field(
        default=None, description="CSV with the columns interval_start and co2_g_per_kwh, read again when replaced."
    )
    topic: Annotated[str, Field(pattern=r"^[^+#\x00]{1,200}$")] | None = Field(
        default=None,
        description="Source mqtt: topic of a retained message; unset: site/{SITE_ID}/prices/market-1/telemetry.",
    )
    url: SafeUrl | None = Field(default=None, description="Source http: address; unset: the publisher's own.")
    zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{2,32}$")] | None = Field(
        default=None,
        description="Bidding zone: DE-LU for energy-charts, 10Y1001A1001A82H for entsoe.",
    )
    token: SecretStr | None = Field(default=None, description="Token for tibber or entsoe.")
    token_file: Path | None = Field(default=None, description="File that holds it.")
    ca_file: Path | None = Field(default=None, description="Source http: PEM to trust in addition to the system's.")
    refresh_s: float = Field(
        default=900.0, ge=MIN_REFRESH_S, le=86_400, description="Source http: from one refresh to the next [s]."
    )
    timeout_s: float = Field(
        default=10.0, ge=0.5, le=60, description="Source http: longest wait for a connection or for data [s]."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        known, prefix = _FORMATS[self.format], "GRID_PRICES_"
        missing = {
            "TARIFF_FILE": self.source == "tariff" and self.tariff_file is None,
            "FILE": self.source == "file" and self.file is None,
            "URL": self.source == "http" and self.url is None and known.url is None,
            "ZONE": self.source == "http" and known.needs_zone and self.zone is None,
            "TOKEN": self.source == "http" and known.needs_token and self.token is None and self.token_file is None,
        }
        if names := [prefix + name for name, is_missing in missing.items() if is_missing]:
            raise ValueError(f"{' and '.join(names)} must be set when the source is {self.source}")
        return self

    def secret(self) -> SecretStr | None:
        """The token, from wherever it is set.

        Raises:
            ConfigurationError: its file cannot be read, or it is a placeholder.
        """
        return secret_from(self.token, self.token_file, "GRID_PRICES_TOKEN")

    @property
    def source_name(self) -> str:
        """Name of the source in readings, such as `http energy-charts`."""
        return self.source if self.source == "tariff" else f"{self.source} {self.format}"


class PriceMqttSettings(MqttSettings):
    """`GRID_PRICES_MQTT_…`: the broker that has prices; a user of its own, since a user has one connection."""

    model_config = SettingsConfigDict(env_prefix="GRID_PRICES_MQTT_")


def open_tariff(settings: PriceSettings, site: SiteSettings) -> Callable[[], tuple[LocalTariff, str | None]]:
    """Open the tariff; the result returns the tariff as it is now, and why its file cannot be used now.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    given = _FORMATS[settings.format].parts if settings.source != "tariff" else frozenset[str]()

    def parse(content: bytes) -> LocalTariff:
        tariff = LocalTariff(parse_tariff(content), site.timezone)
        demand_distinct_parts(tariff, given)
        return tariff

    if settings.tariff_file is None:
        unset = LocalTariff(Tariff(), site.timezone)
        return lambda: (unset, None)
    try:
        file = WatchedFile(settings.tariff_file, parse, "GRID_PRICES_TARIFF_FILE")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"GRID_PRICES_TARIFF_FILE {settings.tariff_file} cannot be used: {error}") from error
    return lambda: (file.read(), file.read_error())


def create_feed(settings: PriceSettings, site: SiteSettings, clock: Clock) -> PriceFeed | None:
    """Create the feed of the market's prices; None if the tariff file has all prices.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    parse = _FORMATS[settings.format].parse
    if settings.source == "file" and settings.file is not None:
        return FileFeed(settings.file, parse, "GRID_PRICES_FILE", clock)
    if settings.source == "mqtt":
        topic = settings.topic or f"site/{site.id}/prices/market-1/telemetry"
        return MqttFeed(Broker.of(load(PriceMqttSettings)), topic, parse, clock)
    if settings.source == "http":
        authorities = Authorities(settings.ca_file, "GRID_PRICES_CA_FILE")
        timing = HttpTiming(refresh_s=settings.refresh_s, timeout_s=settings.timeout_s)
        return HttpFeed(_request_builder(settings), parse, clock, authorities.context, timing)
    return None


def create_co2_feed(settings: PriceSettings, clock: Clock) -> FileFeed | None:
    """Create the feed of CO2; None if no file is set."""
    return None if settings.co2_file is None else FileFeed(settings.co2_file, parse_csv, "GRID_PRICES_CO2_FILE", clock)


def _request_builder(settings: PriceSettings) -> Callable[[datetime], PriceRequest]:
    token, zone = settings.secret(), settings.zone or ""
    url = settings.url or _FORMATS[settings.format].url or ""
    if settings.format == "energy-charts":
        return partial(energy_charts_request, url, zone)
    if settings.format == "awattar":
        return partial(awattar_request, url)
    if settings.format == "tibber" and token is not None:
        return lambda now: tibber_request(url, token)
    if settings.format == "entsoe" and token is not None:
        return partial(entsoe_request, url, zone, token)
    return lambda now: PriceRequest(url)
