"""Imports recorded values from a CSV file into a service's history, and reports gaps and refused rows.

Importing a file again changes nothing: a time that has a value keeps it.
"""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ev_service.errors import ConfigurationError
from ev_service.history.store import HistoryStore, Sample
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus

MODELS: Mapping[str, type[Reading]] = {"solar": SolarStatus, "battery": BatteryStatus, "grid": GridLoad}
"""Reading of each service."""

KILOWATTS: Mapping[str, float] = {"W": 0.001, "kW": 1.0, "MW": 1000.0}
"""Units of power [kW]."""

TIME = "timestamp"

_BATCH = 2000
_MOST_REPORTED = 10


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """What stands where in a file."""

    fields: Mapping[str, str]
    """Column of each field."""

    time: str = TIME
    """Column of the time at which a row's interval begins, ISO 8601."""

    timezone: ZoneInfo | None = None
    """Time zone of times without an offset; None: such rows are refused."""

    power_unit: str = "kW"
    """Unit of the fields that end in `_kw`: W, kW or MW."""


@dataclass(slots=True)
class ImportReport:
    """What an import found and did."""

    rows: int = 0
    """Rows read."""

    new_values: int = 0
    """Values that were not there before."""

    known_values: int = 0
    """Values of times that had one already: in the history, or earlier in the file."""

    outside: int = 0
    """Rows older than means are kept, or later than now; they are left out."""

    refused: int = 0
    """Rows that cannot be read."""

    reasons: list[str] = field(default_factory=list[str])
    """Line and reason of the first ten refused rows."""

    times_s: set[int] = field(default_factory=set[int])
    """Times of the rows taken, in seconds since 1970 [s]."""

    def step_s(self) -> int | None:
        """The most frequent distance between consecutive rows [s]; None with fewer than two."""
        steps = Counter(later - earlier for earlier, later in pairwise(sorted(self.times_s)))
        return steps.most_common(1)[0][0] if steps else None

    def span(self) -> tuple[datetime, datetime]:
        """First and last time of the rows taken, at least one."""
        return _moment(min(self.times_s)), _moment(max(self.times_s))

    def gaps(self) -> list[tuple[datetime, datetime]]:
        """Times without a row, each from the first missing row to the next one that is there; the longest first."""
        step_s = self.step_s() or 0
        found = [
            (earlier + step_s, later)
            for earlier, later in pairwise(sorted(self.times_s))
            if later - earlier > 1.5 * step_s
        ]
        found.sort(key=lambda gap: (gap[0] - gap[1], gap[0]))
        return [(_moment(start), _moment(end)) for start, end in found]


