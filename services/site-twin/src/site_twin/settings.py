"""What is set for the site twin, besides the site itself."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from ev_service.settings import MqttUrl, Settings


class TwinSettings(Settings):
    """Which devices the twin has and whom they speak with."""

    model_config = SettingsConfigDict(env_prefix="TWIN_")

    host: str = Field(default="127.0.0.1", description="Address that the twin listens on.")
    port: int = Field(default=8006, ge=0, le=65535, description="Port of the twin.")
    cars_per_day: float = Field(
        default=24.0, ge=0, le=1000, description="Cars that come on a weekday; those who find no place drive on."
    )
    building_phases: str = Field(
        default="45/33/22",
        pattern=r"^[0-9]{1,4}(/[0-9]{1,4}){0,2}$",
        description="How the building's load lies on L1, L2, L3, as parts of the whole; 1/0/0: on L1 alone.",
    )
    ocpp_url: str | None = Field(
        default=None,
        pattern=r"^wss?://",
        description="Where charge points connect, e.g. ws://127.0.0.1:9000; absent: neither charge points nor cars.",
    )
    charge_points_file: Path | None = Field(
        default=None, description="The charge points and their passwords, as `python -m site_twin --init` writes it."
    )
    ca_file: Path | None = Field(default=None, description="PEM to trust for wss:// and mqtts://, beside the system's.")
    mqtt_url: MqttUrl | None = Field(
        default=None,
        description="The broker, mqtts://HOST:8883 or on this machine mqtt://127.0.0.1:1883; absent: no MQTT.",
    )
    mqtt_passwords_dir: Path | None = Field(
        default=None,
        description="Folder with pv-1.password, bess-1.password, meter-1.password; absent: the broker asks for none.",
    )
    mqtt_period_s: float = Field(
        default=5.0, gt=0, le=3600, description="How often a device sends its values [s, by the run's clock]."
    )
    meter_shape: Literal["own", "tasmota", "shelly"] = Field(
        default="own", description="How the grid meter writes its messages."
    )
    inverter_shape: Literal["own", "sunspec"] = Field(
        default="own", description="How the solar inverter writes its messages."
    )

    def building_shares(self, phases: int) -> tuple[float, ...]:
        """What part of the building's load lies on each phase, together 1; even where nothing lies on any of them.

        Args:
            phases: how many the site has.
        """
        parts = [float(part) for part in self.building_phases.split("/")][:phases]
        parts += [0.0] * (phases - len(parts))
        whole = sum(parts)
        return tuple(part / whole if whole else 1 / phases for part in parts)

    @model_validator(mode="after")
    def _charge_points_are_named(self) -> "TwinSettings":
        if self.ocpp_url is not None and self.charge_points_file is None:
            raise ValueError("TWIN_CHARGE_POINTS_FILE must name the charge points when TWIN_OCPP_URL is set")
        return self
