"""Keeps in SQLite what must survive a restart: sessions, limits, numbers of transactions, the operator's word.

Knows no chargers and no rules. One thread writes; whoever waits for it does not hold up the event loop, and no longer
than a disk may take. A file that was once found damaged is neither trusted nor written until somebody acts: the service
goes on without it, as with a full disk.
"""

import asyncio
import logging
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

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

from ev_service.errors import ConfigurationError
from ev_service.units import utc_text

metadata = MetaData()

limit_states = Table(
    "standings",
    metadata,
    Column("charger_id", String(48), primary_key=True),
    Column("evse_id", Integer, primary_key=True),
    # The most that the EVSE may draw per phase [A], whatever came after this was written; null: all it can.
    Column("ceiling_a", Float),
    Column("fallback_held_a", Float),
    Column("wanted", Text),
)

chargers = Table("chargers", metadata, Column("charger_id", String(48), primary_key=True), Column("content", Text))
"""What a charger says of itself, how it takes limits, and at which EVSEs a session was since nobody was there."""

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("charger_id", String(48), nullable=False),
    Column("evse_id", Integer, nullable=False),
    Column("transaction_id", String(64), nullable=False),
    Column("content", Text, nullable=False),
    # ISO 8601 in UTC; null: it runs.
    Column("ended_at", String(40), index=True),
)

numbers = Table(
    "transaction_numbers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("charger_id", String(48), nullable=False),
    Column("beginning", Text, nullable=False),
)

words = Table("operator_words", metadata, Column("name", String(32), primary_key=True), Column("content", Text))
"""What an operator ordered and is in force: the site's limit and the override."""


FILE = "chargers.sqlite"
_LONGEST_WRITE_S = 3.0
"""How long a write may take before it counts as failed [s, real time]."""
_BUSY_S = 2.0
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_KEPT_NUMBERS = 10_000
_RESTORED_ENDED = 10_000

_logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be kept, all of it or nothing: rows by the columns of their tables; a word of None is taken out."""

    chargers: Iterable[Row] = ()
    limit_states: Iterable[Row] = ()
    sessions: Iterable[Row] = ()
    numbers: Iterable[Row] = ()
    words: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True, slots=True)
class PersistedState:
    """What was kept, at the start of the process; sessions by their end, those that run last."""

    chargers: list[Row]
    limit_states: list[Row]
    sessions: list[Row]
    numbers: list[Row]
    words: dict[str, str]


class StateStore:
    """One database of one process.

    Args:
        folder: where it lies; None: in memory, and gone with the process.
        kept_for: how long sessions that are over are kept.

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
        self._late: asyncio.Future[bool] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._engine = create_engine(
                URL.create("sqlite", database=None if folder is None else str(folder / FILE)),
                poolclass=StaticPool,
                connect_args={"check_same_thread": False, "timeout": _BUSY_S},
            )
            event.listen(self._engine, "connect", _set_up)
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
        """Read everything; called once, before anything is written.

        Of a damaged file only the operator's word is read, as far as it can be: what it says of limits may be too
        little, and without it every EVSE counts in full.
        """
        if self._damage is None:
            try:
                with self._engine.begin() as connection:
                    _prune(connection)
                    return PersistedState(
                        _rows(connection, select(chargers)),
                        _rows(connection, select(limit_states)),
                        _newest_sessions(connection),
                        _rows(connection, select(numbers)),
                        _words(connection),
                    )
            except SQLAlchemyError as error:
                self._take_damage(error)
                if self._damage is None:
                    raise ConfigurationError(
                        f"CHARGERS_STATE_DIR: {FILE} cannot be read: {_format_error(error)}"
                    ) from error
        try:
            with self._engine.connect() as connection:
                return PersistedState([], [], [], [], _words(connection))
        except SQLAlchemyError:
            return PersistedState([], [], [], [], {})

    async def keep(self, changes: Changes) -> bool:
        """Write changes down; on disk when this returns True.

        False: nothing of them is, for all that is known by now, and `obstacle` says why.
        """
        if self._damage is not None or (self._late is not None and not self._late.done()):
            self.failures += 1
            return False
        writing = asyncio.get_running_loop().run_in_executor(self._writer, self._keep, changes)
        if not await self._is_in_time(writing):
            self._late = writing
            self._fail(f"the disk takes longer than {_LONGEST_WRITE_S:g} s")
            return False
        return writing.result()

    async def read_ended_since(self, since: datetime, limit: int) -> list[Row] | None:
        """Sessions that ended then or later, the first to end first, at most `limit`; None: they cannot be read now."""
        if self._damage is not None or (self._late is not None and not self._late.done()):
            return None
        reading = asyncio.get_running_loop().run_in_executor(self._writer, self._read_ended, since, limit)
        return reading.result() if await self._is_in_time(reading) else None

    def _read_ended(self, since: datetime, limit: int) -> list[Row] | None:
        ended = sessions.c.ended_at
        # Texts of one length sort as times: within the second the fractions are compared as times.
        second = utc_text(since.replace(microsecond=0)).removesuffix("Z")
        query = select(sessions).where(ended >= second).order_by(ended, sessions.c.session_id)
        try:
            with self._engine.begin() as connection:
                rows = connection.execute(query).mappings()
                late = (dict(row) for row in rows if datetime.fromisoformat(row["ended_at"]) >= since)
                return list(islice(late, limit))
        except Exception as error:
            self._take_damage(error)
            _logger.exception("sessions that are over could not be read")
            return None

    def prune(self, now: datetime) -> None:
        """Have the sessions forgotten that ended longer ago than they are kept; nothing waits for it."""
        if self._damage is None and (self._late is None or self._late.done()):
            self._writer.submit(self._forget, utc_text(now - self._kept_for))

    def _forget(self, before: str) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(sessions).where(sessions.c.ended_at < before))
        except Exception as error:
            self._take_damage(error)
            _logger.exception("sessions that are over could not be forgotten")

    async def check(self) -> None:
        """Look for damage of the file that came about meanwhile."""
        if self._damage is None and (self._late is None or self._late.done()):
            await self._is_in_time(asyncio.get_running_loop().run_in_executor(self._writer, self._find_damage))

    def write_error(self) -> str | None:
        """Why changes are not kept, and what to do about it; None: they are."""
        if self._damage is None:
            return self._failure
        return (
            f"{FILE} is damaged ({self._damage}): limits are only lowered, and orders end with this process; stop the"
            f" service, move {FILE}* out of CHARGERS_STATE_DIR or put back a copy, start it, and repeat the orders that"
            " are to last"
        )

    def close(self) -> None:
        """Finish what is being written, and close."""
        self._writer.shutdown()
        self._engine.dispose()

    def _keep(self, changes: Changes) -> bool:
        try:
            with self._engine.begin() as connection:
                _write(connection, chargers, changes.chargers)
                _write(connection, limit_states, changes.limit_states)
                _write(connection, sessions, changes.sessions)
                _write(connection, numbers, changes.numbers)
                for name, content in changes.words.items():
                    connection.execute(delete(words).where(words.c.name == name))
                    if content is not None:
                        connection.execute(insert(words).values(name=name, content=content))
        except Exception as error:
            self._take_damage(error)
            self._fail(_format_error(error))
            return False
        if self._failure is not None:
            _logger.warning("state is kept again")
        self._failure = None
        return True

    def _fail(self, why: str) -> None:
        self.failures += 1
        if self._failure is None:
            _logger.error("state cannot be kept; limits are only lowered until it can", extra={"reason": why})
        self._failure = f"state cannot be kept: {why}; limits are only lowered until it can"

    def _find_damage(self) -> None:
        """Have SQLite check the file, through a connection of its own, which has no pages in memory."""
        if self._file is None or not self._file.exists():
            return
        try:
            with closing(sqlite3.connect(self._file, timeout=_BUSY_S)) as connection:
                found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
        except sqlite3.Error as error:
            self._take_damage(error)
        else:
            if found != ["ok"]:
                self._set_damage(found[0].splitlines()[-1] if found else "quick_check says nothing")

    def _take_damage(self, error: Exception) -> None:
        """Whether an error tells of damage, which no later success undoes."""
        origin = getattr(error, "orig", error)
        # The lowest byte is the kind of the error.
        if isinstance(origin, sqlite3.Error) and getattr(origin, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            self._set_damage(_format_error(error))

    def _set_damage(self, what: str) -> None:
        if self._damage is None:
            self._damage = what
            _logger.error("the state is damaged, and kept no more", extra={"file": FILE, "reason": what})

    async def _is_in_time(self, work: asyncio.Future[Any]) -> bool:
        await asyncio.wait({work}, timeout=_LONGEST_WRITE_S)
        return work.done()


def _write(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    found = [dict(row) for row in rows]
    if not found:
        return
    statement = insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), found)


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _words(connection: Connection) -> dict[str, str]:
    return {row["name"]: row["content"] for row in _rows(connection, select(words))}


def _prune(connection: Connection) -> None:
    """Forget what is too old to be asked for again."""
    newest = select(numbers.c.number).order_by(numbers.c.number.desc()).limit(_KEPT_NUMBERS)
    connection.execute(delete(numbers).where(numbers.c.number.not_in(newest)))


def _newest_sessions(connection: Connection) -> list[Row]:
    """Those that ended last, by their end, and those that run."""
    ended = sessions.c.ended_at
    newest = select(sessions).where(ended.is_not(None)).order_by(ended.desc()).limit(_RESTORED_ENDED)
    running = select(sessions).where(ended.is_(None))
    return [*reversed(_rows(connection, newest)), *_rows(connection, running)]


def _set_up(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _format_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    origin: Callable[[], object] | BaseException | None = getattr(error, "orig", None)
    return str(origin or error).splitlines()[0]
