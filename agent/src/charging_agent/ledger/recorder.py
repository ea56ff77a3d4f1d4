"""One record for all who ask while nothing changed, and no decision acknowledged before its record is kept.

The calls that were made meanwhile stand in the next record, at the latest in that of the agent's own next round.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from charging_agent.calls import Call, CallLog
from charging_agent.ledger.errors import LedgerUnavailable
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.records import Sealed
from charging_agent.ledger.sealing import Made
from charging_agent.observer import Observation
from charging_agent.readings import Judged, Status

_logger = logging.getLogger(__name__)

WRITE_S = 1.5
"""A record that takes longer [s] is not waited for: an observation of 6 s and this end within the 8 s of an answer."""

_TOO_SLOW = f"the ledger did not take a record within {WRITE_S:g} s"


@dataclass(frozen=True, slots=True)
class _Flight:
    """The record of one unchanged observation, written or being written."""

    key: object
    made: Made
    task: asyncio.Task[Sealed]

    @property
    def is_written(self) -> bool:
        return self.task.done()


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
        self._latest: _Flight | None = None
        self._waiting: list[Call] = []
        self._trouble: str | None = None
        self._hanging: _Flight | None = None

    @property
    def trouble(self) -> str | None:
        """Why the last decision could not be recorded; None while decisions can be."""
        return self._trouble

    async def recorded(self, made: Made, *, tells_calls: bool = False) -> Made:
        """The decision as it stands in the ledger: this one, or the earlier one from the same unchanged observation.

        Args:
            made: the decision.
            tells_calls: whether calls that wait are worth a record of their own.

        Raises:
            LedgerUnavailable: it could not be recorded, so it must not be acted upon.
        """
        self._waiting += self._log.take()
        if self._hanging is not None:
            # A queue behind a write that hangs would only make the disk's recovery longer.
            raise LedgerUnavailable(_TOO_SLOW)
        flight, key = self._latest, _unchanged_key(made.observation)
        is_owed = tells_calls and flight is not None and flight.is_written and self._has_calls
        # A plan is carried out, so it stands in a record of its own whatever the readings are.
        is_plan = made.charging is not None and made.charging.plan is not None
        if flight is None or flight.key != key or is_owed or is_plan:
            flight = self._start(made, key)
        await self._written(flight)
        return flight.made

    async def stop(self, made: Callable[[], Made]) -> None:
        """Put the calls that wait into a last record."""
        self._waiting += self._log.take()
        if self._has_calls:
            try:
                await self.recorded(made(), tells_calls=True)
            except LedgerUnavailable:
                _logger.exception("last calls not recorded")

    @property
    def _has_calls(self) -> bool:
        return bool(self._waiting) or self._ledger.has_calls

    def _start(self, made: Made, key: object) -> _Flight:
        calls, self._waiting = self._waiting, []
        task = asyncio.ensure_future(self._ledger.append(made, calls))
        flight = self._latest = _Flight(key, made, task)
        task.add_done_callback(lambda _: self._ended(flight))
        return flight

    async def _written(self, flight: _Flight) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                # Shielded: others may be waiting for the same record.
                await asyncio.shield(flight.task)
        except TimeoutError as error:
            if self._hanging is None:
                self._hanging = flight
                self._fail(_TOO_SLOW)
            raise LedgerUnavailable(_TOO_SLOW) from error
        except LedgerUnavailable:
            raise
        except Exception as error:
            raise LedgerUnavailable("the record could not be made") from error

    def _ended(self, flight: _Flight) -> None:
        if self._hanging is flight:
            self._hanging = None
        if flight.task.cancelled():
            return
        error = flight.task.exception()
        if error is None:
            self._trouble = None
            self._on_recorded()
            return
        if self._latest is flight:
            self._latest = None
        self._fail(
            error.message if isinstance(error, LedgerUnavailable) else f"the record could not be made: {error!r}"
        )

    def _fail(self, trouble: str) -> None:
        self._trouble = trouble
        self._on_failed()
        _logger.error("decision not recorded", extra={"reason": trouble})


def _unchanged_key(observation: Observation) -> object:
    """What two observations have in common when nothing changed between them.

    The same readings held, the same troubles, the same use: fresh becoming cached is no change, and neither is age.
    """
    judged = (observation.solar, observation.battery, observation.grid)
    return tuple(_held(one, observation.at) for one in judged)


def _held(judged: Judged[Any], at: datetime) -> tuple[Status, object, BaseModel | datetime | None]:
    use = Status.FRESH if judged.status is Status.CACHED else judged.status
    if judged.reading is not None or judged.age_s is None:
        return use, judged.error, judged.reading
    # Held, but too old to be handed on: its own timestamp tells it from another.
    return use, judged.error, at - timedelta(seconds=judged.age_s)
