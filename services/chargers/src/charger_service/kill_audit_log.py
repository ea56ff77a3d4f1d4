"""The record of operators' acts: what was done, who proved to have done it, and in which order.

Knows nothing of HTTP. A line that can not be read is passed over and counted, and keeps its number.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import ValidationError

from charger_service.append_only_log import AppendOnlyLog, newest
from charger_service.kill_audit import Act, Acts, AuthenticatedCaller, RecordedAct
from ev_service.errors import EvError

_logger = logging.getLogger(__name__)


class RecordNotWrittenError(EvError):
    """The act could not be written down, and is not in the record."""

    code: ClassVar[str] = "record_not_kept"
    http_status: ClassVar[int] = 507


class KillAuditLog:
    """Every act, in the order of recording; safe to use from several threads.

    Args:
        lines: where acts are kept, one a line.
        now: the run's clock.
    """

    def __init__(self, lines: AppendOnlyLog, now: Callable[[], datetime]) -> None:
        self._lines = lines
        self._now = now
        self._lock = threading.Lock()
        self._numbers: dict[UUID, int] = {}
        self._damaged = 0
        for number in range(1, lines.count() + 1):
            recorded = self._read(number)
            if recorded is None:
                self._damaged += 1
            else:
                self._numbers[recorded.act_id] = number
        if not lines.is_on_disk:
            _logger.warning("the record of kills is gone with this process: CHARGERS_STATE_DIR is not set")
        if self._damaged:
            _logger.warning("lines of the record can not be read", extra={"lines": self._damaged})

    def add(self, act: Act, proved: AuthenticatedCaller | None) -> tuple[RecordedAct, bool]:
        """Write an act down.

        Returns:
            The act as it is kept, and whether it is new: the same act is recorded once.

        Raises:
            RecordNotWrittenError: it could not be written.
        """
        with self._lock:
            known = self._read(self._numbers.get(act.act_id, 0))
            if known is not None:
                return known, False
            number = self._lines.count() + 1
            recorded = RecordedAct(**dict(act), number=number, recorded_at=self._now(), proved=proved)
            try:
                self._lines.add(recorded.model_dump_json().encode())
            except OSError as error:
                _logger.exception("an act could not be recorded", extra={"kind": act.kind})
                raise RecordNotWrittenError(f"the act is not recorded: {error.strerror}") from error
            self._numbers[act.act_id] = number
        by = "unknown" if proved is None else proved.user
        _logger.warning("act recorded", extra={"kind": act.kind, "application": act.application, "by": by})
        return recorded, True

    def page(self, limit: int, before: int | None) -> Acts:
        """The newest acts whose number is below `before`, the newest first."""
        with self._lock:
            kills, next_before = newest(self._lines, self._read, limit, before)
            return Acts(
                kills=kills,
                next_before=next_before,
                is_kept_on_disk=self._lines.is_on_disk,
                damaged_lines=self._damaged,
            )

    def write_error(self) -> str | None:
        """Why the next act could not be written down, None when it could."""
        with self._lock:
            return self._lines.write_error()

    def _read(self, number: int) -> RecordedAct | None:
        line = self._lines.line(number)
        try:
            return None if line is None else RecordedAct.model_validate_json(line)
        except ValidationError:
            return None
