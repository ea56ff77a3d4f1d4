"""A typical year of sun as a small table, so that it can be read without the physics that made it.

The default site's table is part of this package. For another site make one and name it in SITE_YIELD_FILE:

    python -m site_model site.csv

reads the same settings as the services and needs the extra `site-model[sun]`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from site_model.parameters import SiteParameters, stands_at_greensboro
from site_model.sunlight import STEPS_PER_DAY, Sun, SunDay

_TITLE = "# AC yield of a typical year [W/kWp]: month, day, then every 15 minutes from 00:00 UTC"
_SITE = "# "
_DEFAULT = "greensboro_yield.csv"
_YEAR = 2023
"""Any year without a 29 February."""


@dataclass(frozen=True)
class YieldTable:
    """A typical year read from a table."""

    site: str
    """What the table was made for, as `describe_site` writes it."""

    days: dict[tuple[int, int], SunDay]
    """By month and day."""

    def day(self, month: int, day: int) -> SunDay:
        """The UTC day of that date."""
        return self.days[month, day]


def describe_site(parameters: SiteParameters) -> str:
    """In one line, all that a yield depends on."""
    place, weather, panels = parameters.place, parameters.weather, parameters.panels
    if weather.weather_file is not None:
        sky = weather.weather_file.name
    else:
        sky = "Greensboro TMY3" if stands_at_greensboro(place) else f"clear sky with clouds of seed {parameters.seed}"
    return (
        f"latitude {place.latitude_deg:g}°; longitude {place.longitude_deg:g}°; altitude {weather.altitude_m:g} m; "
        f"tilt {panels.surface_tilt_deg:g}°; azimuth {panels.surface_azimuth_deg:g}°; weather: {sky}"
    )


def write_table(sun: Sun, site: str) -> str:
    """The text of a table of `sun`, for the site that `site` describes."""
    return "\n".join([_TITLE, _SITE + site, *_rows(sun), ""])


def read_table(text: str) -> YieldTable:
    """Read what `write_table` wrote.

    Raises:
        ValueError: names the line that is wrong, or the first day that is missing.
    """
    title, _, rest = text.partition("\n")
    site, _, rows = rest.partition("\n")
    if title != _TITLE or not site.startswith(_SITE):
        raise ValueError(f"a yield table begins with the line {_TITLE!r}")
    days = dict(_day(line, number) for number, line in enumerate(rows.splitlines(), start=3))
    for on in _dates():
        if (on.month, on.day) not in days:
            raise ValueError(f"the yield table has no row for {on:%d %B}")
    return YieldTable(site.removeprefix(_SITE), days)


@cache
def default_table() -> YieldTable:
    """The table of the default site: Greensboro, measured typical year, panels as set by default."""
    return read_table((files("site_model") / _DEFAULT).read_text(encoding="utf-8"))


def table_from_file(file: Path) -> YieldTable:
    """Read a table file.

    Raises:
        ValueError: it cannot be read or is not such a table.
    """
    try:
        return read_table(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"yield table {file} cannot be used: {error}") from error


def _rows(sun: Sun) -> Iterator[str]:
    for on in _dates():
        values = sun.day(on.month, on.day).yield_w_per_kwp
        yield ",".join(map(str, (on.month, on.day, *values)))


def _day(line: str, number: int) -> tuple[tuple[int, int], SunDay]:
    try:
        month, day, *values = map(int, line.split(","))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if len(values) != STEPS_PER_DAY or min(values) < 0:
        raise ValueError(f"line {number}: a day has {STEPS_PER_DAY} values, none below 0")
    return (month, day), SunDay(tuple(values))


def _dates() -> Iterator[date]:
    return (date(_YEAR, 1, 1) + timedelta(days=index) for index in range(365))


def create_tabled_sun(parameters: SiteParameters) -> Sun:
    """The sun from a table where there is one for this site, else computed.

    Raises:
        ValueError: the table or weather file cannot be used, or there is neither a table nor pvlib.
    """
    site = describe_site(parameters)
    file = parameters.weather.yield_file
    table = default_table() if file is None else table_from_file(file)
    if table.site == site:
        return table
    if file is not None:
        raise ValueError(f"SITE_YIELD_FILE {file} was made for another site ({table.site}); this one is: {site}")
    if find_spec("pvlib") is None:
        raise ValueError(
            f"the yield of this site is not known here ({site}): make its table with "
            "`python -m site_model FILE` where site-model[sun] is installed and set SITE_YIELD_FILE, "
            "or install site-model[sun] together with this service"
        )
    return create_computed_sun(parameters)


def create_computed_sun(parameters: SiteParameters) -> Sun:
    """The sun from pvlib, or from the file that SITE_YIELD_FILE names.

    Raises:
        ValueError: the table or weather file cannot be used.
    """
    if parameters.weather.yield_file is not None:
        return create_tabled_sun(parameters)
    # Imported here and nowhere else: it takes a second and 100 MB that a reader of tables does not spend.
    from site_model.sun import pvlib_sun

    return pvlib_sun(parameters)
