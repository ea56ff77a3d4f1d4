"""Regular time series, and reading them from CSV files with a report of what was missing."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
"""One-dimensional unless a docstring says otherwise."""

TimestampArray = npt.NDArray[np.datetime64]
"""Moments in UTC, in whole seconds."""

MAX_INTERVALS = 20_000_000
"""A file whose grid would need more has a wrong timestamp somewhere."""


class SeriesError(ValueError):
    """A time series, or the file that it is read from, cannot be used."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Contiguous intervals without a value."""

    start: datetime
    """Start of the first missing interval, UTC."""

    intervals: int
    """Number of missing intervals, >= 1."""


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """Values of one quantity in contiguous intervals of equal length.

    Raises:
        SeriesError: `start` has no time zone, or `resolution` is not a positive number of whole seconds.
    """

    start: datetime
    """Start of the first interval, aware; kept in UTC."""

    resolution: timedelta
    """Length of each interval."""

    values: FloatArray
    """One per interval, in the quantity's unit; NaN where it is missing."""

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise SeriesError("the start of a series needs a time zone")
        if self.resolution < timedelta(seconds=1) or self.resolution % timedelta(seconds=1):
            raise SeriesError(f"the resolution must be whole seconds, got {self.resolution}")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def end(self) -> datetime:
        """End of the last interval, UTC."""
        return self.start + self.resolution * len(self.values)

    @property
    def intervals_per_day(self) -> int:
        """Intervals in 24 hours.

        Raises:
            SeriesError: 24 hours are no whole number of intervals.
        """
        if timedelta(days=1) % self.resolution:
            raise SeriesError(f"24 hours are no whole number of intervals of {self.resolution}")
        return timedelta(days=1) // self.resolution

    def timestamps(self) -> TimestampArray:
        """Start of each interval."""
        step = np.timedelta64(int(self.resolution.total_seconds()), "s")
        first = np.datetime64(self.start.replace(tzinfo=None), "s")
        return np.asarray(first + np.arange(len(self.values)) * step, dtype="datetime64[s]")

    def position(self, moment: datetime) -> int:
        """Index of the interval that holds the moment; outside of 0 to length - 1 where none does."""
        return (moment - self.start) // self.resolution

    def until(self, moment: datetime) -> "TimeSeries":
        """The part that is known at the moment: the intervals that end at or before it."""
        return TimeSeries(self.start, self.resolution, self.values[: max(0, self.position(moment))])

    def since(self, moment: datetime) -> "TimeSeries":
        """The intervals that start at or after the moment."""
        first = min(len(self.values), max(0, -((self.start - moment) // self.resolution)))
        return TimeSeries(self.start + self.resolution * first, self.resolution, self.values[first:])

    def gaps(self) -> tuple[Gap, ...]:
        """Contiguous runs of missing values, the earliest first."""
        missing = np.isnan(self.values)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False])).astype(np.int8)))
        return tuple(
            Gap(self.start + self.resolution * int(first), int(last - first))
            for first, last in zip(edges[::2], edges[1::2], strict=True)
        )

    def mean_over(self, resolution: timedelta) -> "TimeSeries":
        """Means over longer intervals; missing values are left out, and an interval of only such is missing.

        Args:
            resolution: A whole multiple of the series' own. An incomplete last interval is dropped.

        Raises:
            SeriesError: The resolution is no whole multiple.
        """
        if resolution % self.resolution or resolution < self.resolution:
            raise SeriesError(f"{resolution} is no whole multiple of {self.resolution}")
        count = resolution // self.resolution
        blocks = self.values[: len(self.values) // count * count].reshape(-1, count)
        present = ~np.isnan(blocks)
        sums = np.where(present, blocks, 0.0).sum(axis=1)
        counts = present.sum(axis=1)
        means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
        return TimeSeries(self.start, resolution, means)


@dataclass(frozen=True, slots=True)
class CsvReport:
    """What was found in a CSV file besides the values."""

    rows: int
    """Data rows."""

    missing: int
    """Intervals between first and last row that have no row, or an empty cell in the first column that was read."""

    doubled: int
    """Rows whose timestamp another row has as well; their values were averaged."""

    gaps: tuple[Gap, ...]
    """Gaps of the first column that was read."""

    marks_interval_end: bool
    """Timestamps were found to mark the end of each interval and were set back by one interval."""

    def describe(self) -> str:
        """One line for people."""
        text = f"{self.rows} rows, {self.missing} of the intervals without a value in {len(self.gaps)} gaps"
        if self.gaps:
            longest = max(self.gaps, key=lambda gap: gap.intervals)
            text += f" (longest {longest.intervals} intervals from {longest.start:%Y-%m-%d %H:%M} UTC)"
        text += f", {self.doubled} rows with a doubled timestamp (averaged)" if self.doubled else ""
        return text + (", timestamps mark the end of the interval" if self.marks_interval_end else "")


def read_csv(
    path: Path, columns: Sequence[str], *, timezone: ZoneInfo | None = None, local: bool | None = None
) -> tuple[dict[str, TimeSeries], CsvReport]:
    """Read columns of a CSV file as series on one grid.

    The first column has the timestamps in ISO 8601. One with an offset is taken at its word. One without is UTC, or
    wall clock of `timezone`: the hour that a clock change doubles is then told apart by the order of the rows.

    Args:
        path: The file; `.gz` is unpacked.
        columns: Headers of the columns, at least one. An empty cell is a missing value; `true` and `false` are 1 and 0.
        timezone: Zone of wall-clock timestamps.
        local: True: timestamps without offset are wall clock of `timezone`; False: UTC. None: wall clock if the
            header of the first column begins with `local`.

    Raises:
        SeriesError: The file cannot be read, lacks a column, or has a cell or a timestamp that is none.
    """
    try:
        with _open_text(path) as lines:
            table = csv.reader(lines)
            header = next(table, list[str]())
            stamps, cells = _read_rows(table, header, columns, path)
    except (OSError, UnicodeDecodeError, EOFError, csv.Error) as error:
        raise SeriesError(f"{path}: cannot be read: {error}") from error
    if len(stamps) < 2:
        raise SeriesError(f"{path}: a series needs two rows or more, found {len(stamps)}")
    if local is None:
        local = header[0].strip().lower().startswith("local")
    naive = [stamp for stamp in stamps if stamp.tzinfo is None]
    if local and naive and timezone is None:
        raise SeriesError(f"{path}: the timestamps are local time; name their time zone")
    marks_end = bool(local and naive and timezone and _marks_interval_end(stamps, timezone))
    seconds = _utc_seconds(stamps, timezone if local else None, marks_end)
    return _grid(seconds, np.asarray(cells), columns, path, marks_end)


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_rows(
    table: Iterator[list[str]], header: list[str], columns: Sequence[str], path: Path
) -> tuple[list[datetime], list[list[float]]]:
    names = [name.strip() for name in header]
    absent = [column for column in columns if column not in names[1:]]
    if absent:
        raise SeriesError(f"{path}: no column {absent[0]!r}; it has {', '.join(names[1:]) or 'none'}")
    positions = [names.index(column) for column in columns]
    stamps: list[datetime] = []
    cells: list[list[float]] = []
    for number, row in enumerate(table, start=2):
        if not any(row):
            continue
        try:
            stamps.append(datetime.fromisoformat(row[0].strip()))
            cells.append([_parse_cell(row[position]) for position in positions])
        except (ValueError, IndexError) as error:
            raise SeriesError(f"{path}, line {number}: {error}") from error
    return stamps, cells


def _parse_cell(text: str) -> float:
    match text.strip().lower():
        case "" | "na" | "nan" | "null":
            return np.nan
        case "true":
            return 1.0
        case "false":
            return 0.0
        case number:
            value = float(number)
            if not np.isfinite(value):
                raise ValueError(f"{number} is no finite number")
            return value


def _marks_interval_end(stamps: list[datetime], timezone: ZoneInfo) -> bool:
    """Whether the doubled wall-clock times fit a clock change only as the ends of intervals.

    In autumn the hour from 01:00 (02:00 in Europe) comes twice. In a file of interval ends the stamp one interval
    later is the doubled one.
    """
    step = Counter(later - earlier for earlier, later in pairwise(stamps)).most_common(1)[0][0]
    doubled = [stamp for earlier, stamp in pairwise(stamps) if stamp == earlier and stamp.tzinfo is None]
    as_start = sum(_is_ambiguous(stamp, timezone) for stamp in doubled)
    return sum(_is_ambiguous(stamp - step, timezone) for stamp in doubled) > as_start


def _is_ambiguous(stamp: datetime, timezone: ZoneInfo) -> bool:
    first, second = (stamp.replace(tzinfo=timezone, fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second


def _utc_seconds(stamps: list[datetime], timezone: ZoneInfo | None, marks_end: bool) -> npt.NDArray[np.int64]:
    """Interval starts in seconds since 1970; `timezone` None takes stamps without offset as UTC."""
    shift = timedelta(0)
    if marks_end:
        shift = Counter(later - earlier for earlier, later in pairwise(stamps)).most_common(1)[0][0]
    seconds = np.empty(len(stamps), dtype=np.int64)
    passed: set[datetime] = set()
    for row, stamp in enumerate(stamps):
        moment = stamp
        if stamp.tzinfo is None:
            wall = stamp - shift
            moment = wall.replace(tzinfo=timezone or UTC, fold=int(wall in passed))
            passed.add(wall)
        seconds[row] = round(moment.timestamp())
    return seconds


def _grid(
    seconds: npt.NDArray[np.int64], cells: FloatArray, columns: Sequence[str], path: Path, marks_end: bool
) -> tuple[dict[str, TimeSeries], CsvReport]:
    """Put rows on a regular grid whose step is the most frequent difference of neighbouring timestamps."""
    unique, inverse = np.unique(seconds, return_inverse=True)
    differences, counts = np.unique(np.diff(unique), return_counts=True)
    if not len(differences):
        raise SeriesError(f"{path}: all rows have the same timestamp")
    step = int(differences[np.argmax(counts)])
    offsets = unique - unique[0]
    length = int(offsets[-1]) // step + 1
    if length > MAX_INTERVALS:
        raise SeriesError(f"{path}: {length} intervals of {step} s between first and last row; is a timestamp wrong?")
    astray = np.flatnonzero(offsets % step)
    if len(astray):
        moment = datetime.fromtimestamp(int(unique[astray[0]]), UTC)
        raise SeriesError(f"{path}: {moment:%Y-%m-%d %H:%M:%S} UTC is not on the grid of {step} s")
    start, resolution = datetime.fromtimestamp(int(unique[0]), UTC), timedelta(seconds=step)
    series: dict[str, TimeSeries] = {}
    for position, column in enumerate(columns):
        present = ~np.isnan(cells[:, position])
        count = np.bincount(inverse[present], minlength=len(unique))
        total = np.bincount(inverse[present], weights=cells[present, position], minlength=len(unique))
        values = np.full(length, np.nan)
        values[offsets // step] = np.divide(total, count, out=np.full(len(unique), np.nan), where=count > 0)
        series[column] = TimeSeries(start, resolution, values)
    first = series[columns[0]]
    missing = int(np.isnan(first.values).sum())
    return series, CsvReport(len(seconds), missing, len(seconds) - len(unique), first.gaps(), marks_end)