class CsvImport:
    """Imports files for one service.

    Args:
        service: solar, battery or grid.
        columns: what stands where.
        earliest: rows before it are left out.
        latest: rows after it are left out.

    Raises:
        ConfigurationError: a field is none of the service's numeric fields.
    """

    def __init__(self, service: str, columns: CsvColumns, *, earliest: datetime, latest: datetime) -> None:
        self._columns, self._earliest, self._latest = columns, earliest, latest
        known = _adapters(MODELS[service])
        if unknown := sorted(set(columns.fields) - known.keys()):
            raise ConfigurationError(f"{service} has no field {', '.join(unknown)}; it has {', '.join(known)}")
        self._adapters = {name: known[name] for name in columns.fields}
        self._previous: datetime | None = None

    def run(self, file: Path, store: HistoryStore, now: datetime) -> ImportReport:
        """Import one file and turn what is old into means.

        Args:
            file: CSV, also compressed with gzip.
            store: where it is written.
            now: the run's time.

        Raises:
            ConfigurationError: the file cannot be read or lacks a column.
            HistoryUnavailableError: the database cannot be written; what was written before stays.
        """
        report = ImportReport()
        samples = self._samples(file, report)
        while batch := list(islice(samples, _BATCH)):
            new = store.write(batch)
            report.new_values += new
            report.known_values += sum(len(sample.values) for sample in batch) - new
        while store.compact(now):
            pass
        return report

    def _samples(self, file: Path, report: ImportReport) -> Iterator[Sample]:
        try:
            with _open(file) as text:
                reader = csv.DictReader(text)
                self._demand_columns(reader.fieldnames or [], file)
                for row in reader:
                    report.rows += 1
                    sample = self._read_row(row, reader.line_num, report)
                    if sample is not None:
                        report.times_s.add(int(sample.taken_at.timestamp()))
                        yield sample
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigurationError(f"{file} cannot be read: {error}") from error

    def _demand_columns(self, named: Sequence[str], file: Path) -> None:
        needed = [self._columns.time, *self._columns.fields.values()]
        if missing := [name for name in needed if name not in named]:
            raise ConfigurationError(f"{file} has no column {', '.join(missing)}; it has {', '.join(named) or 'none'}")

    def _read_row(self, row: Mapping[str, Any], line: int, report: ImportReport) -> Sample | None:
        try:
            sample = Sample(self._read_time(row[self._columns.time]), self._read_values(row))
        except ValueError as error:
            report.refused += 1
            if len(report.reasons) < _MOST_REPORTED:
                report.reasons.append(f"line {line}: {_describe(error)}")
            return None
        if not self._earliest <= sample.taken_at <= self._latest:
            report.outside += 1
            return None
        return sample

    def _read_time(self, text: str | None) -> datetime:
        moment = datetime.fromisoformat((text or "").strip())
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        zone = self._columns.timezone
        if zone is None:
            raise ValueError(f"{self._columns.time} {text} has no offset from UTC; name its time zone with --timezone")
        first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first.astimezone(zone).replace(tzinfo=None) != moment:
            raise ValueError(f"{self._columns.time} {text} does not exist in {zone.key}: clocks are set forward")
        # In autumn an hour comes twice: a time that does not rise belongs to the second one.
        chosen = second if self._previous is not None and first <= self._previous else first
        self._previous = chosen
        return chosen

    def _read_values(self, row: Mapping[str, Any]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, column in self._columns.fields.items():
            text = (row[column] or "").strip()
            if not text:
                continue
            value = float(text) * (KILOWATTS[self._columns.power_unit] if name.endswith("_kw") else 1.0)
            try:
                values[name] = self._adapters[name].validate_python(value)
            except ValidationError as error:
                raise ValueError(f"{column} {text}: {error.errors()[0]['msg']}") from error
        if not values:
            raise ValueError("it has no value")
        return values


def find_default_columns(service: str, header: Iterable[str]) -> dict[str, str]:
    """Find the columns of a file that are named as a service's numeric fields."""
    known = _adapters(MODELS[service])
    return {name: name for name in header if name in known}


def read_header(file: Path) -> list[str]:
    """Read the names of a file's columns.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        with _open(file) as text:
            return next(csv.reader(text), list[str]())
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error


def _open(file: Path) -> io.TextIOWrapper:
    binary = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # noqa: SIM115 - closed with the text
    return io.TextIOWrapper(cast(BinaryIO, binary), encoding="utf-8-sig", newline="")


def _adapters(model: type[Reading]) -> dict[str, TypeAdapter[float]]:
    """What checks each field of one number."""
    found: dict[str, TypeAdapter[float]] = {}
    for name, info in model.model_fields.items():
        if name in Reading.model_fields or not _is_number(info.annotation):
            continue
        annotated: Any = Annotated
        config = ConfigDict(allow_inf_nan=False)
        found[name] = TypeAdapter(annotated[(float, Field(), *info.metadata)], config=config)
    return found


def _is_number(annotation: Any) -> bool:
    options = get_args(annotation) or (annotation,)
    return any(float in (one, *get_args(one)[:1]) and get_origin(one) is not tuple for one in options)


def _describe(error: ValueError) -> str:
    return str(error).splitlines()[0]


def _moment(time_s: int) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)
