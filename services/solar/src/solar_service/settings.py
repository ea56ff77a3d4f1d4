"""Where the solar service's readings come from."""

from pydantic_settings import SettingsConfigDict

from ev_service.sources import SourceSettings


class SolarSourceSettings(SourceSettings):
    """`SOLAR_SOURCE` and what belongs to it."""

    model_config = SettingsConfigDict(env_prefix="SOLAR_")
