"""Reads sealed records for whoever verifies them: from a live or copied database, or from an export.

Judges nothing and changes nothing: what stands in a row or line is handed on as it stands.
"""

import contextlib
import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from charging_agent.ledger.errors import is_damage

DATABASE_FILE = "ledger.sqlite"
"""Name of the database in AGENT_STATE_DIR."""

_SQLITE_MAGIC = b"SQLite format 3\x00"
_COLUMNS = "SELECT sequence, decision_id, record, sha256, signature FROM records ORDER BY sequence"
_DIFFERENCES = """
WITH by_table AS (SELECT sequence, decision_id FROM records NOT INDEXED),
by_index AS (SELECT sequence, decision_id FROM records INDEXED BY sqlite_autoindex_records_1)
SELECT * FROM (SELECT * FROM by_table EXCEPT SELECT * FROM by_index)
UNION ALL SELECT * FROM (SELECT * FROM by_index EXCEPT SELECT * FROM by_table)
"""


class LedgerReadError(Exception):
    """The file cannot be read as a ledger."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One row or line as it was read."""

    place: str
    """Row or line, for messages."""
    record: str = ""
    """The record as canonical JSON."""
    sha256: str = ""
    """Its hash as stored."""
    signature: str = ""
    """Its signature as stored."""
    sequence: object = None
    """Sequence number in the row; None for a line."""
    decision_id: object = None
    """Decision id in the row; None for a line."""
    is_row: bool = False
    """Whether it is a row of a database."""
    error: str | None = None
    """Why it could not be read as a signed record; None: it could."""


def read_records(file: Path) -> Iterator[StoredRecord]:
    """Every record of a database or an export, in their order.

    Raises:
        LedgerReadError: there is no such file, or it is neither.
    """
    return _read_rows(file) if _is_database(file) else _read_lines(file)


def find_database_damage(file: Path) -> str | None:
    """What is wrong with pages and indexes of a database, whatever its records say; None: nothing, or an export.

    Raises:
        LedgerReadError: there is no such file, or no records in it.
    """
    if not _is_database(file):
        return None
    with _connect(file) as connection:
        try:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if found != "ok":
                return " ".join(found.removeprefix("*** in database main ***").split())
            differing = connection.execute(_DIFFERENCES).fetchone()
        except sqlite3.Error as error:
            if is_damage(error) or "no such index" in str(error):
                return str(error)
            raise
    return None if differing is None else f"record {differing[0]} reads otherwise by the index than by the table"


def _is_database(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise LedgerReadError(f"{file}: {error.strerror}") from error


@contextlib.contextmanager
def _connect(file: Path) -> Generator[sqlite3.Connection]:
    # Read only, in one transaction: a live ledger is seen as at one moment, and its writer notices nothing.
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        yield connection
    except sqlite3.Error as error:
        raise LedgerReadError(f"{file}: {error}") from error
    finally:
        connection.close()


def _read_rows(file: Path) -> Iterator[StoredRecord]:
    with _connect(file) as connection:
        # Text that is no UTF-8 must be told as a broken record, not end the reading.
        connection.text_factory = _decode
        try:
            for sequence, decision_id, record, sha256, signature in connection.execute(_COLUMNS):
                yield _parse_row(sequence, decision_id, (record, sha256, signature))
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            yield StoredRecord("next row", error=f"it cannot be read: {error}")


def _parse_row(sequence: object, decision_id: object, columns: tuple[object, object, object]) -> StoredRecord:
    place = f"row {sequence}"
    if not all(isinstance(value, str) for value in columns):
        return StoredRecord(place, sequence=sequence, decision_id=decision_id, is_row=True, error="a column is no text")
    record, sha256, signature = cast(tuple[str, str, str], columns)
    return StoredRecord(place, record, sha256, signature, sequence, decision_id, is_row=True)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _read_lines(file: Path) -> Iterator[StoredRecord]:
    with file.open("rb") as opened:
        yield from parse_lines(opened)


def parse_lines(lines: Iterable[bytes]) -> Iterator[StoredRecord]:
    """Every record of an export's lines, each with its end."""
    for number, raw in enumerate(lines, 1):
        yield _parse_line(f"line {number}", raw)


def _parse_line(place: str, raw: bytes) -> StoredRecord:
    if not raw.endswith(b"\n"):
        return StoredRecord(place, error="the line is cut off")
    try:
        value: Any = json.loads(raw)
        record = raw[len(b'{"record":') : raw.rindex(b',"sha256":')].decode("utf-8")
        content = cast(dict[str, Any], value)
        found = StoredRecord(place, record, content["sha256"], content["signature"])
        line = f'{{"record":{record},"sha256":"{found.sha256}","signature":"{found.signature}"}}\n'.encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return StoredRecord(place, error="the line is no sealed record")
    if line != raw or not isinstance(content["sha256"], str) or not isinstance(content["signature"], str):
        return StoredRecord(place, error="the line is not written as an export is")
    return found
