"""The control loop: observe, decide, guard, record. On request and periodically; periodically it also sets limits."""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

from charging_agent.charging.controller import ChargingController
from charging_agent.charging.planning import ChargingPlan
from charging_agent.decision.pipeline import Decision, DecisionPipeline
from charging_agent.ledger.errors import LedgerUnavailableError
from charging_agent.ledger.record_signing import DecisionDraft
from charging_agent.ledger.recorder import Recorder
from charging_agent.readings.observer import Observation, Observer
from ev_service.clock import Clock, sleep_until_s
from ev_service.logs import correlation_id
from ev_service.tasks import cancel_and_wait

_logger = logging.getLogger(__name__)

_NOT_RECORDED_REASON = "This decision could not be recorded, and none counts that is not: no power is granted."


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """One decision and its inputs."""

    decision_id: str
    """Id of the record."""
    at: datetime
    """Time of the decision."""
    decision: Decision
    """The guarded decision."""
    observation: Observation
    """Readings as assessed for the answer, which may be later than `at`."""
    is_recorded: bool = True
    """Whether the ledger holds it; if not, it is the fail-safe."""


class DecisionListener(Protocol):
    """Receives every decision."""

    def report_decision(self, result: DecisionResult) -> None: ...


class Agent:
    """Decides for one site.

    Args:
        observer: fetches the readings.
        recorder: records each decision before it is answered.
        pipeline: decides from what was observed.
        clock: the run's clock.
        period_s: the loop observes this often [s of the run's clock].
        listener: receives every decision, for metrics.
        charging: carries out the decisions of the loop; None: decisions are only made.
    """

    def __init__(
        self,
        observer: Observer,
        recorder: Recorder,
        pipeline: DecisionPipeline,
        clock: Clock,
        *,
        period_s: float,
        listener: DecisionListener | None = None,
        charging: ChargingController | None = None,
    ) -> None:
        self._observer = observer
        self._recorder = recorder
        self._pipeline = pipeline
        self._clock = clock
        self._period_s = period_s
        self._listener = listener
        self._is_triggered = asyncio.Event()
        self.charging = charging
        self.latest: DecisionResult | None = None
        self.latest_round: DecisionDraft | None = None
        """The last decision that limits were set by, with its plan; None: there was none yet."""

    async def decide_now(self) -> DecisionResult:
        """Observe, decide, guard and record; never fails, whatever readings and ledger do.

        Where the ledger holds a decision from the same unchanged observation, it is that one. A decision that cannot
        be recorded is the fail-safe.
        """
        draft = self._make_draft(await self._observer.observe())
        return await self._record(draft, tells_calls=False)

    def current_observation(self) -> Observation:
        """The readings held now, without any call."""
        return self._observer.current_observation()

    def health_error(self) -> str | None:
        """Why the readings held now allow only the fail-safe; None when they allow more."""
        grid = self._observer.current_observation().grid
        if grid.reading is not None:
            return None
        return f"no grid reading young enough to decide from ({grid.error})"

    def policy_warning(self) -> str | None:
        """Why the rules decide in place of the policy, in one sentence; None: they do not."""
        failure = None if self.latest is None else self.latest.decision.policy_failure
        return None if failure is None else f"the rules decide in place of the policy: {failure}"

    async def run(self) -> None:
        """Observe, decide and command every period until cancelled; an error in one round does not end the next."""
        while True:
            started_s = self._clock.monotonic_s()
            self._is_triggered.clear()
            # One id ties the calls of this round together, in the gateway's logs as in ours.
            correlation_id.set(str(uuid4()))
            try:
                await self._round()
                # After the round's own calls, and by this loop alone: nobody who asks for a decision causes it.
                self._observer.start_outlook_refresh()
            except Exception:
                _logger.exception("round failed")
            await self._until_next(started_s + self._period_s)

    def trigger_round(self) -> None:
        """Have the loop begin its next round at once."""
        if self.charging is not None:
            self.charging.force_round()
        self._is_triggered.set()

    async def stop(self) -> None:
        """Put what was called and is in no record yet into a last one."""
        await self._recorder.stop(lambda: self._make_draft(self._observer.current_observation()))

    async def _round(self) -> None:
        if self.charging is None:
            await self._record(self._make_draft(await self._observer.observe()), tells_calls=True)
            return
        async with asyncio.TaskGroup() as tasks:
            observing = tasks.create_task(self._observer.observe())
            tasks.create_task(self.charging.poll())
        draft = await self._make_round_draft(self.charging, observing.result())
        result = await self._record(draft, tells_calls=True)
        plan = None if draft.charging is None else draft.charging.plan
        if plan is not None:
            self.latest_round = draft
        if result.is_recorded:
            await self.charging.apply_plan(plan, result.decision_id)
        else:
            await self._command_unrecorded(self.charging, draft, plan)

    async def _command_unrecorded(
        self, charging: ChargingController, draft: DecisionDraft, plan: ChargingPlan | None
    ) -> None:
        """Send what may be sent without a record, and have it recorded as soon as the ledger takes it.

        Under a name of its own: whether the ledger took the decision that was late, nobody may know.
        """
        _log(draft, is_recorded=False)
        lowered = charging.lower_plan(plan, self._recorder.health_error or _NOT_RECORDED_REASON)
        if lowered is None:
            return
        snapshot = charging.snapshot(lowered.plan)

        def on_recorded() -> None:
            charging.confirm_recorded(snapshot)
            charging.confirm_late_record(lowered)

        late = replace(draft, decision_id=uuid4(), charging=snapshot, late=lowered.sent)
        decision_id = self._recorder.record_late(late, on_recorded)
        await charging.apply_lowered(lowered, str(decision_id))

    async def _until_next(self, due_s: float) -> None:
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(sleep_until_s(self._clock, due_s)),
            asyncio.create_task(self._is_triggered.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*waits)

    async def _record(self, draft: DecisionDraft, *, tells_calls: bool) -> DecisionResult:
        try:
            recorded = await self._recorder.record(draft, tells_calls=tells_calls)
        except LedgerUnavailableError:
            fail_safe = self._pipeline.fail_safe(_NOT_RECORDED_REASON)
            at, observation = draft.observation.at, draft.observation
            self.latest = DecisionResult(str(draft.decision_id), at, fail_safe, observation, is_recorded=False)
        else:
            if recorded is draft:
                _log(draft)
            self.latest = DecisionResult(
                str(recorded.decision_id), recorded.observation.at, recorded.decision, draft.observation
            )
            if self.charging is not None and draft.charging is not None and recorded is draft:
                self.charging.confirm_recorded(draft.charging)
        if self._listener is not None:
            self._listener.report_decision(self.latest)
        return self.latest

    def _make_draft(self, observation: Observation) -> DecisionDraft:
        charging = None if self.charging is None else self.charging.snapshot()
        return DecisionDraft(uuid4(), observation, self._pipeline.decide(observation.decision_inputs()), charging)

    async def _make_round_draft(self, charging: ChargingController, observation: Observation) -> DecisionDraft:
        inputs = observation.decision_inputs()
        situation = charging.assess_situation(inputs)
        if situation is not None:
            inputs = replace(inputs, cars=situation.fleet.cars, limits=situation.limits)
        if self._pipeline.policy is self._pipeline.rules:
            outcome = self._pipeline.decide(inputs)
        else:
            # A plan for a thousand cars takes some tenths of a second, during which others ask and are answered.
            outcome = await asyncio.to_thread(self._pipeline.decide, inputs)
        plan = charging.make_plan(outcome.decision, inputs, situation)
        return DecisionDraft(uuid4(), observation, outcome, charging.snapshot(plan))


def _log(draft: DecisionDraft, *, is_recorded: bool = True) -> None:
    decision, plan = draft.decision, None if draft.charging is None else draft.charging.plan
    fields: dict[str, object] = {
        "decision_id": str(draft.decision_id),
        "rule": decision.rule.value,
        "action": decision.action.value,
        "power_kw": decision.charging_power_kw,
        "reason": decision.reason,
        "policy": decision.policy,
        "limited_by": decision.limited_by,
        "degraded": draft.observation.is_degraded,
        "recorded": is_recorded,
        "cars": None if plan is None else len(plan.cars),
    }
    _logger.info("decided", extra=fields)
