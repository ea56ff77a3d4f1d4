"""Settings of the charger service."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from charger_service.grid_signal import SignalRules
from ev_service.charging import LEAST_CURRENT_A, ChargingMode, SignalScope
from ev_service.settings import MqttUrl, RunSettings, SafeUrl, Settings, SiteSettings, load, secret_from


class ChargerSettings(Settings):
    """Settings of the charger service in addition to those of every process."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_")

    state_dir: Path | None = Field(
        default=None,
        description="Folder of the records of kills and orders, of sessions and limits; unset: kept in memory, and gone"
        " with the process.",
    )
    file: Path | None = Field(
        default=None, description="JSON of the site's feeders and chargers; unset: none, and no port for them is open."
    )
    tokens_file: Path | None = Field(
        default=None,
        description="JSON of the tokens that may charge, with names; read again when it changes. Unset: every token.",
    )
    sessions_kept_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="How long sessions that are over are kept, with the driver's token [days].",
    )
    building_kw: float | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Highest load of the building that is expected [kW], beside which fallbacks have to fit;"
        " unset: all fallbacks are 0 A.",
    )
    fallback_a: float = Field(
        default=LEAST_CURRENT_A,
        ge=0,
        le=500,
        description="Current per phase to which lapsed limits fall [A]: 0, or >= 6.",
    )
    default_mode: ChargingMode = Field(
        default=ChargingMode.SMART,
        description="Mode of sessions of which no operator told another: fast, smart, surplus or minimum_and_surplus.",
    )
    answer_s: float = Field(
        default=3.0, gt=0, le=6, description="How long a call waits for chargers [s, real time]; the gateway waits 7 s."
    )
    shortest_validity_s: float = Field(
        default=45.0,
        ge=15,
        le=3600,
        description="Shortest time after which a limit may lapse [s]: three agent periods.",
    )
    longest_validity_s: float = Field(
        default=3600.0, ge=60, le=86_400, description="Longest time after which a limit has to lapse [s]."
    )
    lease_s: float = Field(
        default=60.0, gt=0, le=3600, description="How long nobody else may command after a commander's call [s]."
    )

    @field_validator("fallback_a")
    @classmethod
    def _is_no_current_in_between(cls, value: float) -> float:
        if 0 < value < LEAST_CURRENT_A:
            raise ValueError(f"must be 0 or at least {LEAST_CURRENT_A:g} A: no car charges with less")
        return value

    @model_validator(mode="after")
    def _shortest_is_not_longest(self) -> Self:
        if self.shortest_validity_s > self.longest_validity_s:
            raise ValueError("CHARGERS_SHORTEST_VALIDITY_S must not pass CHARGERS_LONGEST_VALIDITY_S")
        return self


class MeterSettings(Settings):
    """The connection's meter, as the charger service reads it itself, and what happens without it."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_METER_")

    source: Literal["none", "simulated", "mqtt", "modbus"] = Field(
        default="none",
        description="How the charger service reads the connection's meter for protection; simulated: from the twin;"
        " none: there is no protection.",
    )
    stale_after_s: float = Field(
        default=15.0, ge=1, le=60, description="No limit is raised by a meter reading older than this [s]."
    )
    fallback_after_s: float = Field(
        default=120.0,
        ge=10,
        le=3600,
        description="Without a usable reading for this long [s] the reserve takes the place of the meter.",
    )
    reserve_percent: float = Field(
        default=20.0,
        ge=0,
        le=100,
        description="Part of the site's limit that cars leave free while the reserve takes the place of the meter [%].",
    )


class ProtectionSettings(Settings):
    """Protection of the connection against overload, by its meter."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_PROTECTION_")

    threshold_percent: float = Field(
        default=100.0,
        ge=10,
        le=120,
        description="Load of one phase or of all, as a part of the site's limit, above which cars are lowered [%].",
    )
    margin_percent: float = Field(
        default=5.0,
        ge=0.5,
        le=50,
        description="Part of the site's limit by which raises stay below the threshold [%]; cars are released when the"
        " load is half of it below.",
    )
    release_delay_s: float = Field(
        default=60.0, ge=1, le=3600, description="How long the load has to stay lower before cars are released [s]."
    )
    release_step_s: float = Field(
        default=15.0, ge=1, le=600, description="From one step of the release to the next [s]: an agent's period."
    )
    follow_s: float = Field(
        default=2.0,
        ge=0.5,
        le=30,
        description="How long cars may take to follow before others are lowered in their place [s].",
    )


