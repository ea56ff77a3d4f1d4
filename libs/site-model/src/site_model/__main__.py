"""Make the table of a site's typical year: `python -m site_model FILE`.

Reads the same SITE_ and SOLAR_ settings as the services; needs the extra `site-model[sun]`.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from site_model.parameters import read_parameters
from site_model.sun import pvlib_sun
from site_model.yield_table import describe_site, write_table


class _Place(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SITE_", env_ignore_empty=True, extra="ignore", frozen=True)

    latitude_deg: float = Field(default=36.1, ge=-90, le=90)
    longitude_deg: float = Field(default=-79.95, ge=-180, le=180)
    timezone: str = "UTC"  # neither this nor the limit bears on the sun
    limit_kw: float = 100.0


class _Seed(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SIM_", env_ignore_empty=True, extra="ignore", frozen=True)

    seed: int = Field(default=7, ge=0)


def main() -> None:
    """Compute the typical year of the site that the environment describes and write its table."""
    command = ArgumentParser(prog="python -m site_model", description=main.__doc__)
    command.add_argument("file", type=Path, help="where the table goes; name it in SITE_YIELD_FILE")
    file: Path = command.parse_args().file
    parameters = read_parameters(lambda settings: settings(), place=_Place(), seed=_Seed().seed)
    site = describe_site(parameters)
    file.write_text(write_table(pvlib_sun(parameters), site), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{file}: {site}\n")


if __name__ == "__main__":
    main()
