"""Charging sessions of a CSV file, checked, and the choice of a period."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

COLUMNS = (
    "session_id",
    "station_id",
    "arrival",
    "departure",
    "requested_kwh",
    "delivered_kwh",
    "estimated_departure",
    "claimed",
)
"""Columns that a file must have, in any order; others are ignored."""

_CLAIMED = {"true": True, "1": True, "false": False, "0": False}
_MAX_ROWS = 5_000_000


class SessionsError(ValueError):
    """A file of sessions cannot be used; the message names the line and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ChargingSession:
    """One car at one station, as recorded."""

    session_id: str
    """Unique in the file."""

    station_id: str
    """Station where the car was plugged in."""

    arrival: datetime
    """UTC."""

    departure: datetime
    """When the car left, UTC, after `arrival`."""

    requested_kwh: float
    """Energy that the driver entered [kWh]."""

    estimated_departure: datetime
    """Departure that the driver entered, UTC; may be before `arrival` or long after `departure`."""

    delivered_kwh: float
    """Energy that the car took [kWh]."""

    claimed: bool
    """Whether the driver entered anything; if not, the entries are those of the record."""

    connector: int = 1
    """Differs where two recorded sessions at one station overlap."""

    @property
    def key(self) -> tuple[str, int]:
        """Station and connector, as the agent names a charging point."""
        return (self.station_id, self.connector)

    def deliverable_kwh(self, max_power_kw: float) -> float:
        """What of `delivered_kwh` fits into the stay at a given power [kWh].

        Args:
            max_power_kw: highest power of the charging point [kW].
        """
        return min(self.delivered_kwh, (self.departure - self.arrival).total_seconds() / 3600 * max_power_kw)


def read_sessions(file: Path) -> tuple[ChargingSession, ...]:
    """Read all sessions of a file, ordered by arrival.

    Args:
        file: CSV with `COLUMNS`, also compressed by gzip.

    Raises:
        SessionsError: the file cannot be read, lacks a column, or a row is not a session.
    """
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SessionsError(f"{file} cannot be read: {error}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    present = rows.fieldnames or []
    if missing := [column for column in COLUMNS if column not in present]:
        raise SessionsError(f"{file} lacks the columns {', '.join(missing)}; it has {', '.join(present) or 'none'}")
    sessions: list[ChargingSession] = []
    for row in rows:
        if len(sessions) >= _MAX_ROWS:
            raise SessionsError(f"{file} has more than {_MAX_ROWS} sessions")
        try:
            sessions.append(_parse_session(row))
        except ValueError as error:
            raise SessionsError(f"{file}, line {rows.line_num}: {error}") from error
    return order_sessions(sessions)


def order_sessions(sessions: Iterable[ChargingSession]) -> tuple[ChargingSession, ...]:
    """Order sessions by arrival; sessions that overlap at one station get connectors of their own.

    Raises:
        SessionsError: two sessions have the same id.
    """
    ordered = sorted(sessions, key=lambda session: (session.arrival, session.session_id))
    known: set[str] = set()
    busy_until: dict[str, list[datetime]] = {}
    result: list[ChargingSession] = []
    for session in ordered:
        if session.session_id in known:
            raise SessionsError(f"session {session.session_id} is there twice")
        known.add(session.session_id)
        connectors = busy_until.setdefault(session.station_id, [])
        free = next((index for index, until in enumerate(connectors) if until <= session.arrival), len(connectors))
        connectors[free : free + 1] = [session.departure]
        result.append(session if free == 0 else replace(session, connector=free + 1))
    return tuple(result)


def select_period(
    sessions: Iterable[ChargingSession], first: date, last: date, zone: ZoneInfo
) -> tuple[ChargingSession, ...]:
    """The sessions that arrived on local days from `first` to `last`, both included."""
    return tuple(s for s in sessions if first <= s.arrival.astimezone(zone).date() <= last)


def last_day(first: date, to: date) -> date:
    """The last day of a period that a user gave as `--from` and `--to`.

    `to` is included. Whole months may also be given by the first of the month that follows, which is then left out.

    >>> last_day(date(2019, 9, 1), date(2019, 10, 1)), last_day(date(2019, 9, 1), date(2019, 9, 30))
    (datetime.date(2019, 9, 30), datetime.date(2019, 9, 30))

    Raises:
        SessionsError: `to` is before `first`.
    """
    if to < first:
        raise SessionsError(f"--to {to} is before --from {first}")
    is_next_month = first.day == 1 and to.day == 1 and to > first
    return to - timedelta(days=1) if is_next_month else to


def trim_to_steps(sessions: Sequence[ChargingSession], step_s: int) -> tuple[ChargingSession, ...]:
    """Shorten each stay to the whole steps inside it; sessions without any are left out.

    Args:
        sessions: as recorded.
        step_s: length of a step [s].
    """
    trimmed: list[ChargingSession] = []
    for session in sessions:
        first = math.ceil(session.arrival.timestamp() / step_s) * step_s
        end = math.floor(session.departure.timestamp() / step_s) * step_s
        if end > first:
            stay = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(end, UTC)
            trimmed.append(replace(session, arrival=stay[0], departure=stay[1]))
    return tuple(trimmed)


def _parse_session(row: Mapping[str, str | None]) -> ChargingSession:
    arrival, departure = _parse_moment(row, "arrival"), _parse_moment(row, "departure")
    if departure <= arrival:
        raise ValueError(f"departure {row['departure']} is not after arrival {row['arrival']}")
    claimed = (row["claimed"] or "").strip().lower()
    if claimed not in _CLAIMED:
        raise ValueError(f"claimed is {row['claimed']!r}, neither true nor false")
    texts = {column: (row[column] or "").strip() for column in ("session_id", "station_id")}
    if empty := [column for column, text in texts.items() if not text]:
        raise ValueError(f"{empty[0]} is empty")
    return ChargingSession(
        session_id=texts["session_id"],
        station_id=texts["station_id"],
        arrival=arrival,
        departure=departure,
        requested_kwh=_parse_energy(row, "requested_kwh"),
        estimated_departure=_parse_moment(row, "estimated_departure"),
        delivered_kwh=_parse_energy(row, "delivered_kwh"),
        claimed=_CLAIMED[claimed],
    )


def _parse_moment(row: Mapping[str, str | None], column: str) -> datetime:
    text = (row[column] or "").strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, not a time such as 2019-09-02T15:04:05Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{column} {text} has no time zone; times are UTC and end in Z")
    return moment.astimezone(UTC)


def _parse_energy(row: Mapping[str, str | None], column: str) -> float:
    text = (row[column] or "").strip()
    try:
        energy_kwh = float(text)
    except ValueError:
        energy_kwh = math.nan
    if not 0 <= energy_kwh < math.inf:
        raise ValueError(f"{column} is {text!r}, not an energy of at least 0 kWh")
    return energy_kwh
