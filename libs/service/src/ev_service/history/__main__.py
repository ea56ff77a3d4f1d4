"""Imports recorded values into the history of the solar, battery or grid service, and reports gaps and refused rows.

The history is the one that HISTORY_DIR or HISTORY_DATABASE_URL names, of the site SITE_ID; values become those of the
service's source (GRID_SOURCE and so on). Importing a file again changes nothing.
"""

import argparse
import sys
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_settings import SettingsConfigDict

from ev_service.clock import make_clock
from ev_service.errors import ConfigurationError, EvError
from ev_service.history.csv_import import (
    KILOWATTS,
    MODELS,
    TIME,
    CsvColumns,
    CsvImport,
    ImportReport,
    find_default_columns,
    read_header,
)
from ev_service.history.reading_history import SeriesOwner, find_origin
from ev_service.history.settings import HistorySettings
from ev_service.history.store import HistoryStore, open_store
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.sources import SourceSettings
from ev_service.units import utc_text

_MOST_GAPS = 10


def main(argv: list[str] | None = None) -> int:
    """Import one file; return 1 if it cannot be done."""
    arguments = _create_parser().parse_args(argv)
    try:
        columns = _find_columns(arguments)
        settings = load(HistorySettings)
        store = _open_store(arguments.service, settings)
        now = make_clock(load(RunSettings).sim_clock_file).now()
        earliest = now - timedelta(days=settings.mean_days)
        report = CsvImport(arguments.service, columns, earliest=earliest, latest=now).run(arguments.file, store, now)
    except EvError as error:
        sys.stderr.write(f"import: {error.message}\n")
        return 1
    sys.stdout.write("\n".join([f"{store.owner.origin} values of {store.owner.site_id}", *format_report(report), ""]))
    return 0


def format_report(report: ImportReport) -> list[str]:
    """Lines for people about one import.

    Args:
        report: what it found and did.
    """
    lines = [f"rows      {report.rows} read, {report.refused} refused, {report.outside} outside the time kept"]
    lines.append(f"values    {report.new_values} new, {report.known_values} of times that had one")
    if report.times_s:
        gaps = report.gaps()
        first, last = report.span()
        lines += [f"span      {utc_text(first)} to {utc_text(last)}", f"step      {report.step_s() or 0} s"]
        lines.append(f"gaps      {len(gaps)}" + (", the longest:" if gaps else ""))
        lines += [f"  {utc_text(start)} to {utc_text(end)}, {end - start}" for start, end in gaps[:_MOST_GAPS]]
    lines += [f"refused   {reason}" for reason in report.reasons]
    return lines


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ev_service.history", description=__doc__)
    parser.add_argument("service", choices=sorted(MODELS), help="service whose history it becomes")
    parser.add_argument("file", type=Path, help="CSV with a header, also .gz")
    parser.add_argument(
        "--time-column", default=TIME, metavar="NAME", help="column of the times (default: %(default)s)"
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="column of a field, such as load_kw=demand; may be repeated (default: columns named as fields)",
    )
    parser.add_argument("--timezone", metavar="ZONE", help="zone of times without an offset, such as Europe/Berlin")
    parser.add_argument("--unit", choices=list(KILOWATTS), default="kW", help="unit of power (default: %(default)s)")
    return parser


def _find_columns(arguments: argparse.Namespace) -> CsvColumns:
    fields = dict[str, str]()
    for given in arguments.column:
        name, sign, column = given.partition("=")
        if not sign or not column:
            raise ConfigurationError(f"--column {given}: must be FIELD=NAME, such as load_kw=demand")
        fields[name] = column
    fields = fields or find_default_columns(arguments.service, read_header(arguments.file))
    if not fields:
        raise ConfigurationError(f"{arguments.file} has no column of the {arguments.service} service: give --column")
    try:
        zone = None if arguments.timezone is None else ZoneInfo(arguments.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(f"--timezone {arguments.timezone}: is no IANA time zone") from error
    return CsvColumns(fields, arguments.time_column, zone, arguments.unit)


def _open_store(service: str, settings: HistorySettings) -> HistoryStore:
    class ServiceSource(SourceSettings):
        """Source settings of this service."""

        model_config = SettingsConfigDict(env_prefix=f"{service.upper()}_")

    origin = find_origin(load(ServiceSource).source)
    store = open_store(settings, SeriesOwner(load(SiteSettings).id, service, origin))
    if store is None:
        raise ConfigurationError("set HISTORY_DIR or HISTORY_DATABASE_URL: there is no history to import into")
    return store


if __name__ == "__main__":
    sys.exit(main())
