"""Which chargers break the standard's schema, where, and how often: for the log, and for whoever looks at a charger."""

import logging
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from charger_service.ports import Offence
from ev_service.clock import Clock

MOST_SHOWN = 20
"""Offences that are remembered of each charger, those seen last."""
_LOGS_EVERY_S = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OffenceCount:
    """How often an offence was seen since the service began, and when last, UTC."""

    offence: Offence
    count: int
    last_at: datetime


class Offences:
    """The newest offences of each charger, in memory.

    Args:
        clock: the run's clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_charger: dict[str, OrderedDict[Offence, OffenceCount]] = {}
        self._logged_s: dict[str, float] = {}

    def add(self, charger_id: str, offence: Offence) -> None:
        """Count an offence of a registered charger; log one a minute and charger at most."""
        counts = self._by_charger.setdefault(charger_id, OrderedDict())
        before = counts.pop(offence, None)
        counts[offence] = OffenceCount(offence, 1 if before is None else before.count + 1, self._clock.now())
        if len(counts) > MOST_SHOWN:
            counts.popitem(last=False)
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s.get(charger_id, -math.inf) >= _LOGS_EVERY_S:
            self._logged_s[charger_id] = now_s
            said = {"charger_id": charger_id, "ocpp_message": offence.message, "reason": offence.reason}
            outcome = "refused" if offence.is_refused else "taken as far as it is clear"
            _logger.warning("a charger's message breaks the schema", extra=said | {"outcome": outcome})

    def of(self, charger_id: str) -> tuple[OffenceCount, ...]:
        """The offences of a charger, the newest first."""
        counts = self._by_charger.get(charger_id)
        return () if counts is None else tuple(reversed(counts.values()))
