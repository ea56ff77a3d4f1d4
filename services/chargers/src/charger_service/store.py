"""Keeps in SQLite what must survive a restart: sessions, limits, numbers of transactions, the operator's word.

Knows no chargers and no rules. One thread writes; whoever waits for it does not hold up the event loop.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, create_engine, delete, event, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from charger_service.schema import metadata, numbers, sessions, standings, words
from ev_service.errors import ConfigurationError

FILE = "chargers.sqlite"
_KEPT_NUMBERS = 10_000
_KEPT_ENDED = 10_000

_logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be kept, all of it or nothing: rows by the columns of their tables; a word of None is taken out."""

    standings: Iterable[Row] = ()
    sessions: Iterable[Row] = ()
    numbers: Iterable[Row] = ()
    words: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept, at the start of the process; sessions by their end, those that run last."""

    standings: list[Row]
    sessions: list[Row]
    numbers: list[Row]
    words: dict[str, str]


class Store:
    """One database of one process.

    Args:
        folder: where it lies; None: in memory, and gone with the process.

    Raises:
        ConfigurationError: it can not be opened.
    """

    def __init__(self, folder: Path | None) -> None:
        self.is_on_disk = folder is not None
        self.failures = 0
        self._failure: str | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._engine = create_engine(
                URL.create("sqlite", database=None if folder is None else str(folder / FILE)),
                poolclass=StaticPool,
                connect_args={"check_same_thread": False, "timeout": 2},
            )
            event.listen(self._engine, "connect", _set_up)
            metadata.create_all(self._engine)
            # Also where nobody closes it.
            weakref.finalize(self, self._engine.dispose)
        except (OSError, SQLAlchemyError) as error:
            self._writer.shutdown()
            raise ConfigurationError(f"CHARGERS_STATE_DIR {folder}: {FILE} can not be used: {_said(error)}") from error

    def load(self) -> Kept:
        """Read everything; called once, before anything is written."""
        with self._engine.begin() as connection:
            _prune(connection)
            return Kept(
                _rows(connection, select(standings)),
                _rows(connection, select(sessions).order_by(sessions.c.ended_at.nulls_last())),
                _rows(connection, select(numbers)),
                {row["name"]: row["content"] for row in _rows(connection, select(words))},
            )

    async def keep(self, changes: Changes) -> bool:
        """Write changes down; on disk when this returns True. False: nothing of them is, and `obstacle` says why."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._keep, changes)

    def obstacle(self) -> str | None:
        """Why the last changes were not kept; None: they were."""
        return self._failure

    def close(self) -> None:
        """Finish what is being written, and close."""
        self._writer.shutdown()
        self._engine.dispose()

    def _keep(self, changes: Changes) -> bool:
        try:
            with self._engine.begin() as connection:
                _write(connection, standings, changes.standings)
                _write(connection, sessions, changes.sessions)
                _write(connection, numbers, changes.numbers)
                for name, content in changes.words.items():
                    connection.execute(delete(words).where(words.c.name == name))
                    if content is not None:
                        connection.execute(insert(words).values(name=name, content=content))
        except SQLAlchemyError as error:
            self.failures += 1
            if self._failure is None:
                _logger.exception("state can not be kept; limits are only lowered until it can")
            self._failure = f"state can not be kept: {_said(error)}; limits are only lowered until it can"
            return False
        if self._failure is not None:
            _logger.warning("state is kept again")
        self._failure = None
        return True


def _write(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    found = [dict(row) for row in rows]
    if not found:
        return
    statement = insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), found)


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _prune(connection: Connection) -> None:
    """Forget what is too old to be asked for again."""
    newest = select(numbers.c.number).order_by(numbers.c.number.desc()).limit(_KEPT_NUMBERS)
    connection.execute(delete(numbers).where(numbers.c.number.not_in(newest)))
    ended = sessions.c.ended_at
    last = select(ended).where(ended.is_not(None)).order_by(ended.desc()).limit(_KEPT_ENDED)
    connection.execute(delete(sessions).where(ended.is_not(None), ended.not_in(last)))


def _set_up(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    origin: Callable[[], object] | BaseException | None = getattr(error, "orig", None)
    return str(origin or error).splitlines()[0]
