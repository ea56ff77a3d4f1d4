"""Counts and logs the violations of the OCPP JSON Schema of each charger."""

import logging
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from charger_service.ports import SchemaViolation
from ev_service.clock import Clock

MOST_SHOWN = 20
"""Number of violations that are kept per charger, the newest ones."""
_LOGS_EVERY_S = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SchemaViolationCount:
    """How often one violation occurred."""

    violation: SchemaViolation
    count: int
    """Occurrences since the service started."""
    last_at: datetime
    """Time of the newest occurrence, UTC."""


class SchemaViolationLog:
    """The newest violations of each charger, in memory.

    Args:
        clock: the run's clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_charger: dict[str, OrderedDict[SchemaViolation, SchemaViolationCount]] = {}
        self._logged_s: dict[str, float] = {}

    def add(self, charger_id: str, violation: SchemaViolation) -> None:
        """Count a violation of a registered charger; log at most one per minute and charger."""
        counts = self._by_charger.setdefault(charger_id, OrderedDict())
        before = counts.pop(violation, None)
        counts[violation] = SchemaViolationCount(
            violation, 1 if before is None else before.count + 1, self._clock.now()
        )
        if len(counts) > MOST_SHOWN:
            counts.popitem(last=False)
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s.get(charger_id, -math.inf) >= _LOGS_EVERY_S:
            self._logged_s[charger_id] = now_s
            fields = {"charger_id": charger_id, "ocpp_message": violation.message, "reason": violation.reason}
            outcome = "refused" if violation.is_refused else "taken as far as it is clear"
            _logger.warning("a charger's message breaks the schema", extra=fields | {"outcome": outcome})

    def of(self, charger_id: str) -> tuple[SchemaViolationCount, ...]:
        """Return the violations of a charger, the newest first."""
        counts = self._by_charger.get(charger_id)
        return () if counts is None else tuple(reversed(counts.values()))
