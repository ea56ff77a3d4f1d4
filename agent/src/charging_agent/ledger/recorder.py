"""One record for all who ask while nothing changed, and no decision acknowledged before its record is kept.

The calls that were made meanwhile stand in the next record, at the latest in that of the agent's own next round. What
the loop sent without a record stands in late ones, which go ahead of every other as soon as the ledger takes records.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from charging_agent.gateway.calls import Call, CallLog
from charging_agent.ledger.errors import LedgerDamagedError, LedgerUnavailableError
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.record_signing import DecisionDraft
from charging_agent.ledger.records import SignedRecord
from charging_agent.readings.assessment import AssessedReading, Status
from charging_agent.readings.observer import Observation
from ev_service.tasks import cancel_and_wait

_logger = logging.getLogger(__name__)

WRITE_S = 1.5
"""A record that takes longer [s] is not waited for: an observation of 6 s and this end within the 8 s of an answer."""

_MAX_LATE = 200
"""Late records that wait. A stop waits once however often it is sent, so that only stopping and starting fills this."""

_TOO_SLOW = f"the ledger did not take a record within {WRITE_S:g} s"


@dataclass(frozen=True, slots=True)
class _PendingRecord:
    """The record of one unchanged observation, written or being written."""

    key: object
    made: DecisionDraft
    task: asyncio.Task[SignedRecord]

    @property
    def is_done(self) -> bool:
        return self.task.done()


@dataclass(frozen=True, slots=True)
class _LateDecision:
    """A decision that was acted upon before its record, and what is called once that is written."""

    made: DecisionDraft
    on_recorded: Callable[[], None]

    @property
    def is_stop(self) -> bool:
        return self.made.late is not None and self.made.late.is_stop


class Recorder:
    """Gives each decision its record.

    Args:
        ledger: where records go.
        calls: the calls since they were last taken.
        on_recorded: told once for each record.
        on_failed: told once for each record that could not be written.
    """

    def __init__(
        self,
        ledger: Ledger,
        calls: CallLog,
        on_recorded: Callable[[], None] = lambda: None,
        on_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._log = calls
        self._on_recorded = on_recorded
        self._on_failed = on_failed
        self._latest: _PendingRecord | None = None
        self._waiting: list[Call] = []
        self._error: str | None = None
        self._hanging: _PendingRecord | None = None
        self._late: deque[_LateDecision] = deque()
        self._order = asyncio.Lock()
        self._catching_up: asyncio.Task[None] | None = None

    @property
    def health_error(self) -> str | None:
        """Why decisions cannot be recorded; None while they can."""
        return self._ledger.damage or self._error

    async def record(self, made: DecisionDraft, *, tells_calls: bool = False) -> DecisionDraft:
        """The decision as it stands in the ledger: this one, or the earlier one from the same unchanged observation.

        Args:
            made: the decision.
            tells_calls: whether calls that wait are worth a record of their own.

        Raises:
            LedgerUnavailableError: it could not be recorded, so it must not be acted upon.
        """
        self._waiting += self._log.take()
        if self._ledger.damage is not None:
            # Also what was recorded before counts no more: it would be granted in turns with the fail-safe.
            raise LedgerDamagedError(self._ledger.damage)
        if self._hanging is not None:
            # A queue behind a write that hangs would only make the disk's recovery longer.
            raise LedgerUnavailableError(_TOO_SLOW)
        flight, key = self._latest, _build_observation_key(made.observation)
        is_owed = tells_calls and flight is not None and flight.is_done and self._has_calls
        # A plan is carried out, so it stands in a record of its own whatever the readings are.
        is_plan = made.charging is not None and made.charging.plan is not None
        if flight is None or flight.key != key or is_owed or is_plan:
            flight = self._start(made, key)
        await self._wait_for_write(flight)
        return flight.made

    def record_late(self, made: DecisionDraft, on_recorded: Callable[[], None]) -> UUID:
        """Have a decision recorded as soon as the ledger takes it: the agent acts upon it now.

        Args:
            made: the decision, with what is sent of it.
            on_recorded: told once it is in the ledger.

        Returns:
            The name under which it will stand there: of the stop that waits already, where this is one too.
        """
        late = _LateDecision(made, on_recorded)
        if self._late and self._late[-1].is_stop and late.is_stop:
            return self._late[-1].made.decision_id
        if len(self._late) == _MAX_LATE:
            # The first is perhaps being written.
            lost = self._late[1]
            del self._late[1]
            _logger.error("late record given up", extra={"decision_id": str(lost.made.decision_id)})
        self._late.append(late)
        return made.decision_id

    async def stop(self, made: Callable[[], DecisionDraft]) -> None:
        """Put the calls that wait into a last record, behind the late ones."""
        self._waiting += self._log.take()
        if self._hanging is not None:
            await asyncio.wait({self._hanging.task}, timeout=WRITE_S)
        if self._has_calls or self._late:
            try:
                await self.record(made(), tells_calls=True)
            except LedgerUnavailableError:
                _logger.exception("last calls not recorded", extra={"late_records": len(self._late)})
        if self._catching_up is not None:
            await cancel_and_wait(self._catching_up)

    @property
    def _has_calls(self) -> bool:
        return bool(self._waiting) or self._ledger.has_calls

    def _start(self, made: DecisionDraft, key: object) -> _PendingRecord:
        calls, self._waiting = self._waiting, []
        task = asyncio.ensure_future(self._append(made, calls))
        flight = self._latest = _PendingRecord(key, made, task)
        task.add_done_callback(lambda _: self._finish(flight))
        return flight

    async def _append(self, made: DecisionDraft, calls: Sequence[Call]) -> SignedRecord:
        async with self._order:
            if self._late:
                await self._append_late(calls)
                calls = ()
            return await self._ledger.append(made, calls)

    async def _append_late(self, calls: Sequence[Call] = ()) -> None:
        while self._late:
            late = self._late[0]
            fields = {"decision_id": str(late.made.decision_id)}
            try:
                await self._ledger.append(late.made, calls)
            except LedgerUnavailableError:
                raise
            except Exception:
                # One that cannot be made must not stand in the way of all others.
                _logger.exception("late record not made", extra=fields)
            else:
                self._on_recorded()
                late.on_recorded()
                _logger.warning("decision recorded late", extra=fields)
            self._late.popleft()
            calls = ()

    async def _catch_up(self) -> None:
        try:
            async with self._order:
                await self._append_late()
        except LedgerUnavailableError as error:
            self._report_failure(error.message)

    async def _wait_for_write(self, flight: _PendingRecord) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                # Shielded: others may be waiting for the same record.
                await asyncio.shield(flight.task)
        except TimeoutError as error:
            if self._hanging is None:
                self._hanging = flight
                self._report_failure(_TOO_SLOW)
            raise LedgerUnavailableError(_TOO_SLOW) from error
        except LedgerUnavailableError:
            raise
        except Exception as error:
            raise LedgerUnavailableError("the record could not be made") from error

    def _finish(self, flight: _PendingRecord) -> None:
        if self._hanging is flight:
            self._hanging = None
        if flight.task.cancelled():
            return
        error = flight.task.exception()
        if error is None:
            self._error = None
            self._on_recorded()
            if self._late and (self._catching_up is None or self._catching_up.done()):
                self._catching_up = asyncio.ensure_future(self._catch_up())
            return
        if self._latest is flight:
            self._latest = None
        self._report_failure(
            error.message if isinstance(error, LedgerUnavailableError) else f"the record could not be made: {error!r}"
        )

    def _report_failure(self, trouble: str) -> None:
        self._error = trouble
        self._on_failed()
        _logger.error("decision not recorded", extra={"reason": trouble})


def _build_observation_key(observation: Observation) -> object:
    """What two observations have in common when nothing changed between them.

    The same readings held, the same troubles, the same use: fresh becoming cached is no change, and neither is age.
    """
    readings = tuple(_build_reading_key(one, observation.at) for one in observation.readings.values())
    return readings, None if observation.prices is None else observation.prices.timestamp


def _build_reading_key(
    judged: AssessedReading[Any], at: datetime
) -> tuple[Status, object, BaseModel | datetime | None]:
    use = Status.FRESH if judged.status is Status.CACHED else judged.status
    if judged.reading is not None or judged.age_s is None:
        return use, judged.error, judged.reading
    # Held, but too old to be handed on: its own timestamp tells it from another.
    return use, judged.error, at - timedelta(seconds=judged.age_s)
