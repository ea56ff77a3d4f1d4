"""The ledger as the agent uses it: one writer with a thread of its own, so that no disk holds the event loop up."""

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from uuid import UUID

from charging_agent.calls import Call
from charging_agent.ledger.errors import LedgerDamaged, LedgerUnavailable, UnknownDecision, damaged
from charging_agent.ledger.keys import SigningKey, fresh_key, key_in
from charging_agent.ledger.records import Sealed
from charging_agent.ledger.sealing import Head, Made, Maker, seal
from ev_service.errors import ConfigurationError

if TYPE_CHECKING:
    from charging_agent.ledger.store import Store

_logger = logging.getLogger(__name__)

# A record of all the calls of a day without a disk would take seconds to write; the next ones hold the rest.
_MOST_CALLS_A_RECORD = 500
_MOST_CALLS_WAITING = 50_000
# A page of records from a slow disk; beyond it the reader is told.
_READ_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class Ledger:
    """Writes and reads records. One at a time in a folder.

    Args:
        folder: AGENT_STATE_DIR; None keeps the records and their key in memory.
        maker: what all records of this run say alike.
        on_head: told the chain's new head after each record.
    """

    def __init__(self, folder: Path | None, maker: Maker, on_head: Callable[[Head], None] = lambda _head: None) -> None:
        self._folder = folder
        self._maker = maker
        self._on_head = on_head
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._store: Store | None = None
        self._key: SigningKey | None = None
        self._head: Head | None = None
        self._calls: deque[Call] = deque(maxlen=_MOST_CALLS_WAITING)
        self._unsure: tuple[str, int] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether records outlive this process."""
        return self._folder is not None

    @property
    def has_calls(self) -> bool:
        """Whether calls wait for the next record."""
        return bool(self._calls)

    @property
    def key(self) -> SigningKey:
        """The key of this run; there once the ledger is open."""
        assert self._key is not None
        return self._key

    async def open(self) -> None:
        """Take the folder, bring the database to its newest form, find the chain's head.

        Where the disk is full, lost or can not be written, that is tried again with every record.

        Raises:
            ConfigurationError: another agent writes there, or the key or the database can not be used.
        """
        try:
            await self._in_thread(self._opened)
        except LedgerUnavailable as error:
            _logger.error("ledger not opened", extra={"reason": error.message})

    async def append(self, made: Made, calls: Iterable[Call]) -> Sealed:
        """Record a decision; when this returns, the record is on the disk.

        Calls that can not be written now stand in the next record.

        Raises:
            LedgerUnavailable: it could not be written.
        """
        sealed, head = await self._in_thread(self._append, made, tuple(calls))
        self._on_head(head)
        return sealed

    async def recent(self, limit: int, before: int | None = None) -> list[Sealed]:
        """The newest records of a smaller sequence number than `before`, newest first.

        Raises:
            LedgerUnavailable: the database can not be read.
        """
        return await self._read(lambda: self._usable().newest(limit, before))

    async def find(self, decision_id: UUID) -> Sealed:
        """The record of one decision.

        Raises:
            UnknownDecision: there is none.
            LedgerUnavailable: the database can not be read.
        """
        found = await self._read(lambda: self._usable().find(str(decision_id)))
        if found is None:
            raise UnknownDecision(f"no record holds a decision {decision_id}")
        return found

    async def close(self) -> None:
        """Finish what is being written and give the folder back."""
        try:
            if self._store is not None:
                await self._in_thread(self._store.close)
        finally:
            self._thread.shutdown(wait=False)

    async def _read(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_READ_S):
                return await self._in_thread(work)
        except TimeoutError as error:
            raise LedgerUnavailable("the ledger does not answer in time") from error

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    # From here on everything runs in the ledger's thread.

    def _opened(self) -> "Store":
        if self._store is None:
            self._open()
        assert self._store is not None
        return self._store

    def _usable(self) -> "Store":
        try:
            return self._opened()
        except ConfigurationError as error:
            # Found only now: the agent runs already, and says it like any other trouble.
            raise LedgerUnavailable(error.message) from error

    def _open(self) -> None:
        # Half of this module's time at import, and an agent that only writes its definition opens no database.
        from charging_agent.ledger.store import Store

        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise LedgerUnavailable(f"AGENT_STATE_DIR {self._folder}: {error.strerror}") from error
        store = Store.open(self._folder)
        try:
            # After the lock: two agents that start at once must not make two keys.
            self._key = fresh_key() if self._folder is None else key_in(self._folder)
            self._head = _head_of(store)
        except BaseException:
            store.close()
            raise
        self._store = store
        fields = {"place": store.place, "key_id": self.key.key_id, "sequence": self._head.sequence}
        if self._folder is None:
            _logger.warning("decisions are kept in memory only, AGENT_STATE_DIR is not set", extra=fields)
        else:
            _logger.info("ledger opened", extra=fields)

    def _append(self, made: Made, calls: tuple[Call, ...]) -> tuple[Sealed, Head]:
        self._calls.extend(calls)
        store, head = self._usable(), self._current_head()
        told = [self._calls[index] for index in range(min(len(self._calls), _MOST_CALLS_A_RECORD))]
        sealed = seal(made, told, head, self._maker, self.key)
        following = Head(head.sequence + 1, sealed.sha256)
        try:
            store.append(following.sequence, str(made.decision_id), sealed)
        except LedgerUnavailable:
            # It may be on the disk all the same: the next one looks.
            self._head, self._unsure = None, (sealed.sha256, len(told))
            raise
        self._written(following, len(told))
        return sealed, following

    def _current_head(self) -> Head:
        if self._head is not None:
            return self._head
        last = self._usable().last()
        head = Head() if last is None else Head(json.loads(last.record)["sequence"], last.sha256)
        if self._unsure is not None and self._unsure[0] == head.sha256:
            self._written(head, self._unsure[1])
        self._head, self._unsure = head, None
        return head

    def _written(self, head: Head, calls: int) -> None:
        for _ in range(calls):
            self._calls.popleft()
        self._head = head


def _head_of(store: "Store") -> Head:
    try:
        last = store.last()
    except LedgerDamaged as error:
        raise ConfigurationError(damaged(store.place, error.message)) from error
    if last is None:
        return Head()
    if hashlib.sha256(last.record.encode()).hexdigest() != last.sha256:
        raise ConfigurationError(damaged(store.place, "its last record does not match its hash"))
    return Head(json.loads(last.record)["sequence"], last.sha256)
