"""The ledger as the agent uses it: one writer with a thread of its own, so that no disk holds the event loop up.

Readers have threads and connections of their own (`readers`): none of them waits in the writer's queue.
"""

import asyncio
import hashlib
import json
import logging
import math
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar
from uuid import UUID

from charging_agent.gateway.calls import Call
from charging_agent.ledger.errors import LedgerDamagedError, LedgerUnavailableError, describe_damage
from charging_agent.ledger.keys import SigningKey, generate_key, load_or_create_key
from charging_agent.ledger.ledger_reader import DATABASE_FILE
from charging_agent.ledger.readers import ReaderPool, RecordQueries, RecordSummary
from charging_agent.ledger.record_signing import ChainHead, DecisionDraft, RunMetadata, sign_record
from charging_agent.ledger.records import Entry, SignedRecord
from ev_service.errors import ConfigurationError
from ev_service.tasks import cancel_and_wait

if TYPE_CHECKING:
    from charging_agent.ledger.store import Store

_logger = logging.getLogger(__name__)

# A record of all the calls of a day without a disk would take seconds to write; the next ones hold the rest.
_MOST_CALLS_A_RECORD = 500
_MOST_CALLS_WAITING = 50_000
# Checking a large database on a slow disk must not keep the agent from recording; it goes on beside that.
_CHECK_S = 10.0

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _RecordWrite:
    """A record that was given to the disk, and how many of the waiting calls stand in it."""

    decision_id: UUID
    sealed: SignedRecord
    calls: int


class HeadListener(Protocol):
    """Receives every new head of the chain."""

    def update_head(self, head: ChainHead, key: SigningKey) -> None: ...