class GridSignalSettings(Settings):
    """The grid operator's signal: how it is received, and what applies while its source is silent."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_GRID_SIGNAL_")

    mqtt_topic: str | None = Field(
        default=None,
        pattern=r"^[^+#\x00]{1,200}$",
        description="Topic of the grid operator's signal; unset: it is not received by MQTT.",
    )
    mqtt_url: MqttUrl | None = Field(default=None, description="Its broker; unset: that of MQTT_URL.")
    mqtt_ca_file: Path | None = Field(default=None, description="PEM to trust for it; unset: MQTT_CA_FILE.")
    mqtt_username: str | None = Field(
        default=None,
        description="User there, with a password of its own; a broker that gives each user one connection, as the one"
        " in deploy/mosquitto, needs another than MQTT_USERNAME. Unset: user and password of MQTT_….",
    )
    mqtt_password: SecretStr | None = Field(default=None, description="Its password.")
    mqtt_password_file: Path | None = Field(default=None, description="File that holds it.")
    url: SafeUrl | None = Field(
        default=None, description="Where the signal is asked for by GET; unset: it is not received by HTTP."
    )
    poll_s: float = Field(default=30.0, ge=5, le=3600, description="From one such request to the next [s].")
    ca_file: Path | None = Field(
        default=None, description="PEM to trust for that URL in addition to the system's authorities."
    )
    token: SecretStr | None = Field(default=None, description="Bearer token of these requests; unset: none is sent.")
    token_file: Path | None = Field(default=None, description="File that holds it.")
    longest_s: float = Field(
        default=86_400.0,
        ge=60,
        le=7 * 86_400,
        description="A limit ends after this at the latest, also one without an end [s]; a source may repeat it.",
    )
    silent_after_s: float = Field(
        default=300.0,
        ge=10,
        le=86_400,
        description="A source without a new message for this long is silent [s]; then the safe default applies.",
    )
    default_kw: float | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Safe default while a source is silent [kW]; unset: none, for sources that only speak when there is"
        " something.",
    )
    default_applies_to: SignalScope = Field(
        default=SignalScope.CHARGING,
        description="What the safe default limits: charging (all cars together) or connection (building and cars).",
    )
    minimum_kw: float = Field(
        default=0.0,
        ge=0,
        le=100_000,
        description="What the grid operator has to leave to all cars together [kW]; a lower limit for charging counts"
        " as this. By § 14a EnWG 4.2 for each device controlled by itself, see docs/chargers.md.",
    )

    def rules(self) -> SignalRules:
        """Return how signals count."""
        return SignalRules(
            self.longest_s, self.silent_after_s, self.default_kw, self.default_applies_to, self.minimum_kw
        )

    def bearer_token(self) -> SecretStr | None:
        """Return the token, from wherever it is set.

        Raises:
            ConfigurationError: its file cannot be read, or it is a placeholder.
        """
        return secret_from(self.token, self.token_file, "CHARGERS_GRID_SIGNAL_TOKEN")


class OcppSettings(Settings):
    """Where chargers connect to."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_")

    ocpp_port: int = Field(
        default=9000, ge=0, le=65535, description="Port for chargers, plain (OCPP security profile 1); 0: a free one."
    )
    ocpp_allow_remote: bool = Field(
        default=False, description="Whether the plain port listens on every address; else on loopback alone."
    )
    ocpp_tls_port: int = Field(
        default=9001, ge=0, le=65535, description="Port for chargers, TLS (security profile 2); 0: a free one."
    )
    tls_cert_file: Path | None = Field(
        default=None, description="PEM of the certificate, with its chain, for the TLS port; unset: it is not opened."
    )
    tls_key_file: Path | None = Field(default=None, description="PEM of its key.")
    tls_static_rsa: bool = Field(
        default=False,
        description="Whether TLS_RSA_… cipher suites are taken as well, for charging stations that have no others:"
        " weaker, because whoever gets the key later can read what was recorded before.",
    )
    ocpp_path: str = Field(
        default="/",
        pattern=r"^/(?:[A-Za-z0-9._~-]{1,64}/){0,8}$",
        description="Path under which chargers connect, before their identity, with a slash at both ends; they may"
        " also connect without it.",
    )
    ocpp_handshake_s: float = Field(
        default=10.0,
        gt=0,
        le=60,
        description="Time for a charger's TLS handshake, and for its WebSocket handshake [s].",
    )
    ocpp_handshakes: int | None = Field(
        default=None,
        ge=4,
        le=100_000,
        description="Connections at a time whose charger has not proved itself, on both ports together; unset: twice"
        " those of one address. A quarter of the process's file descriptors where that is less.",
    )
    ocpp_handshakes_per_address: int | None = Field(
        default=None,
        ge=2,
        le=100_000,
        description="The same from one address; unset: the registered chargers and 32 more, because all of them may"
        " share one.",
    )

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("CHARGERS_TLS_CERT_FILE and CHARGERS_TLS_KEY_FILE are set together")
        return self


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """All settings of the charger service."""

    chargers: ChargerSettings
    run: RunSettings
    site: SiteSettings = field(default_factory=SiteSettings)
    ocpp: OcppSettings = field(default_factory=OcppSettings)
    meter: MeterSettings = field(default_factory=MeterSettings)
    protection: ProtectionSettings = field(default_factory=ProtectionSettings)
    grid_signal: GridSignalSettings = field(default_factory=GridSignalSettings)


def load_settings() -> ServiceSettings:
    """Read all of them from the environment.

    Raises:
        ConfigurationError: names each variable that is wrong.
    """
    return ServiceSettings(
        load(ChargerSettings),
        load(RunSettings),
        load(SiteSettings),
        load(OcppSettings),
        load(MeterSettings),
        load(ProtectionSettings),
        load(GridSignalSettings),
    )
