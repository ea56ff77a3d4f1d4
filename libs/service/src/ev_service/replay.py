"""Readings played back from a CSV file by the run's clock.

A row holds until the next one, at most for a while; where the recording has no value, none is returned. Knows the
form of the file, not what its columns mean: each endpoint's model and its service's check judge every row.
The file is judged whole and stays where it is: kept in memory is where each row begins, 8 bytes for each.
"""

import collections
import csv
import logging
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import accumulate, chain, islice, repeat
from operator import le
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Generic, NamedTuple, TypeVar, cast, get_args, get_origin, overload

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ev_service.errors import ConfigurationError, SourceExhaustedError, SourceUnavailableError
from ev_service.sources import ServiceSettings, Source
from ev_service.telemetry import Reading
from ev_service.units import utc_text

R = TypeVar("R", bound=Reading)

SOURCE = "replay"
_TIME = "timestamp"
_OURS = frozenset({"site_id", "source", "source_time", _TIME})
_MOST_TOLD = 10
_CHUNK = 2048
_LINE_END, _QUOTE = ord("\n"), ord('"')
_SHORTEST_ROW = 3
"""Bytes of a line that may be a row: a line end may have two."""

Check = Callable[[R], str | None]
"""Why a reading cannot be true, or None."""

_logger = logging.getLogger(__name__)


class Replay(Source[R]):
    """Rows of one recording, each with its own time, in order."""

    def __init__(self, rows: Sequence[R], *, max_gap_s: float, shift_s: float = 0.0) -> None:
        """Play `rows` back.

        Args:
            rows: at least one, `source_time` set and strictly rising; a recording may grow.
            max_gap_s: how long a row holds at most [s].
            shift_s: added to every time of the recording [s].
        """
        self._rows = rows
        self._max_gap, self._shift = timedelta(seconds=max_gap_s), timedelta(seconds=shift_s)

    async def read(self, now: datetime) -> R:
        """The row that holds at `now`.

        Raises:
            SourceExhaustedError: the recording has not begun, has a gap here, or is over.
        """
        index = bisect_right(self._rows, now, key=self._time) - 1
        if index < 0:
            raise SourceExhaustedError(
                f"the recording begins at {utc_text(self._time(self._rows[0]))}, after {utc_text(now)}"
            )
        row = self._rows[index]
        if now - self._time(row) > self._max_gap:
            raise SourceExhaustedError(self._why_nothing_holds(index, now))
        return row.model_copy(update={"timestamp": now, "source_time": row.timestamp})

    async def health_error(self, now: datetime) -> str | None:
        """Why the recording cannot be read on, though the rows before still play."""
        return self._rows.obstacle if isinstance(self._rows, Recording) else None

    def _time(self, row: R) -> datetime:
        return row.timestamp + self._shift

    def _why_nothing_holds(self, index: int, now: datetime) -> str:
        last = f"its last row before {utc_text(now)} is of {utc_text(self._time(self._rows[index]))}"
        limit = f"and a row holds {self._max_gap.total_seconds():g} s at most"
        if index == len(self._rows) - 1:
            return f"the recording is over: {last} {limit}"
        return f"the recording has a gap until {utc_text(self._time(self._rows[index + 1]))}: {last} {limit}"


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


def read_recording(file: Path, model: type[R], *, site_id: str, check: Check[R]) -> "Recording[R]":
    """Judge all rows of a CSV file; none is left out or repaired.

    Args:
        file: UTF-8, first line names the columns: `timestamp` (ISO 8601 with offset or `Z`) and fields of the model;
            several values of one field stand in its cell with spaces between them. Every line has a line end.
        model: the endpoint's model.
        site_id: site that the readings belong to.
        check: why a reading cannot be true, or None.

    Raises:
        ConfigurationError: names the file and up to ten wrong rows by line number and reason.
    """
    try:
        recording = Recording(file, model, site_id, check)
        wrong = recording.read_on()
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(f"recording {file} cannot be read: {error}") from error
    if wrong:
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise ConfigurationError(f"recording {file} has wrong rows: {'; '.join(wrong[:_MOST_TOLD])}{more}")
    if not recording:
        raise ConfigurationError(f"recording {file} has no rows")
    recording.is_played = True
    return recording