class Ledger:
    """Writes and reads records. One at a time in a folder.

    Args:
        folder: AGENT_STATE_DIR; None keeps the records and their key in memory.
        maker: what all records of this run say alike.
        listener: receives the chain's new head after each record.
    """

    def __init__(self, folder: Path | None, maker: RunMetadata, listener: HeadListener | None = None) -> None:
        self._folder = folder
        self._maker = maker
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._readers = ReaderPool("memory" if folder is None else str(folder / DATABASE_FILE), self._connect_reader)
        self._store: Store | None = None
        self._key: SigningKey | None = None
        self._head: ChainHead | None = None
        self._calls: deque[Call] = deque(maxlen=_MOST_CALLS_WAITING)
        self._last: _RecordWrite | None = None
        self._unconfirmed: _RecordWrite | None = None
        self._opening: asyncio.Task[None] | None = None
        self._damage: str | None = None
        self._is_closed = False

    @property
    def is_persistent(self) -> bool:
        """Whether records outlive this process."""
        return self._folder is not None

    @property
    def has_calls(self) -> bool:
        """Whether calls wait for the next record."""
        return bool(self._calls)

    @property
    def damage(self) -> str | None:
        """What is damaged and what to do about it; from then on nothing is written until the agent is started anew."""
        return self._damage

    @property
    def key(self) -> SigningKey:
        """The key of this run; there once the ledger is open."""
        assert self._key is not None
        return self._key

    async def open(self, within_s: float = math.inf) -> None:
        """Take the folder, bring the database to its newest form, find the chain's head, check the database.

        Where the disk is full, lost or cannot be written, that is tried again with every record. What takes longer
        than `within_s` goes on in the background.

        Args:
            within_s: so long it is waited for [s].

        Raises:
            ConfigurationError: another agent writes there, or the key or the database cannot be used.
        """
        self._opening = asyncio.create_task(self._open_and_check())
        done, _ = await asyncio.wait({self._opening}, timeout=None if within_s == math.inf else within_s)
        if not done:
            _logger.warning("ledger is still being opened", extra={"waited_s": within_s})
            self._opening.add_done_callback(self._record_damage_of)
            return
        try:
            self._opening.result()
        except LedgerDamagedError as error:
            raise ConfigurationError(error.message) from error

    async def append(self, made: DecisionDraft, calls: Iterable[Call]) -> SignedRecord:
        """Record a decision; when this returns, the record is on the disk.

        Calls that cannot be written now stand in the next record. A decision that was tried before and is on the disk
        after all is not written twice.

        Raises:
            LedgerUnavailableError: it could not be written.
        """
        try:
            sealed, head = await self._run_in_thread(self._append, made, tuple(calls))
        except LedgerDamagedError as error:
            self._record_damage(error)
            raise
        if self._listener is not None:
            self._listener.update_head(head, self.key)
        return sealed

    async def recent(self, limit: int, before: int | None = None) -> list[SignedRecord]:
        """The newest records of a smaller sequence number than `before`, newest first.

        Raises:
            LedgerUnavailableError: the database cannot be read, or too many are reading.
        """
        return await self._read(lambda records: records.newest(limit, before))

    async def summaries(self, limit: int, before: int | None = None) -> list[RecordSummary]:
        """The same in short.

        Raises:
            LedgerUnavailableError: the database cannot be read, or too many are reading.
        """
        return await self._read(lambda records: records.summaries(limit, before))

    async def find(self, decision_id: UUID) -> SignedRecord:
        """The record of one decision.

        Raises:
            UnknownDecisionError: there is none.
            LedgerUnavailableError: the database cannot be read, or too many are reading.
        """
        return await self._read(lambda records: records.find(decision_id))

    async def find_entry(self, decision_id: UUID) -> Entry:
        """The record of one decision as a model, which takes time to read where there are many cars.

        Raises:
            UnknownDecisionError: there is none.
            LedgerUnavailableError: the database cannot be read, or too many are reading.
        """
        return await self._read(lambda records: records.find(decision_id).entry)

    async def close(self) -> None:
        """Finish what is being written and give the folder back."""
        try:
            if self._opening is not None:
                await cancel_and_wait(self._opening)
            await self._readers.close()
            # Behind whatever the thread still does, an opening that nobody waited for included.
            await self._run_in_thread(self._close)
        finally:
            self._is_closed = True
            self._thread.shutdown(wait=False)

    async def _open_and_check(self) -> None:
        try:
            await self._run_in_thread(self._open_store)
        except LedgerDamagedError:
            raise
        except LedgerUnavailableError as error:
            _logger.error("ledger not opened", extra={"reason": error.message})
            return
        checking = asyncio.create_task(self._check())
        done, _ = await asyncio.wait({checking}, timeout=_CHECK_S)
        if done:
            checking.result()
        else:
            _logger.warning("ledger is still being checked", extra={"waited_s": _CHECK_S})
            checking.add_done_callback(self._record_damage_of)

    async def _check(self) -> None:
        """Check the whole database, beside the writer.

        Raises:
            LedgerDamagedError: it is damaged.
        """
        try:
            await self._readers.check()
        except LedgerDamagedError:
            raise
        except LedgerUnavailableError as error:
            _logger.error("ledger not checked", extra={"reason": error.message})

    async def _read(self, work: Callable[[RecordQueries], T]) -> T:
        try:
            return await self._readers.read(work)
        except LedgerDamagedError as error:
            self._record_damage(error)
            raise

    def _record_damage_of(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LedgerDamagedError):
            self._record_damage(error)

    def _record_damage(self, error: LedgerDamagedError) -> None:
        """Write nothing any more: power that comes and goes with the page that is met would be worse than none."""
        if self._damage is None:
            self._damage = error.message
            _logger.error("ledger damaged", extra={"reason": error.message})

    async def _run_in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._is_closed:
            raise LedgerUnavailableError("the ledger is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    # From here on everything runs in the ledger's thread.

    def _open_store(self) -> "Store":
        if self._store is None:
            self._create_store()
        assert self._store is not None
        return self._store

    def _require_store(self) -> "Store":
        if self._damage is not None:
            raise LedgerDamagedError(self._damage)
        try:
            return self._open_store()
        except ConfigurationError as error:
            # Found only now: the agent runs already, and says it like any other trouble.
            raise LedgerUnavailableError(error.message) from error

    def _create_store(self) -> None:
        # Half of this module's time at import, and an agent that only writes its definition opens no database.
        from charging_agent.ledger.store import Store

        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise LedgerUnavailableError(f"AGENT_STATE_DIR {self._folder}: {error.strerror}") from error
        store = Store.open(self._folder)
        try:
            # After the lock: two agents that start at once must not make two keys.
            self._key = generate_key() if self._folder is None else load_or_create_key(self._folder)
            self._head = _read_head(store)
        except BaseException:
            store.close()
            raise
        self._store = store
        fields = {"place": store.place, "key_id": self.key.key_id, "sequence": self._head.sequence}
        if self._folder is None:
            _logger.warning("decisions are kept in memory only, AGENT_STATE_DIR is not set", extra=fields)
        else:
            _logger.info("ledger opened", extra=fields)

    def _append(self, made: DecisionDraft, calls: tuple[Call, ...]) -> tuple[SignedRecord, ChainHead]:
        self._calls.extend(calls)
        store, head = self._require_store(), self._current_head()
        if self._last is not None and self._last.decision_id == made.decision_id:
            return self._last.sealed, head
        told = [self._calls[index] for index in range(min(len(self._calls), _MOST_CALLS_A_RECORD))]
        sealed = sign_record(made, told, head, self._maker, self.key)
        written = _RecordWrite(made.decision_id, sealed, len(told))
        try:
            store.append(head.sequence + 1, str(made.decision_id), sealed)
        except LedgerUnavailableError:
            # It may be on the disk all the same: the next one looks.
            self._head, self._unconfirmed = None, written
            raise
        return sealed, self._confirm_write(written, head.sequence + 1)

    def _current_head(self) -> ChainHead:
        if self._head is not None:
            return self._head
        head = _read_head(self._require_store())
        if self._unconfirmed is not None and self._unconfirmed.sealed.sha256 == head.sha256:
            head = self._confirm_write(self._unconfirmed, head.sequence)
        self._head, self._unconfirmed = head, None
        return head

    def _confirm_write(self, written: _RecordWrite, sequence: int) -> ChainHead:
        for _ in range(written.calls):
            self._calls.popleft()
        self._last, self._head = written, ChainHead(sequence, written.sealed.sha256)
        return self._head

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _connect_reader(self) -> sqlite3.Connection:
        if self._store is None:
            raise LedgerUnavailableError("the ledger is not open")
        return self._store.connect_reader()


def _read_head(store: "Store") -> ChainHead:
    last = store.read_last()
    if last is None:
        return ChainHead()
    if hashlib.sha256(last.record.encode()).hexdigest() != last.sha256:
        raise LedgerDamagedError(describe_damage(store.place, "its last record does not match its hash"))
    return ChainHead(json.loads(last.record)["sequence"], last.sha256)
