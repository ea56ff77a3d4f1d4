"""The database of kept readings: SQLite or PostgreSQL, brought to its newest schema at the first use.

It is opened when it is first needed and again after an error, so that a service starts and reads without it.
"""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ev_service.errors import EvError
from ev_service.history.settings import HistorySettings
from ev_service.settings import is_loopback, secret_from

_BUSY_S = 2.0
_CONNECT_S = 3
_STATEMENT_S = 10
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Services that share a database migrate it one after the other; the number only has to differ from others' locks.
_MIGRATION_LOCK = 7_164_301

Insert = sqlite.Insert | postgresql.Insert


class HistoryUnavailableError(EvError):
    """The database of kept readings cannot be read or written now."""

    code: ClassVar[str] = "history_unavailable"
    http_status: ClassVar[int] = 503


class HistoryDatabase:
    """Connections to one database; usable from several threads.

    Args:
        url: of SQLite or PostgreSQL.
        place: what messages call it; without a password.
    """

    def __init__(self, url: URL, place: str) -> None:
        self.place = place
        self._file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._engine = _create_engine(url)
        self._is_current = False

    @contextmanager
    def transaction(self, *, is_write: bool = False) -> Generator[Connection]:
        """Give a connection for one transaction.

        Raises:
            HistoryUnavailableError: it cannot be opened, read or written; nothing was written.
        """
        try:
            if not self._is_current:
                self._migrate()
            # In SQLite a transaction that reads first and writes then may be refused its write.
            with self._engine.connect().execution_options(ev_is_write=is_write) as connection, connection.begin():
                yield connection
        except (OSError, SQLAlchemyError) as error:
            self._is_current = False
            raise HistoryUnavailableError(f"{self.place}: {_describe_error(error)}") from error

    def insert(self, table: Table) -> Insert:
        """Make an INSERT that may have ON CONFLICT, in the database's dialect."""
        return sqlite.insert(table) if self._file is not None else postgresql.insert(table)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        # Alembic takes a tenth of a second to import, and is not needed again.
        from ev_service.history.migration import is_current, migrate

        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._engine.connect() as connection:
            self._is_current = is_current(connection)
        if self._is_current:
            return
        with self._engine.connect().execution_options(ev_is_write=True) as connection, connection.begin():
            if self._file is None:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            # Another process may have been faster.
            if not is_current(connection) and (reason := migrate(connection)):
                raise HistoryUnavailableError(f"{self.place}: {reason}")
        self._is_current = True


def open_database(settings: HistorySettings, service: str) -> HistoryDatabase | None:
    """Make the database that the settings name; nothing is opened yet.

    Args:
        settings: `HISTORY_…`.
        service: names the SQLite file.

    Returns:
        The database, or None if the settings name none.

    Raises:
        ConfigurationError: the file of the password cannot be read.
    """
    if settings.database_url is not None:
        password = secret_from(settings.database_password, settings.database_password_file, "HISTORY_DATABASE_PASSWORD")
        url = _postgresql_url(settings.database_url)
        if password is not None:
            url = url.set(password=password.get_secret_value())
        return HistoryDatabase(url, f"database {url.database} on {url.host}")
    if settings.dir is not None:
        file = settings.dir / f"{service}-history.sqlite"
        return HistoryDatabase(URL.create("sqlite+pysqlite", database=str(file)), str(file))
    return None


def _postgresql_url(text_: str) -> URL:
    url = make_url(text_).set(drivername="postgresql+psycopg")
    if "sslmode" not in url.query and not is_loopback(url.host or ""):
        # libpq's own default would go on without TLS where the server, or somebody in between, offers none.
        root = {} if "sslrootcert" in url.query else {"sslrootcert": "system"}
        url = url.update_query_dict({"sslmode": "verify-full", **root})
    return url


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        arguments: dict[str, Any] = {
            "connect_timeout": _CONNECT_S,
            "options": f"-c statement_timeout={_STATEMENT_S * 1000}",
            "application_name": "ev-history",
            # A server that is gone without a word: Linux alone has the option, others ignore it.
            "tcp_user_timeout": _STATEMENT_S * 1000,
        }
        return create_engine(url, connect_args=arguments, pool_size=2, pool_pre_ping=True)
    # A connection for each transaction: a file that somebody moves away or puts back is noticed at the next one.
    engine = create_engine(url, poolclass=NullPool, connect_args={"check_same_thread": False, "timeout": _BUSY_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Transactions are ours, not the driver's: it begins none around the changes of a migration.
    connection.isolation_level = None
    with suppress(sqlite3.OperationalError):
        # Of several who begin with a new file one sets the mode, which stays with the file; the others need not.
        connection.execute("PRAGMA journal_mode = WAL")
    # A loss of power takes a reading of a minute or two: waiting for the disk at each would wear it.
    for pragma in ("synchronous = NORMAL", "foreign_keys = ON", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("ev_is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _describe_error(error: Exception) -> str:
    # Without the statement and its values, which SQLAlchemy adds.
    origin = error.orig if isinstance(error, DBAPIError) else error
    reason = str(origin).strip().splitlines()[0] if str(origin).strip() else type(origin).__name__
    if isinstance(origin, sqlite3.Error) and getattr(origin, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
        return f"{reason}; move the file away or put back a copy"
    return reason