class Recording(Sequence[R]):
    """The rows of a CSV file, read when they are asked for; a file that grows has more of them.

    obstacle: why the file cannot be read on, in one sentence; None while it can.
    is_played: whether it grows now; a row that cannot be used then waits, with all behind it, until it is mended.
    """

    def __init__(self, file: Path, model: type[R], site_id: str, check: Check[R]) -> None:
        """Read the first line; `read_on` takes in the others.

        Raises:
            ConfigurationError: it does not name the columns that are needed.
            OSError: the file cannot be read.
            ValueError: it is not UTF-8 text.
        """
        self._file = file
        self._begins = array("q")
        self._end: int = 0
        self._line: int = 0
        self._size: int = 0
        self._position: int = 0
        self._lines: int = 0
        self._last: datetime | None = None
        self._is_cut = False
        self.is_played = False
        self.obstacle: str | None = None
        with file.open("rb") as lines:
            columns = next(csv.reader(self._texts(lines), strict=True), list[str]())
        _demand_columns(columns, model, file)
        self._end, self._line = self._position, self._lines
        self._form = _Form(model, columns, site_id, check)

    def __len__(self) -> int:
        """How many rows the file has now."""
        if self.is_played:
            self._poll()
        return len(self._begins)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        """One row, or several.

        Raises:
            SourceUnavailableError: the file no longer holds what it held.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self._begins)))]
        begin = self._begins[index]
        follows = index % len(self._begins) + 1
        end = self._begins[follows] if follows < len(self._begins) else self._end
        try:
            with self._file.open("rb") as file:
                file.seek(begin)
                text = file.read(end - begin).decode()
            cells = next(cells for cells in csv.reader(StringIO(text, newline=""), strict=True) if cells)
            return self._form.reading(cells, self._form.moment(cells))
        except (OSError, ValueError, csv.Error, StopIteration) as error:
            raise SourceUnavailableError(f"recording {self._file} no longer holds a row that it held") from error

    def read_on(self) -> list[str]:
        """Take in the rows behind those that are known.

        Returns:
            The wrong ones, each with its line number and reason; one at most while the recording is played.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not UTF-8 text.
            csv.Error: it is no CSV.
        """
        wrong = list[str]()
        with self._file.open("rb") as file:
            file.seek(self._end)
            for chunk in self._chunks(file):
                if self._are_right(chunk):
                    self._begins.extend(chunk.begins)
                    self._end, self._line = chunk.ends[-1], chunk.lines[-1]
                    continue
                for cells, begin, end, line in zip(chunk.cells, chunk.begins, chunk.ends, chunk.lines, strict=True):
                    try:
                        self._last = self._judge(cells, is_cut=chunk.is_cut and end == chunk.ends[-1])
                        self._begins.append(begin)
                    except ValueError as error:
                        wrong.append(f"line {line}: {_reason(error)}")
                        if self.is_played:
                            return wrong
                    self._end, self._line = end, line
        self._size = self._end
        return wrong

    def _are_right(self, chunk: "_Chunk") -> bool:
        """Whether all rows of a chunk count, checked together, which is faster; else each gives its reason."""
        moments = self._form.moments(chunk.cells)
        if not moments or any(map(le, moments[1:], moments)) or chunk.is_cut:
            return False
        if self._last is not None and moments[0] <= self._last:
            return False
        self._last = moments[-1]
        return True

    def _judge(self, cells: list[str], *, is_cut: bool) -> datetime:
        moment = self._form.moment(cells)
        self._form.reading(cells)
        if self._last is not None and moment <= self._last:
            raise ValueError(f"{utc_text(moment)} does not come after the row before it, {utc_text(self._last)}")
        if is_cut:
            raise ValueError("it has no line end, so it may be cut off")
        return moment

    def _poll(self) -> None:
        try:
            size = self._file.stat().st_size
            if size == self._size:
                return
            if size < self._end:
                self.obstacle = f"recording {self._file} is shorter than it was; start the service again to play it"
                return
            wrong = self.read_on()
            # A line that is being written has no end yet.
            self.obstacle = None if not wrong or self._is_cut else f"recording {self._file}: {wrong[0]}"
        except (OSError, ValueError, csv.Error) as error:
            self.obstacle = f"recording {self._file} cannot be read on: {error}"

    def _chunks(self, file: BinaryIO) -> Iterator["_Chunk"]:
        self._position, self._lines = self._end, self._line
        while lines := list(islice(file, _CHUNK)):
            if any(_QUOTE in line or len(line) < _SHORTEST_ROW for line in lines):
                # A row may have several lines from here on, or a line no row.
                yield from self._chunks_by_row(chain(lines, file))
            else:
                yield self._chunk_of(lines)

    def _chunk_of(self, lines: list[bytes]) -> "_Chunk":
        """Lines that are one row each."""
        edges = list(accumulate(map(len, lines), initial=self._position))
        numbers = range(self._lines + 1, self._lines + len(lines) + 1)
        self._position, self._lines, self._is_cut = edges[-1], numbers[-1], lines[-1][-1] != _LINE_END
        cells = list(csv.reader(map(bytes.decode, lines), strict=True))
        return _Chunk(cells, edges[:-1], edges[1:], numbers, self._is_cut)

    def _chunks_by_row(self, lines: Iterable[bytes]) -> Iterator["_Chunk"]:
        rows, begin = list[tuple[list[str], int, int, int]](), self._position
        for cells in csv.reader(self._texts(lines), strict=True):
            if cells:
                rows.append((cells, begin, self._position, self._lines))
            begin = self._position
            if len(rows) == _CHUNK:
                yield self._chunk_of_rows(rows)
                rows = []
        if rows:
            yield self._chunk_of_rows(rows)

    def _chunk_of_rows(self, rows: Sequence[tuple[list[str], int, int, int]]) -> "_Chunk":
        cells, begins, ends, lines = zip(*rows, strict=True)
        return _Chunk(cells, begins, ends, lines, self._is_cut)

    def _texts(self, lines: Iterable[bytes]) -> Iterator[str]:
        for line in lines:
            self._position += len(line)
            self._lines += 1
            self._is_cut = line[-1] != _LINE_END
            yield line.decode("utf-8" if self._lines > 1 else "utf-8-sig")


class _Chunk(NamedTuple):
    """Rows of the file, at least one.

    begins, ends: where each stands [byte].
    """

    cells: Sequence[list[str]]
    """Of each."""

    begins: Sequence[int]
    ends: Sequence[int]
    lines: Sequence[int]
    """Number of its last line."""

    is_cut: bool
    """Whether the last one has no line end."""


class _Form(Generic[R]):
    """What stands in which cell of a row, and what makes a reading of it."""

    def __init__(self, model: type[R], columns: Sequence[str], site_id: str, check: Check[R]) -> None:
        self._model, self._check, self._width = model, check, len(columns)
        self._time = columns.index(_TIME)
        several = _several(model)
        fields = {name: field for name, field in model.model_fields.items() if name not in _OURS}
        values = [(place, name) for place, name in enumerate(columns) if name in fields]
        self._single = [(place, name) for place, name in values if name not in several]
        self._several = [(place, name) for place, name in values if name in several]
        self._columns = {name: _column_type(fields[name]) for _, name in values}
        # The time of a row is judged by `moment`, once; the model is given one that is right.
        self._ours = {"site_id": site_id, "source": SOURCE, _TIME: "2000-01-01T00:00:00Z"}
        tuples: Any = collections
        self._values: Callable[..., object] = tuples.namedtuple("_Values", model.model_fields)
        self._defaults = {name: field.default for name, field in model.model_fields.items()}

    def moment(self, cells: Sequence[str]) -> datetime:
        """When a row was measured, UTC.

        Raises:
            ValueError: it does not say so, or has not as many cells as there are columns.
        """
        if len(cells) != self._width:
            raise ValueError("it has not as many cells as the first line has columns")
        return _moment(cells[self._time])

    def reading(self, cells: Sequence[str], moment: datetime | None = None) -> R:
        """One row as a reading; of a time that is any, where none is given.

        Raises:
            ValueError: why it cannot be one.
        """
        values = {name: cells[place] for place, name in self._single if cells[place] != ""}
        reading = self._model.model_validate_strings(values | self._ours)
        more = {name: cells[place].split() for place, name in self._several if cells[place] != ""}
        if more:
            # Among texts a list cannot stand.
            reading = self._model.model_validate({**dict(reading), **more}, strict=False)
        if moment is not None:
            reading = reading.model_copy(update={_TIME: moment, "source_time": moment})
        if reason := self._check(reading):
            raise ValueError(reason)
        return reading

    def moments(self, rows: Sequence[Sequence[str]]) -> list[datetime]:
        """When rows were measured, judged column by column; none where one of them may be no reading."""
        if not rows or any(len(cells) != self._width for cells in rows):
            return []
        columns = list(zip(*rows, strict=True))
        values: dict[str, Iterable[object]] = {name: repeat(default) for name, default in self._defaults.items()}
        try:
            moments = [_moment(text) for text in columns[self._time]]
            for place, name in self._single:
                values[name] = self._column(name, columns[place])
            for place, name in self._several:
                values[name] = self._column(name, [cell.split() or "" for cell in columns[place]])
        except ValueError:
            return []
        # A check reads fields, which these tuples have as the model has.
        check = cast("Callable[[object], str | None]", self._check)
        return [] if any(map(check, map(self._values, *values.values()))) else moments

    def _column(self, name: str, cells: Sequence[object]) -> list[object]:
        is_optional = self._defaults[name] is None
        return self._columns[name].validate_python([None if is_optional and cell == "" else cell for cell in cells])


def _column_type(field: FieldInfo) -> TypeAdapter[list[object]]:
    """What judges many values of one field at once; text stands for numbers and flags."""
    annotated, several = cast(Any, Annotated), cast(Any, list)
    each = annotated[(field.annotation, Field(), *field.metadata)]
    return TypeAdapter(several[each], config=ConfigDict(strict=False, allow_inf_nan=False))


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
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"timestamp {text!r} must lie within the years 1 to 9999 in UTC") from error


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return ", ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
