"""The agent's life: observe, decide, guard; on request and by itself.

Knows no HTTP and no JSON: it is given an observer and a clock.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from charging_agent.decision import Decision, Policy, decide, explain, guard
from charging_agent.observer import Observation, Observer
from ev_service.clock import Clock, sleep_until
from ev_service.logs import correlation_id

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision with what it was made from."""

    decision_id: str
    at: datetime
    decision: Decision
    reason: str
    observation: Observation


class Agent:
    """Decides for one site.

    Args:
        observer: brings the readings.
        policy: thresholds and powers of the rules.
        clock: the run's clock.
        period_s: the loop observes this often [s of the run's clock].
        on_decided: told every decision, for metrics.
    """

    def __init__(
        self,
        observer: Observer,
        policy: Policy,
        clock: Clock,
        *,
        period_s: float,
        on_decided: Callable[[Decided], None] = lambda _decided: None,
    ) -> None:
        self._observer = observer
        self._policy = policy
        self._clock = clock
        self._period = timedelta(seconds=period_s)
        self._on_decided = on_decided
        self.latest: Decided | None = None

    async def decide_now(self) -> Decided:
        """Observe, decide and guard; never fails, whatever the readings do."""
        observation = await self._observer.observe()
        known = observation.known()
        decision = guard(decide(known, self._policy), known, self._policy)
        reason = explain(decision, known, self._policy)
        self.latest = Decided(str(uuid4()), observation.at, decision, reason, observation)
        self._on_decided(self.latest)
        return self.latest

    def trouble(self) -> str | None:
        """Why the readings held now allow only the fail-safe; None when they allow more."""
        grid = self._observer.held().grid
        if grid.reading is not None:
            return None
        return f"no grid reading young enough to decide from ({grid.error})"

    async def live(self) -> None:
        """Observe and decide every period until cancelled; an error in one round does not end the next."""
        while True:
            due = self._clock.now() + self._period
            # One id ties the calls of this round together, in the gateway's logs as in ours.
            correlation_id.set(str(uuid4()))
            try:
                await self.decide_now()
            except Exception:
                _logger.exception("round failed")
            await sleep_until(self._clock, due)
