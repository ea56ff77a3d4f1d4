"""`POST /recheck`: look again at once what the gateway allows.

For whoever has just changed what the agent may do, on the operator's network; never published through the gateway.
"""

import asyncio
from collections.abc import Callable

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.readings.observer import Observer
from ev_service.clock import Clock
from ev_service.openapi import OPERATIONS_TAG

_LIMIT = CallLimit(5, 60)
"""How often, also where the gateway sets no limit itself."""


class RecheckAnswer(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True)

    rechecked: bool = Field(description="Whether the gateway was asked; not, when that would cost too many calls.")
    blocked: bool = Field(description="Whether the agent is cut off from at least one of its readings.")


class ReadingRefresh:
    """Has the gateway asked again at once, within bounds, however many want it at the same time.

    Args:
        observer: takes the readings.
        clock: the run's clock.
        hurry: has the agent's loop begin its next round, which tries the chargers again.
    """

    def __init__(self, observer: Observer, clock: Clock, trigger_round: Callable[[], None] = lambda: None) -> None:
        self._observer = observer
        self._trigger_round = trigger_round
        self._clock = clock
        self._budget = CallBudget(_LIMIT)
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0
        self._was_done = False

    async def refresh(self) -> bool:
        """Take all readings anew by calls sent after this one was made; False when that costs too many."""
        self._asked += 1
        number = self._asked
        async with self._turn:
            # Whoever asked before the last round began has its answer already.
            if self._answered < number:
                answering = self._asked
                self._was_done = self._observer.has_calls_to_spare() and self._budget.take(self._clock.now())
                if self._was_done:
                    await self._observer.observe_anew()
                    self._trigger_round()
                self._answered = answering
            return self._was_done


def create_refresh_route(observer: Observer, clock: Clock, trigger_round: Callable[[], None]) -> APIRouter:
    """Make the route for one observer and the loop that uses it."""
    recheck = ReadingRefresh(observer, clock, trigger_round)
    router = APIRouter(tags=[OPERATIONS_TAG])

    @router.post("/recheck", operation_id="recheck", summary="Look again at once what the gateway allows")
    async def look_again() -> RecheckAnswer:
        """Take all readings anew, also the young ones, and say whether the agent is cut off.

        Done five times a minute at most, and only while more than half of each API's calls are left. Decides
        nothing itself: the next decision is made from what was found. The agent's own next round begins at once, and
        with it the chargers are read and commanded again; /site-status tells how that went.
        """
        return RecheckAnswer(rechecked=await recheck.refresh(), blocked=observer.current_observation().is_blocked)

    return router
