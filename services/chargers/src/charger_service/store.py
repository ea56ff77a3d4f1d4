"""SQLite database of what must survive a restart: sessions, limits, transaction numbers, orders and audit records.

One thread executes all transactions, so that callers neither block the event loop nor wait longer than a disk may take.
A file that was once found damaged is not written until somebody replaces it, and its limits are not trusted: the
service continues without it, as with a full disk.
"""

import asyncio
import logging
import shutil
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from ev_service.errors import ConfigurationError, EvError
from ev_service.units import utc_text

T = TypeVar("T")
P = ParamSpec("P")

metadata = MetaData()

limit_states = Table(
    "standings",
    metadata,
    Column("charger_id", String(48), primary_key=True),
    Column("evse_id", Integer, primary_key=True),
    # Upper bound of the EVSE's current per phase [A], also for what happened after this was written; null: its rating.
    Column("ceiling_a", Float),
    Column("fallback_held_a", Float),
    Column("wanted", Text),
)

chargers = Table("chargers", metadata, Column("charger_id", String(48), primary_key=True), Column("content", Text))
"""Make of each charger, how it accepts limits, and EVSEs with a session since it was last seen without a car."""

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("charger_id", String(48), nullable=False),
    Column("evse_id", Integer, nullable=False),
    Column("transaction_id", String(64), nullable=False),
    Column("content", Text, nullable=False),
    # ISO 8601 in UTC; null while the session runs.
    Column("ended_at", String(40), index=True),
)

numbers = Table(
    "transaction_numbers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("charger_id", String(48), nullable=False),
    Column("beginning", Text, nullable=False),
)

active_orders = Table("operator_words", metadata, Column("name", String(32), primary_key=True), Column("content", Text))
"""Operators' orders in force: the site's limit and the override."""


def _audit_table(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True),
        # Chosen by the client, so that an event sent again is recorded once; null where there is none.
        Column("event_id", String(36), unique=True),
        # JSON of the record without its number; null: a damaged line.
        Column("content", Text),
        # A line of the file of an older version that cannot be read, as a crash leaves one behind.
        Column("damaged", Text),
    )


kills = _audit_table("kill_audit")
"""Kills and revives. Rows are only added."""

orders = _audit_table("order_audit")
"""Orders of operators, and reductions by protection. Rows are only added."""


FILE = "chargers.sqlite"
_LONGEST_WRITE_S = 3.0
"""How long a write may take before it counts as failed [s, real time]."""
_BUSY_S = 2.0
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_KEPT_NUMBERS = 10_000
_RESTORED_ENDED = 10_000
_MIN_FREE_BYTES = 1 << 20

_logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


