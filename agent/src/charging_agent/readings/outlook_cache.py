"""Outlooks on the next hours, such as prices and forecasts, fetched rarely and with calls to spare only.

They share the call budget of the readings and never cost one of these its call. A missing outlook degrades no
decision.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Generic, Protocol, Self, TypeVar

from charging_agent.gateway.budget import CallBudget
from charging_agent.gateway.calls import FailureReason, GatewayCallError, R, ReadingApi
from charging_agent.gateway.client import GatewayClient
from ev_service.clock import Clock
from wso2_terms import codes

NOT_PUBLISHED_S = 3600.0
"""What a site does not publish is asked for again after this time [s]."""

HORIZON = timedelta(hours=24)
"""How far ahead outlooks are kept for decisions."""

MAX_INTERVALS = 97
"""Most intervals of an outlook: 24 h of 15 min, and the one that has begun."""

_CLOCK_STEP = timedelta(seconds=5)
"""How far the clocks of agent and service may differ."""

_RESERVED_CALLS = 3
"""Most calls of one refresh: a refused token, and over MCP the list of tools, cost one more each."""

_logger = logging.getLogger(__name__)


def has_spare_calls(budget: CallBudget, now: datetime, period_s: float, sources: int) -> bool:
    """Tell whether a refresh leaves every reading its calls for the rest of the gateway's window.

    Args:
        budget: of the API that is asked.
        now: the run's time.
        period_s: a reading is fetched once in this time at most [s].
        sources: number of readings that share the application's budget.
    """
    application = budget.application
    limits = [(budget, 1), *(((application, sources),) if application is not None else ())]
    for one, readings in limits:
        left = one.own_remaining(now)
        if left is None:
            continue
        rounds = ceil((one.window_end(now) - now).total_seconds() / period_s) + 1
        if left - _RESERVED_CALLS < rounds * readings:
            return False
    return True


class Outlook(Protocol):
    """What is known of the next hours, in the form that decisions are made from and records hold."""

    def cut(self, now: datetime) -> Self | None:
        """Return what is left from `now` on; None if nothing is, or if it is too old."""
        ...


OutlookT = TypeVar("OutlookT", bound=Outlook)
IntervalsT = TypeVar("IntervalsT", bound="Intervals")


class Intervals(Protocol):
    """A model with one value per interval in some of its fields."""

    @property
    def starts_at(self) -> datetime:
        """Start of the first interval, UTC."""
        ...

    @property
    def resolution_s(self) -> int:
        """Length of each interval [s]."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Copy it with other values of some fields."""
        ...


def is_young(made_at: datetime, now: datetime, max_age: timedelta) -> bool:
    """Whether what was made at a moment may be used: neither too old nor, beyond a step of clocks, of the future."""
    return -_CLOCK_STEP <= now - made_at <= max_age


def drop_past(outlook: IntervalsT, fields: Sequence[str], now: datetime) -> IntervalsT:
    """Drop the intervals that are over; all of them where the last one is.

    Args:
        outlook: with its intervals.
        fields: those that hold one value per interval.
        now: the run's time.
    """
    step = timedelta(seconds=outlook.resolution_s)
    over = max(0, (now - outlook.starts_at) // step)
    if not over:
        return outlook
    update: dict[str, Any] = {name: getattr(outlook, name)[over:] for name in fields}
    return outlook.model_copy(update=update | {"starts_at": outlook.starts_at + over * step})


class OutlookCache(Generic[R, OutlookT]):
    """Holds the newest outlook, and fetches a new one when it is due and calls are left over.

    Args:
        gateway: fetches it.
        api: what is asked.
        condense: takes from an answer what decisions need; raises ValueError where that cannot be used.
        budget: of the API that publishes it.
        clock: the run's clock.
        refresh_s: from one fetch to the next [s].
        period_s: a reading is fetched once in this time at most [s].
        sources: number of readings that share the application's budget.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        api: ReadingApi[R],
        condense: Callable[[R], OutlookT],
        budget: CallBudget,
        clock: Clock,
        *,
        refresh_s: float,
        period_s: float,
        sources: int,
    ) -> None:
        self._gateway, self._api, self._condense = gateway, api, condense
        self._budget, self._clock = budget, clock
        self._refresh_s, self._period_s, self._sources = refresh_s, period_s, sources
        self._held: OutlookT | None = None
        self._due_s = -1.0
        self._cuts = 0
        self.error: FailureReason | None = None
        """What the last fetch met; None: nothing, or there was none yet."""

    def current(self, now: datetime) -> OutlookT | None:
        """Return the outlook from `now` on, without any call; None if none is known."""
        return None if self._held is None else self._held.cut(now)

    def is_due(self) -> bool:
        """Whether a new one is wanted and may be fetched now."""
        if self._clock.monotonic_s() < self._due_s:
            return False
        return has_spare_calls(self._budget, self._clock.now(), self._period_s, self._sources)

    async def refresh(self) -> bool:
        """Fetch it once.

        Returns:
            Whether a deny policy refused: its answer counts for all readings.
        """
        cuts, self._due_s = self._cuts, self._clock.monotonic_s() + self._refresh_s
        try:
            outlook = self._condense(await self._gateway.fetch_once(self._api))
        except GatewayCallError as failure:
            self._on_failure(failure)
            return failure.code == codes.DENIED.code
        except ValueError:
            self.error = FailureReason.INVALID_READING
            return False
        # What was asked before the agent was cut off tells nothing any more.
        if cuts == self._cuts:
            self._held, self.error = outlook, None
        return False

    def revoke_access(self) -> None:
        """Forget what is held, and what a call in flight may still bring."""
        self._held, self.error = None, FailureReason.BLOCKED
        self._cuts += 1

    def _on_failure(self, failure: GatewayCallError) -> None:
        if failure.reason is FailureReason.BLOCKED:
            self.revoke_access()
        if failure.reason is FailureReason.NOT_FOUND:
            self._due_s = self._clock.monotonic_s() + max(self._refresh_s, NOT_PUBLISHED_S)
        if failure.reason is not self.error:
            fields = {"operation": self._api.operation_id, "reason": failure.reason.value, "code": failure.code}
            _logger.warning("outlook not fetched", extra=fields)
        self.error = failure.reason
