"""Charging sessions from CSV files: the columns of ACN-Data, and what other public files call the same."""

import csv
import gzip
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from ev_forecasting.series import SeriesError
from ev_forecasting.sessions import CompletedSession

LEAST_ENERGY_KWH = 0.05
"""Sessions with no more than this are plugs that did not charge."""

_STATIONS = ("station_id", "space_id", "garage_id")
_DRIVERS = ("driver_id", "user_id")
_SITES = ("site_id", "location_id", "location")
_ENTERED_DEPARTURES = ("estimated_departure", "requested_departure")


@dataclass(frozen=True, slots=True)
class SessionFile:
    """Sessions of a file, by site."""

    sites: dict[str, tuple[CompletedSession, ...]]
    """Usable sessions of each site, the first to arrive first; one site without name where the file names none."""

    rows: int
    """Rows of the file."""

    unusable: int
    """Rows without an end, without a positive stay, with hardly any energy, or with an impossible one."""

    excluded: int
    """Rows that were to be left out."""


def read_sessions(path: Path, *, timezone: ZoneInfo, without: Collection[str] = frozenset()) -> SessionFile:
    """Read sessions; `.gz` is unpacked.

    Required columns are arrival, departure and delivered_kwh; station_id, driver_id or user_id, location,
    requested_kwh, estimated_departure or requested_departure are used where they exist. Where `claimed` is false the
    request is the delivery, which nobody knew in advance: it does not count as entered.

    Args:
        path: The file.
        timezone: Zone of timestamps without an offset.
        without: Values of session_id that are left out.

    Raises:
        SeriesError: The file cannot be read, lacks a column, or has a cell that is none.
    """
    sites: dict[str, list[CompletedSession]] = {}
    rows = unusable = excluded = 0
    try:
        with _open_text(path) as lines:
            table = csv.DictReader(lines)
            _check_columns(path, table.fieldnames or [])
            for row in table:
                rows += 1
                if row.get("session_id") in without:
                    excluded += 1
                    continue
                session = _parse_row(row, timezone)
                if session is None or not session.is_plausible or session.energy_kwh <= LEAST_ENERGY_KWH:
                    unusable += 1
                    continue
                sites.setdefault(_first(row, _SITES) or "", []).append(session)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise SeriesError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise SeriesError(f"{path}, row {rows}: {error}") from error
    by_arrival = {site: tuple(sorted(found, key=_arrival)) for site, found in sorted(sites.items())}
    return SessionFile(by_arrival, rows, unusable, excluded)


def read_session_ids(path: Path) -> frozenset[str]:
    """Values of the column session_id.

    Raises:
        SeriesError: The file cannot be read or has no such column.
    """
    try:
        with _open_text(path) as lines:
            return frozenset(row["session_id"] for row in csv.DictReader(lines))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise SeriesError(f"{path}: cannot be read: {error}") from error
    except KeyError as error:
        raise SeriesError(f"{path}: no column {error}") from error


def _arrival(session: CompletedSession) -> datetime:
    return session.arrival


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _check_columns(path: Path, names: Collection[str]) -> None:
    absent = [name for name in ("arrival", "departure", "delivered_kwh") if name not in names]
    if absent:
        raise SeriesError(f"{path}: no column {absent[0]!r}; it has {', '.join(names) or 'none'}")


def _parse_row(row: dict[str, str], timezone: ZoneInfo) -> CompletedSession | None:
    if not row["arrival"] or not row["departure"] or not row["delivered_kwh"]:
        return None
    is_entered = (row.get("claimed") or "true").strip().lower() != "false"
    entered_kwh = _first(row, ("requested_kwh",)) if is_entered else None
    entered_departure = _first(row, _ENTERED_DEPARTURES) if is_entered else None
    return CompletedSession(
        arrival=_parse_time(row["arrival"], timezone),
        departure=_parse_time(row["departure"], timezone),
        energy_kwh=float(row["delivered_kwh"]),
        station_id=_first(row, _STATIONS) or "",
        driver_id=_first(row, _DRIVERS),
        entered_energy_kwh=float(entered_kwh) if entered_kwh else None,
        entered_departure=_parse_time(entered_departure, timezone) if entered_departure else None,
    )


def _first(row: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((row[name] for name in names if row.get(name)), None)


def _parse_time(text: str, timezone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone)).astimezone(UTC)
