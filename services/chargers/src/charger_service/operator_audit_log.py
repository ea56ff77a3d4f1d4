"""The record of operators' orders: what was ordered of the site, by whom and when; and what protection did.

Unlike an act that is over, an order is still to be carried out, and is so even where it can not be written down.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from pydantic import ValidationError

from charger_service.append_only_log import AppendOnlyLog, newest
from charger_service.kill_audit import AuthenticatedCaller
from charger_service.orders import (
    DepartureOrder,
    OrderKind,
    Orders,
    OverrideOrder,
    ProtectionAct,
    RecordedOrder,
    SiteLimitOrder,
)

_logger = logging.getLogger(__name__)


class OrderRecord:
    """Every order, in the order of recording; safe to use from several threads.

    Args:
        lines: where orders are kept, one a line.
        now: the run's clock.
    """

    def __init__(self, lines: AppendOnlyLog, now: Callable[[], datetime]) -> None:
        self._lines = lines
        self._now = now
        self._lock = threading.Lock()

    def add(
        self,
        order: SiteLimitOrder | DepartureOrder | OverrideOrder | ProtectionAct,
        proved: AuthenticatedCaller | None,
        session_id: str | None = None,
    ) -> bool:
        """Write an order down; False: it could not be, which its log and health say."""
        kind = _KINDS[type(order)]
        by = "unknown" if proved is None else proved.user
        _logger.warning("order given", extra={"kind": kind, "by": by})
        with self._lock:
            recorded = RecordedOrder(
                number=self._lines.count() + 1,
                recorded_at=self._now(),
                kind=kind,
                session_id=session_id,
                site_limit=order if isinstance(order, SiteLimitOrder) else None,
                departure=order if isinstance(order, DepartureOrder) else None,
                override=order if isinstance(order, OverrideOrder) else None,
                protection=order if isinstance(order, ProtectionAct) else None,
                proved=proved,
            )
            try:
                self._lines.add(recorded.model_dump_json().encode())
            except OSError:
                _logger.exception("an order could not be recorded", extra={"kind": kind, "by": by})
                return False
        return True

    def page(self, limit: int, before: int | None) -> Orders:
        """The newest orders whose number is below `before`, the newest first."""
        with self._lock:
            orders, next_before = newest(self._lines, self._read, limit, before)
        return Orders(orders=orders, next_before=next_before, is_kept_on_disk=self._lines.is_on_disk)

    def write_error(self) -> str | None:
        """Why the next order could not be written down, None when it could."""
        with self._lock:
            return self._lines.write_error()

    def _read(self, number: int) -> RecordedOrder | None:
        line = self._lines.line(number)
        try:
            return None if line is None else RecordedOrder.model_validate_json(line)
        except ValidationError:
            return None


_KINDS = {
    SiteLimitOrder: OrderKind.SITE_LIMIT,
    DepartureOrder: OrderKind.DEPARTURE,
    OverrideOrder: OrderKind.OVERRIDE,
    ProtectionAct: OrderKind.PROTECTION,
}
