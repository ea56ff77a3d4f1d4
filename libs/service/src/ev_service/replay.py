"""Readings played back from a CSV file by the run's clock.

A row holds until the next one, at most for a while; where the recording says nothing, nothing is said. Knows the
form of the file, not what its columns mean: each endpoint's model and its service's check judge every row.
"""

import csv
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TypeVar, get_args, get_origin

from pydantic import ValidationError

from ev_service.errors import ConfigurationError, SourceExhausted
from ev_service.sources import ServiceSettings, Source
from ev_service.telemetry import Reading
from ev_service.units import utc_text

R = TypeVar("R", bound=Reading)

SOURCE = "replay"
_TIME = "timestamp"
_OURS = frozenset({"site_id", "source", "source_time", _TIME})
_MOST_TOLD = 10

Check = Callable[[R], str | None]
"""Why a reading cannot be true, or None."""

_logger = logging.getLogger(__name__)


class Replay(Source[R]):
    """Rows of one recording, each with its own time, in order."""

    def __init__(self, rows: Iterable[R], *, max_gap_s: float, shift_s: float = 0.0) -> None:
        """Play `rows` back.

        Args:
            rows: at least one, `source_time` set and strictly rising.
            max_gap_s: how long a row holds at most [s].
            shift_s: added to every time of the recording [s].
        """
        self._rows = tuple(rows)
        self._max_gap = timedelta(seconds=max_gap_s)
        shift = timedelta(seconds=shift_s)
        self._times = [row.timestamp + shift for row in self._rows]

    async def read(self, now: datetime) -> R:
        """The row that holds at `now`.

        Raises:
            SourceExhausted: the recording has not begun, has a gap here, or is over.
        """
        index = bisect_right(self._times, now) - 1
        if index < 0:
            raise SourceExhausted(f"the recording begins at {utc_text(self._times[0])}, after {utc_text(now)}")
        since = self._times[index]
        if now - since > self._max_gap:
            raise SourceExhausted(self._why_nothing_holds(index, now))
        row = self._rows[index]
        return row.model_copy(update={"timestamp": now, "source_time": row.timestamp})

    def _why_nothing_holds(self, index: int, now: datetime) -> str:
        last = f"its last row before {utc_text(now)} is of {utc_text(self._times[index])}"
        limit = f"and a row holds {self._max_gap.total_seconds():g} s at most"
        if index == len(self._rows) - 1:
            return f"the recording is over: {last} {limit}"
        return f"the recording has a gap until {utc_text(self._times[index + 1])}: {last} {limit}"


def replay_from_settings(model: type[R], settings: ServiceSettings, check: Check[R]) -> Replay[R]:
    """The recording that a service's settings name.

    Args:
        model: the endpoint's model.
        settings: name the file, how long a row holds, and the site.
        check: why a reading cannot be true, or None.

    Raises:
        ConfigurationError: there is no file, or it has rows that cannot be used; names up to ten with their reasons.
    """
    given = settings.source
    if given.replay_file is None:
        raise ConfigurationError("no file to replay is named")
    rows = read_recording(given.replay_file, model, site_id=settings.site.id, check=check)
    return Replay(rows, max_gap_s=given.replay_max_gap_s, shift_s=given.replay_shift_s)


def read_recording(file: Path, model: type[R], *, site_id: str, check: Check[R]) -> list[R]:
    """Read all rows of a CSV file; none is left out or repaired.

    Args:
        file: UTF-8, first line names the columns: `timestamp` (ISO 8601 with offset or `Z`) and fields of the model;
            several values of one field stand in its cell with spaces between them.
        model: the endpoint's model.
        site_id: site that the readings belong to.
        check: why a reading cannot be true, or None.

    Raises:
        ConfigurationError: names the file and up to ten wrong rows by line number and reason.
    """
    rows: list[R] = []
    wrong: list[str] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            records = csv.DictReader(lines, strict=True)
            _demand_columns(records.fieldnames or (), model, file)
            for cells in records:
                try:
                    rows.append(_reading(cells, model, site_id, check, previous=rows[-1] if rows else None))
                except ValueError as error:
                    wrong.append(f"line {records.line_num}: {_reason(error)}")
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(f"recording {file} cannot be read: {error}") from error
    if wrong:
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise ConfigurationError(f"recording {file} has wrong rows: {'; '.join(wrong[:_MOST_TOLD])}{more}")
    if not rows:
        raise ConfigurationError(f"recording {file} has no rows")
    return rows


def _demand_columns(named: Sequence[str], model: type[Reading], file: Path) -> None:
    if not named:
        raise ConfigurationError(f"recording {file} is empty")
    fields = {name: field for name, field in model.model_fields.items() if name not in _OURS}
    needed = {_TIME} | {name for name, field in fields.items() if field.is_required()}
    if missing := sorted(needed.difference(named)):
        raise ConfigurationError(f"recording {file} has no column {', '.join(missing)}")
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise ConfigurationError(f"recording {file} names a column twice: {', '.join(repeated)}")
    if unknown := sorted(set(named).difference(fields, _OURS)):
        _logger.warning("columns of the recording are not played", extra={"columns": unknown})


def _reading(
    cells: Mapping[str | None, object], model: type[R], site_id: str, check: Check[R], *, previous: R | None
) -> R:
    """One row as a reading.

    Raises:
        ValueError: why it cannot be one.
    """
    # The reader of the file puts surplus cells under None and fills up with None where cells are absent.
    if None in cells or None in cells.values():
        raise ValueError("it has not as many cells as the first line has columns")
    moment = _moment(str(cells[_TIME]))
    values = {str(name): str(cell) for name, cell in cells.items() if name not in _OURS and cell != ""}
    several = {name: tuple(map(float, values.pop(name).split())) for name in _several(model) & values.keys()}
    ours = {"site_id": site_id, "source": SOURCE, _TIME: utc_text(moment), "source_time": utc_text(moment)}
    reading = model.model_validate_strings({**values, **ours})
    if several:
        # Text stands for single values alone.
        reading = model.model_validate({**dict(reading), **several})
    if reason := check(reading):
        raise ValueError(reason)
    if previous is not None and moment <= previous.timestamp:
        raise ValueError(f"{utc_text(moment)} does not come after the row before it, {utc_text(previous.timestamp)}")
    return reading


@cache
def _several(model: type[Reading]) -> frozenset[str]:
    """Fields that hold several numbers, such as one for each phase."""
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if any(get_origin(part) is tuple for part in (field.annotation, *get_args(field.annotation)))
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"timestamp {text!r} is not ISO 8601") from error
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no offset from UTC; write it with Z or an offset")
    return moment.astimezone(UTC)


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return ", ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
