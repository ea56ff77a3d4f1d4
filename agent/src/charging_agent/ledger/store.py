"""The ledger's database: one table in SQLite, on disk or in memory; for one writer and one thread.

Knows rows; what stands in them is the business of others.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self, cast
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from charging_agent.ledger.errors import LedgerDamagedError, LedgerUnavailableError, describe_damage, is_damage
from charging_agent.ledger.ledger_reader import DATABASE_FILE as DATABASE_FILE
from charging_agent.ledger.records import SignedRecord
from ev_service.errors import ConfigurationError

METADATA = MetaData()

RECORDS = Table(
    "records",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("decision_id", String(36), nullable=False, unique=True),
    Column("record", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
    CheckConstraint("sequence > 0", name="sequence_is_positive"),
)
"""One row for each decision: the record as canonical JSON, its hash and the signature; the rest only finds it."""


_LOCK_FILE = "ledger.lock"
# Nobody else writes; this is for the moment in which a reader's last connection cleans up.
_BUSY_S = 1.0

_COLUMNS = (RECORDS.c.record, RECORDS.c.sha256, RECORDS.c.signature)
_INSERT = str(insert(RECORDS).compile(dialect=sqlite.dialect()))


class Store:
    """Rows of sealed records, for the writer; every method may wait for the disk.

    Args:
        folder: where the database stands; None keeps it in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock: sqlite3.Connection | None = None
        self._file = (
            f"file:ev-ledger-{uuid4()}?mode=memory&cache=shared" if folder is None else str(folder / DATABASE_FILE)
        )
        self._engine = _create_engine(self._file, is_in_memory=folder is None)
        self._connection: Connection | None = None

    @classmethod
    def open(cls, folder: Path | None) -> Self:
        """Take the folder for this writer alone and bring the table to its newest form.

        Raises:
            ConfigurationError: another agent writes there, or the database is of a newer agent.
            LedgerDamagedError: the database is damaged.
            LedgerUnavailableError: the disk is full, lost or cannot be written; that may pass.
        """
        store = cls(folder)
        try:
            if folder is not None:
                store._lock = _lock_folder(folder)
            store._migrate()
        except BaseException:
            store.close()
            raise
        return store

    @property
    def place(self) -> str:
        return "memory" if self._folder is None else str(self._folder / DATABASE_FILE)

    def read_last(self) -> SignedRecord | None:
        """The newest record.

        Raises:
            LedgerUnavailableError: the database cannot be read.
        """
        wanted = select(*_COLUMNS).order_by(RECORDS.c.sequence.desc()).limit(1)
        with self._transaction() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else SignedRecord(row.record, row.sha256, row.signature)

    def connect_reader(self) -> sqlite3.Connection:
        """A connection that only reads, for a thread of its own.

        Raises:
            sqlite3.Error: the database cannot be opened.
        """
        if self._folder is not None:
            uri = f"{(self._folder / DATABASE_FILE).resolve().as_uri()}?mode=ro"
            return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=False)
        connection = sqlite3.connect(self._file, uri=True, timeout=_BUSY_S, check_same_thread=False)
        # In memory all connections share one cache, whose locks would let readers and the writer refuse each other.
        connection.execute("PRAGMA read_uncommitted = ON")
        return connection

    def append(self, sequence: int, decision_id: str, sealed: SignedRecord) -> None:
        """Write one record; when this returns it is on the disk.

        Raises:
            LedgerUnavailableError: it could not be written, or nobody knows whether it was.
        """
        row = (sequence, decision_id, sealed.record, sealed.sha256, sealed.signature)
        with self._translate_errors():
            # Past SQLAlchemy, whose transaction costs as much as the insert: a single statement is its own.
            driver = cast(sqlite3.Connection, self._connect().connection.driver_connection)
            driver.execute(_INSERT, row)

    def close(self) -> None:
        """Give the database back; closing twice does no harm."""
        self._forget_connection()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @contextlib.contextmanager
    def _transaction(self) -> Generator[Connection]:
        with self._translate_errors():
            opened = self._connect()
            with opened.begin():
                yield opened

    @contextlib.contextmanager
    def _translate_errors(self) -> Generator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            # A connection that met a full or lost disk may keep its trouble: the next call opens a new one.
            if self._folder is not None:
                self._forget_connection()
            if _is_damage(error):
                raise LedgerDamagedError(describe_damage(self.place, _describe_error(error))) from error
            raise LedgerUnavailableError(f"{self.place}: {_describe_error(error)}") from error

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _forget_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None

    def _migrate(self) -> None:
        config = create_alembic_config()
        newest = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self._engine.connect() as connection:
                if MigrationContext.configure(connection).get_current_revision() == newest:
                    return
                connection.rollback()
                config.attributes["connection"] = connection
                with connection.begin():
                    command.upgrade(config, "head")
        except (CommandError, ResolutionError) as error:
            raise ConfigurationError(f"{self.place} is of a newer agent, or of none: {error}") from error
        except SQLAlchemyError as error:
            if _is_damage(error):
                raise LedgerDamagedError(describe_damage(self.place, _describe_error(error))) from error
            raise LedgerUnavailableError(f"{self.place}: {_describe_error(error)}") from error


def create_alembic_config() -> Config:
    """Alembic's configuration of this package; the caller adds the connection."""
    # It tells at INFO what it looks at; what it changed stands in the table.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _create_engine(file: str, *, is_in_memory: bool) -> Engine:
    url = URL.create("sqlite+pysqlite", database=file, query={"uri": "true"} if is_in_memory else {})
    # The ledger has a thread of its own, and opens and closes the store from others, one at a time.
    arguments = {"check_same_thread": False, "timeout": _BUSY_S}
    engine = create_engine(url, poolclass=StaticPool if is_in_memory else None, connect_args=arguments)

    def on_connect(connection: Any, _: object) -> None:
        # Transactions are ours, not the driver's: it begins none around the changes of a migration.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "trusted_schema = OFF", "cell_size_check = ON"):
            connection.execute(f"PRAGMA {pragma}")

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _lock_folder(folder: Path) -> sqlite3.Connection:
    """Hold SQLite's own lock on a file beside the database: it works on every system and dies with the process.

    The database itself stays unlocked, so that a live one can be verified.
    """
    file = folder / _LOCK_FILE
    lock: sqlite3.Connection | None = None
    try:
        lock = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if lock is not None:
            lock.close()
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise ConfigurationError(
                f"another agent keeps its ledger in {folder}; give this one an AGENT_STATE_DIR of its own"
            ) from error
        raise LedgerUnavailableError(f"AGENT_STATE_DIR {folder} cannot be written: {error}") from error
    return lock


def _is_damage(error: Exception) -> bool:
    # No record has a number or name twice: where the database says so, an index or a page is not what was written.
    cause = error.orig if isinstance(error, DBAPIError) else error
    return is_damage(cause) or isinstance(cause, sqlite3.IntegrityError)


def _describe_error(error: Exception) -> str:
    # Without the statement and its values, which SQLAlchemy adds.
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)
