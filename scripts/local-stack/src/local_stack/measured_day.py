"""A measured day for `make demo ARGS=--measured`: three recordings for the services' `replay` sources.

Sun: NREL PVDAQ system 50, AC power every 15 min. Load: the 17 homes of the CityLearn Challenge 2022 (EPRI, Fontana,
California), hourly. Both are scaled to the site, the load so that its highest hour of the day reaches the limit of
the connection. The battery was not measured: it follows both through the site model's energy balance.
The data are read from the folder EV_DATA_DIR.
"""

import csv
import gzip
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings, load
from ev_service.units import utc_text
from site_model.battery import Interval, simulate
from site_model.parameters import Panels, Storage
from site_model.scenario import at_connection

MEASURED_DAY = date(2012, 7, 30)
TIMEZONE = "America/Phoenix"
_STEP = timedelta(minutes=15)
_SUN_FILE = "pvdaq_system50_2011_2013/ac_power_15min.csv.gz"
_LOAD_FILE = "citylearn_2022_17_homes/buildings_hourly.csv.gz"
# No rating came with the recording; its 5,070 kWh a year are then 1,690 full-load hours, right for its place.
_SUN_CAPACITY_KWP = 3.0
# The load has no timestamps: its first row is the hour that ends at midnight before 1 August. Only differences between
# its own hours are used, so its local time may be represented as UTC.
_LOAD_STARTS = datetime(2016, 7, 31, 23, tzinfo=UTC)
_MIDNIGHT_SOC_PERCENT = 75.0


@dataclass(frozen=True, slots=True)
class MeasuredDay:
    """A day that is ready to be replayed."""

    day: date
    """Date of the recording."""

    timezone: str
    """IANA time zone of the recording."""

    title: str
    """Title of the picture."""

    settings: Mapping[str, str]
    """Variables by which the three services replay it."""


@dataclass(frozen=True, slots=True)
class _Row:
    at: datetime
    sun_kw: float
    load_kw: float


def write_measured_day(day: date | None, folder: Path) -> MeasuredDay:
    """Write the three recordings of one day.

    Args:
        day: between 2011-04-15 and 2013-12-31, else the default.
        folder: where the recordings go.

    Raises:
        ConfigurationError: EV_DATA_DIR is not set or lacks a file, or the day was not measured.
    """
    site, panels, storage = load(SiteSettings), load(Panels), load(Storage)
    day = day or MEASURED_DAY
    # The recording's clock is fixed at UTC-7, and its first day starts at midnight.
    sun = _read_sun(_find_file(_SUN_FILE), day, panels.capacity_kwp)
    loads_kw = _read_load(_find_file(_LOAD_FILE), day)
    scale = site.limit_kw / max(loads_kw)
    rows = [_Row(at, sun_kw, loads_kw[at.hour] * scale) for at, sun_kw in sun]
    settings = _write_recordings(rows, site, panels, storage, folder)
    title = f"A measured day, {day}: sun of PVDAQ system 50, load of 17 homes in Fontana, both scaled to the site"
    return MeasuredDay(day, TIMEZONE, title, settings)


def _find_file(name: str) -> Path:
    root = os.environ.get("EV_DATA_DIR")
    if not root:
        raise ConfigurationError(f"--measured reads {name} from the folder in EV_DATA_DIR, which is not set")
    path = Path(root) / name
    if not path.exists():
        raise ConfigurationError(f"EV_DATA_DIR {root} holds no {name}, which --measured reads")
    return path


def _read_sun(path: Path, day: date, capacity_kwp: float) -> list[tuple[datetime, float]]:
    powers = [
        (datetime.fromisoformat(row["local_timestamp"]), float(row["ac_power_w"]))
        for row in _read_rows(path)
        if row["local_timestamp"].startswith(day.isoformat()) and row["ac_power_w"]
    ]
    if len(powers) < timedelta(days=1) // _STEP:
        raise ConfigurationError(f"the sun of {day} was not measured whole; take a day from 2011-04-15 to 2013-12-31")
    return [(at, max(0.0, watt) / 1000 / _SUN_CAPACITY_KWP * capacity_kwp) for at, watt in powers]


def _read_load(path: Path, day: date) -> list[float]:
    # The recorded year has no 29 February: the 28th is used.
    day = day.replace(day=28) if (day.month, day.day) == (2, 29) else day
    of_year = day.replace(year=_LOAD_STARTS.year + ((day.month, day.day) < (8, 1)))
    first_step = (datetime.combine(of_year, time(), UTC) - _LOAD_STARTS) // timedelta(hours=1)
    hours = [0.0] * 24
    for row in _read_rows(path):
        hour = int(row["step"]) - first_step
        if 0 <= hour < len(hours):
            hours[hour] += float(row["load_kwh"])
    return hours


def _write_recordings(
    rows: list[_Row], site: SiteSettings, panels: Panels, storage: Storage, folder: Path
) -> dict[str, str]:
    intervals = (Interval(row.at.hour, row.sun_kw, row.load_kw) for row in rows)
    battery = list(simulate(storage, intervals, step_s=_STEP.total_seconds(), soc_percent=_MIDNIGHT_SOC_PERCENT))
    connection = [
        at_connection(row.load_kw, state.active_power_kw, row.sun_kw) for row, state in zip(rows, battery, strict=True)
    ]
    tables: dict[str, list[dict[str, float | bool]]] = {
        "SOLAR": [{"generation_kw": row.sun_kw, "capacity_kwp": panels.capacity_kwp} for row in rows],
        "BATTERY": [
            {"soc_percent": state.soc_before_percent, "capacity_kwh": storage.capacity_kwh} for state in battery
        ],
        "GRID": [
            {
                "load_percent": load_kw / site.limit_kw * 100,
                "load_kw": load_kw,
                "limit_kw": site.limit_kw,
                "export_kw": export_kw,
                # The recording does not include these cars.
                "includes_charging": False,
            }
            for load_kw, export_kw in connection
        ],
    }
    settings = {"SITE_TIMEZONE": TIMEZONE}
    for service, table in tables.items():
        path = folder / f"{service.lower()}.csv"
        _write_csv(path, [row.at for row in rows], table)
        settings |= {f"{service}_SOURCE": "replay", f"{service}_REPLAY_FILE": str(path)}
    return settings


def _write_csv(path: Path, moments: list[datetime], table: list[dict[str, float | bool]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["timestamp", *table[0]])
        writer.writeheader()
        for at, row in zip(moments, table, strict=True):
            cells = {name: value if isinstance(value, bool) else round(value, 3) for name, value in row.items()}
            writer.writerow({"timestamp": utc_text(at)} | cells)


def _read_rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
