"""Reads records beside the writer: with connections and threads of their own, a few at a time, the rest told to wait.

A reader can neither wait in the writer's queue nor take the processor from the agent's own rounds: what a list of
decisions shows is taken out of the records by SQLite, outside of Python's lock.
"""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from charging_agent.ledger.errors import (
    LedgerBusyError,
    LedgerDamagedError,
    LedgerUnavailableError,
    UnknownDecisionError,
    describe_damage,
    is_damage,
)
from charging_agent.ledger.records import SignedRecord

MAX_READING = 2
"""Readers that read at the same time."""
MAX_WAITING = 8
"""Readers that wait for their turn; whoever comes then is refused."""

# A page of records from a slow disk, the wait for a turn included; beyond it the reader is told.
_READ_S = 5.0
# An interrupted reader ends within this time [s], unless its disk hangs.
_CLOSE_S = 2.0
# A number beyond SQLite's own is beyond every record.
_GREATEST_SEQUENCE = 2**63 - 1

_NEWEST = "SELECT record, sha256, signature FROM records WHERE sequence < ? ORDER BY sequence DESC LIMIT ?"
_FIND = "SELECT record, sha256, signature FROM records WHERE decision_id = ?"
_SUMMARIES = """SELECT sequence, json_extract(record, '$.decision_id', '$.decided_at', '$.action',
'$.charging_power_kw', '$.rule', '$.reason'),
EXISTS (SELECT 1 FROM json_each(record, '$.inputs') AS input WHERE json_extract(input.value, '$.error') IS NOT NULL)
FROM records WHERE sequence < ? ORDER BY sequence DESC LIMIT ?"""
_CHECK = "PRAGMA integrity_check(1)"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """Summary of one record, from its own text."""

    sequence: int
    decision_id: str
    decided_at: str
    """Time of the decision, ISO 8601, UTC."""
    action: str
    charging_power_kw: float
    """Ceiling of the decision [kW]."""
    rule: str
    reason: str
    is_degraded: bool
    """Whether a reading was stale or missing."""


class RecordQueries:
    """The records, for one reader in its own thread.

    Args:
        connection: reads only.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def newest(self, limit: int, before: int | None) -> list[SignedRecord]:
        """At most `limit` records, newest first, all of a smaller sequence than `before`."""
        return [SignedRecord(*row) for row in self._connection.execute(_NEWEST, (_below(before), limit)).fetchall()]

    def summaries(self, limit: int, before: int | None) -> list[RecordSummary]:
        """The same in short."""
        rows = self._connection.execute(_SUMMARIES, (_below(before), limit)).fetchall()
        return [
            RecordSummary(number, *json.loads(found), is_degraded=bool(is_degraded))
            for number, found, is_degraded in rows
        ]

    def find(self, decision_id: UUID) -> SignedRecord:
        """The record of one decision.

        Raises:
            UnknownDecisionError: there is none.
        """
        row = self._connection.execute(_FIND, (str(decision_id),)).fetchone()
        if row is None:
            raise UnknownDecisionError(f"no record holds a decision {decision_id}")
        return SignedRecord(*row)

    def find_damage(self) -> str | None:
        """What SQLite finds wrong with pages, tables and indexes; None when nothing is."""
        found = str(self._connection.execute(_CHECK).fetchone()[0])
        return None if found == "ok" else " ".join(found.removeprefix("*** in database main ***").split())


class ReaderPool:
    """Whoever reads the ledger.

    Args:
        place: the database, for messages.
        connect: opens a connection that only reads, for a thread of readers.
    """

    def __init__(self, place: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._place = place
        self._connect = connect
        # One more than may read at once, for the check of the whole database.
        self._threads = ThreadPoolExecutor(MAX_READING + 1, "ledger-reader")
        self._turns = asyncio.Semaphore(MAX_READING)
        self._waiting = 0
        self._own = threading.local()
        self._open: set[sqlite3.Connection] = set()
        self._running: set[Future[Any]] = set()

    async def read(self, work: Callable[[RecordQueries], T]) -> T:
        """Let a reader work.

        Raises:
            LedgerBusyError: as many as may wait are waiting.
            LedgerUnavailableError: the database cannot be read, or not in time.
        """
        try:
            async with asyncio.timeout(_READ_S), self._turn():
                return await self._in_thread(work)
        except TimeoutError as error:
            raise LedgerUnavailableError("the ledger does not answer in time") from error

    async def check(self) -> None:
        """Have SQLite check the whole database.

        Raises:
            LedgerDamagedError: it is damaged.
            LedgerUnavailableError: it could not be checked.
        """
        found = await self._in_thread(RecordQueries.find_damage)
        if found is not None:
            raise LedgerDamagedError(describe_damage(self._place, found))

    async def close(self) -> None:
        """End what reads, and close what was opened."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in tuple(self._open):
            # One that its own thread has closed meanwhile needs no interruption.
            with contextlib.suppress(sqlite3.ProgrammingError):
                connection.interrupt()
        # A connection must not be closed under a thread that uses it, also where nobody waits for that thread any more.
        if (await asyncio.to_thread(wait, tuple(self._running), _CLOSE_S)).not_done:
            return
        for connection in tuple(self._open):
            connection.close()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        if self._waiting >= MAX_WAITING:
            raise LedgerBusyError("too many are reading the ledger; try again in a second")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _in_thread(self, work: Callable[[RecordQueries], T]) -> T:
        running = self._threads.submit(self._run, work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(running)

    # From here on everything runs in a reader's thread.

    def _run(self, work: Callable[[RecordQueries], T]) -> T:
        with self._errors():
            return work(RecordQueries(self._connection()))

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connect()
            self._open.add(connection)
        return connection

    def _forget_connection(self) -> None:
        # One that met a lost disk may keep its trouble.
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is not None:
            self._own.connection = None
            self._open.discard(connection)
            connection.close()

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._forget_connection()
            if is_damage(error):
                raise LedgerDamagedError(describe_damage(self._place, str(error))) from error
            raise LedgerUnavailableError(f"{self._place}: {error}") from error


def _below(before: int | None) -> int:
    return _GREATEST_SEQUENCE if before is None else min(before, _GREATEST_SEQUENCE)