class StoreError(EvError):
    """The database cannot be read or written now."""

    code: ClassVar[str] = "state_not_kept"
    http_status: ClassVar[int] = 507


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to insert or update, by the columns of their tables, in one transaction."""

    chargers: Iterable[Row] = ()
    limit_states: Iterable[Row] = ()
    sessions: Iterable[Row] = ()
    numbers: Iterable[Row] = ()
    active_orders: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """Orders in force by name; None deletes one."""


@dataclass(frozen=True, slots=True)
class PersistedState:
    """Content of the database at the start of the process."""

    chargers: list[Row]
    limit_states: list[Row]
    sessions: list[Row]
    """Ended sessions in the order of their ends, then running ones."""
    numbers: list[Row]
    active_orders: dict[str, str]


class StateStore:
    """The database of one process.

    Args:
        folder: folder of the file; None: in memory, lost with the process.
        kept_for: how long ended sessions are kept.

    Raises:
        ConfigurationError: it cannot be opened, for another reason than damage.
    """

    def __init__(self, folder: Path | None, kept_for: timedelta = timedelta(days=90)) -> None:
        self._kept_for = kept_for
        self.is_on_disk = folder is not None
        self.failures = 0
        self._file = None if folder is None else folder / FILE
        self._failure: str | None = None
        self._damage: str | None = None
        self._late: asyncio.Future[Any] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._engine = create_engine(
                URL.create("sqlite", database=None if folder is None else str(folder / FILE)),
                poolclass=StaticPool,
                connect_args={"check_same_thread": False, "timeout": _BUSY_S},
            )
            event.listen(self._engine, "connect", _set_journal_mode)
            self._find_damage()
            if self._damage is None:
                metadata.create_all(self._engine)
            # Also where nobody closes it.
            weakref.finalize(self, self._engine.dispose)
        except (OSError, SQLAlchemyError) as error:
            self._writer.shutdown()
            raise ConfigurationError(
                f"CHARGERS_STATE_DIR {folder}: {FILE} cannot be used: {_format_error(error)}"
            ) from error

    def load(self) -> PersistedState:
        """Read the state; called once, before anything is written.

        Of a damaged file only the operators' orders are read, as far as that is possible: its limits may be too low,
        and without them every EVSE counts with its rating.
        """
        if self._damage is None:
            try:
                with self._engine.begin() as connection:
                    # Older numbers are not asked for again.
                    newest = select(numbers.c.number).order_by(numbers.c.number.desc()).limit(_KEPT_NUMBERS)
                    connection.execute(delete(numbers).where(numbers.c.number.not_in(newest)))
                    return PersistedState(
                        _rows(connection, select(chargers)),
                        _rows(connection, select(limit_states)),
                        _newest_sessions(connection),
                        _rows(connection, select(numbers)),
                        _active_orders(connection),
                    )
            except SQLAlchemyError as error:
                self._note_damage(error)
                if self._damage is None:
                    raise ConfigurationError(
                        f"CHARGERS_STATE_DIR: {FILE} cannot be read: {_format_error(error)}"
                    ) from error
        try:
            with self._engine.connect() as connection:
                return PersistedState([], [], [], [], _active_orders(connection))
        except SQLAlchemyError:
            return PersistedState([], [], [], [], {})

    async def keep(self, changes: Changes) -> bool:
        """Write changes; they are on disk when this returns True.

        False: as far as is known nothing of them is, and `write_error` returns the reason.
        """
        try:
            await self.write(_write_changes, changes)
        except StoreError:
            return False
        return True

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute work in one transaction, which is on disk when this returns.

        Raises:
            StoreError: as far as is known nothing was written; `write_error` returns the reason.
        """
        if self._damage is not None or self._is_busy():
            self.failures += 1
            raise StoreError(self.write_error() or "the disk does not answer")
        writing = asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self.write_now(work, *args, **kwargs)
        )
        if not await self._is_in_time(writing):
            self._late = writing
            self._fail(f"the disk takes longer than {_LONGEST_WRITE_S:g} s")
            raise StoreError(self.write_error() or "the disk does not answer")
        return writing.result()

    def write_now(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same in this thread: at the start, before `write` is used.

        Raises:
            StoreError: nothing was written.
        """
        if self._damage is not None:
            raise StoreError(self._damage)
        try:
            with self._engine.begin() as connection:
                result = work(connection, *args, **kwargs)
        except Exception as error:
            self._note_damage(error)
            self._fail(_format_error(error))
            raise StoreError(_format_error(error)) from error
        if self._failure is not None:
            _logger.warning("state is kept again")
        self._failure = None
        return result

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute work that only reads; of a damaged file too, as far as that is possible.

        Raises:
            StoreError: it cannot be read now.
        """
        if self._is_busy():
            raise StoreError(self.write_error() or "the disk does not answer")
        reading = asyncio.get_running_loop().run_in_executor(self._writer, lambda: self.read_now(work, *args, **kwargs))
        if not await self._is_in_time(reading):
            self._late = reading
            raise StoreError(f"the disk takes longer than {_LONGEST_WRITE_S:g} s")
        return reading.result()

    def read_now(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same in this thread: at the start, before `read` is used.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                return work(connection, *args, **kwargs)
        except Exception as error:
            self._note_damage(error)
            _logger.exception("the state could not be read")
            raise StoreError(_format_error(error)) from error

    async def read_ended_since(self, since: datetime, limit: int) -> list[Row] | None:
        """Sessions that ended then or later, the first to end first, at most `limit`; None: they cannot be read now."""
        if self._damage is not None:
            return None
        try:
            return await self.read(_ended_since, since, limit)
        except StoreError:
            return None

    def prune(self, now: datetime) -> None:
        """Have the sessions deleted that ended longer ago than they are kept; returns at once."""
        if self._damage is None and not self._is_busy():
            self._writer.submit(self._delete_ended, utc_text(now - self._kept_for))

    def _delete_ended(self, before: str) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(sessions).where(sessions.c.ended_at < before))
        except Exception as error:
            self._note_damage(error)
            _logger.exception("ended sessions could not be deleted")

    async def check(self) -> None:
        """Look for damage that came about meanwhile; where the last write failed, find out whether writing works."""
        if self._damage is None and not self._is_busy():
            await self._is_in_time(asyncio.get_running_loop().run_in_executor(self._writer, self._find_damage))
        if self._failure is not None:
            with suppress(StoreError):
                await self.write(_try_to_write)

    def write_error(self) -> str | None:
        """Why changes cannot be written, and what to do about it; None: they can."""
        if self._damage is not None:
            return (
                f"{FILE} is damaged ({self._damage}): limits are only lowered, and orders end with this process; stop"
                f" the service, move {FILE}* out of CHARGERS_STATE_DIR or put back a copy, start it, and repeat the"
                " orders that are to last"
            )
        if self._failure is None and self._file is not None:
            with suppress(OSError):
                if shutil.disk_usage(self._file.parent).free < _MIN_FREE_BYTES:
                    return f"the disk of {self._file} is full"
        return self._failure

    def close(self) -> None:
        """Finish what is being written, and close."""
        self._writer.shutdown()
        self._engine.dispose()

    def _is_busy(self) -> bool:
        """Whether an earlier transaction took too long and still runs."""
        return self._late is not None and not self._late.done()

    def _fail(self, reason: str) -> None:
        self.failures += 1
        if self._failure is None:
            _logger.error("state cannot be kept; limits are only lowered until it can", extra={"reason": reason})
        self._failure = f"state cannot be kept: {reason}; limits are only lowered until it can"

    def _find_damage(self) -> None:
        """Have SQLite check the file, over a connection of its own, which has no pages in memory."""
        if self._file is None or not self._file.exists():
            return
        try:
            with closing(sqlite3.connect(self._file, timeout=_BUSY_S)) as connection:
                found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
        except sqlite3.Error as error:
            self._note_damage(error)
        else:
            if found != ["ok"]:
                self._set_damage(found[0].splitlines()[-1] if found else "quick_check returns nothing")

    def _note_damage(self, error: Exception) -> None:
        """Remember an error that means damage, which no later success undoes."""
        origin = getattr(error, "orig", error)
        # The lowest byte is the kind of the error.
        if isinstance(origin, sqlite3.Error) and getattr(origin, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            self._set_damage(_format_error(error))

    def _set_damage(self, reason: str) -> None:
        if self._damage is None:
            self._damage = reason
            _logger.error("the state is damaged, and no longer written", extra={"file": FILE, "reason": reason})

    async def _is_in_time(self, work: asyncio.Future[Any]) -> bool:
        await asyncio.wait({work}, timeout=_LONGEST_WRITE_S)
        if not work.done():
            work.add_done_callback(_retrieve_error)
        return work.done()


def _retrieve_error(work: asyncio.Future[Any]) -> None:
    # It is in the log; asyncio would report that nobody asked for it.
    if not work.cancelled():
        work.exception()


def _write_changes(connection: Connection, changes: Changes) -> None:
    _write(connection, chargers, changes.chargers)
    _write(connection, limit_states, changes.limit_states)
    _write(connection, sessions, changes.sessions)
    _write(connection, numbers, changes.numbers)
    for name, content in changes.active_orders.items():
        connection.execute(delete(active_orders).where(active_orders.c.name == name))
        if content is not None:
            connection.execute(insert(active_orders).values(name=name, content=content))


def _try_to_write(connection: Connection) -> None:
    # Writes the first page of the file, whatever the value was.
    connection.exec_driver_sql("PRAGMA user_version = 1")


def _write(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    found = [dict(row) for row in rows]
    if not found:
        return
    statement = insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), found)


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _active_orders(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["content"] for row in _rows(connection, select(active_orders))}


def _ended_since(connection: Connection, since: datetime, limit: int) -> list[Row]:
    ended = sessions.c.ended_at
    # Texts of one length sort as times: within the second the fractions are compared as times.
    second = utc_text(since.replace(microsecond=0)).removesuffix("Z")
    query = select(sessions).where(ended >= second).order_by(ended, sessions.c.session_id)
    rows = connection.execute(query).mappings()
    return list(islice((dict(row) for row in rows if datetime.fromisoformat(row["ended_at"]) >= since), limit))


def _newest_sessions(connection: Connection) -> list[Row]:
    """Sessions that ended last, in the order of their ends, then those that run."""
    ended = sessions.c.ended_at
    newest = select(sessions).where(ended.is_not(None)).order_by(ended.desc()).limit(_RESTORED_ENDED)
    running = select(sessions).where(ended.is_(None))
    return [*reversed(_rows(connection, newest)), *_rows(connection, running)]


def _set_journal_mode(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _format_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    origin: Callable[[], object] | BaseException | None = getattr(error, "orig", None)
    return str(origin or error).splitlines()[0]
