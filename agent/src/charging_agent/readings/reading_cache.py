"""The newest reading of one API, and what last stood in the way of a newer one."""

import asyncio
import logging
from datetime import datetime
from typing import Generic

from charging_agent.gateway.calls import FailureReason, GatewayCallError, R, ReadingApi
from charging_agent.gateway.client import GatewayClient
from charging_agent.readings.assessment import AgeLimits, AssessedReading, age_s, assess_reading, is_young, was_set_back
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import Instant
from wso2_terms import codes

_logger = logging.getLogger(__name__)


class ReadingCache(Generic[R]):
    """Holds what one API told last.

    Args:
        api: where it is read.
        clock: the run's clock.
        limits: ages of readings.
    """

    def __init__(self, api: ReadingApi[R], clock: Clock, limits: AgeLimits) -> None:
        self.api = api
        self._held: R | None = None
        self._came_at: Instant | None = None
        self._clock = clock
        self._limits = limits
        self._trouble: FailureReason | None = None
        self._fetched_for = -1
        self._cuts = 0

    @property
    def newest(self) -> R | None:
        """The reading held; None when there is none, or when the clock was set back since it came.

        Its timestamp then says nothing of its age, and would make it fresh a second time.
        """
        is_dated = self._came_at is not None and not was_set_back(self._came_at, read_clock(self._clock))
        return self._held if is_dated else None

    async def refresh(self, gateway: GatewayClient, deadline_s: float, observation: int) -> bool:
        """Fetch a newer reading.

        Args:
            gateway: fetches it.
            deadline_s: real time [s] in which that ends.
            observation: number of the observation that it is for.

        Returns:
            Whether a deny policy refused: its answer does not say whom it is for, so it counts for all readings.
        """
        cuts = self._cuts
        try:
            async with asyncio.timeout(deadline_s):
                fetched = await gateway.fetch(self.api)
        except TimeoutError:
            self._record_failure(FailureReason.TIMEOUT, cuts)
        except GatewayCallError as failure:
            # A call that was not sent, the budget being spent, does not say that the agent is allowed again.
            if failure.reason is not FailureReason.THROTTLED or failure.code is not None or not self._is_blocked:
                self._record_failure(failure.reason, cuts)
            return failure.code == codes.DENIED.code
        except Exception:
            # A decision is always answered, also where this code met something that nobody thought of.
            _logger.exception("reading not understood")
            self._record_failure(FailureReason.INVALID_READING, cuts)
        else:
            self._keep(fetched, observation, cuts)
        return False

    def revoke_access(self) -> None:
        """Forget the reading held, and what a call in flight may still bring."""
        self._held, self._came_at, self._trouble = None, None, FailureReason.BLOCKED
        self._cuts += 1

    def skip(self, *, is_spent: bool) -> None:
        """No call is made for it now.

        Args:
            is_spent: because none may be made, not because it is worth more later; then what earlier calls met tells
                nothing any more, but for being cut off.
        """
        if self._trouble is None or (is_spent and not self._is_blocked):
            self._trouble = FailureReason.THROTTLED

    def age_s(self, now: datetime) -> float | None:
        """Age of the reading held [s], None when there is none."""
        newest = self.newest
        return None if newest is None else age_s(newest, now)

    def is_young(self, now: datetime) -> bool:
        """Tell whether the reading held may serve a decision without a new call."""
        return is_young(self.newest, now, self._limits)

    def assess(self, now: datetime, observation: int) -> AssessedReading[R]:
        """The reading held, as a decision of `observation` sees it."""
        newest, is_new = self.newest, self._fetched_for == observation
        undated = FailureReason.INVALID_READING if newest is None and self._held is not None else None
        return assess_reading(newest, now, self._limits, is_new=is_new, failure=self._trouble or undated)

    @property
    def _is_blocked(self) -> bool:
        return self._trouble is FailureReason.BLOCKED

    def _keep(self, fetched: R, observation: int, cuts: int) -> None:
        # A reading from the future must not push out the one held, which may still count.
        now = read_clock(self._clock)
        if age_s(fetched, now.wall) < -self._limits.future_s:
            self._record_failure(FailureReason.INVALID_READING, cuts)
        elif cuts == self._cuts:
            self._held, self._came_at, self._trouble, self._fetched_for = fetched, now, None, observation

    def _record_failure(self, trouble: FailureReason, cuts: int) -> None:
        if trouble is FailureReason.BLOCKED:
            self.revoke_access()
        # What was sent before the agent was cut off tells nothing any more.
        elif cuts == self._cuts:
            self._trouble = trouble
