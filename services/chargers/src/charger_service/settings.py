"""Settings of the charger service."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ev_service.settings import RunSettings, Settings


class ChargerSettings(Settings):
    """What the charger service reads besides what every process reads."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_")

    state_dir: Path | None = Field(
        default=None, description="Folder of the record of kills; unset: kept in memory, and gone with the process."
    )


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """All settings of the charger service."""

    chargers: ChargerSettings
    run: RunSettings
