"""Charging controller: reads the chargers, plans their limits, sets them, and reports failures."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from charging_agent.charging.charger_api import (
    MIN_VALIDITY_S,
    CommandResult,
    LimitSetter,
    LoweredLimit,
    LoweredLimits,
    RoundSnapshot,
    build_read_request,
)
from charging_agent.charging.fleet import (
    Fleet,
    MeterHistory,
    build_fleet,
    car_name,
    drop_future_values,
    iter_evses,
    limit_in_force_a,
)
from charging_agent.charging.meter_checks import Alarms, MeterEvidence, OverdrawMonitor
from charging_agent.charging.planning import (
    Allocator,
    ChargingParameters,
    ChargingPlan,
    Headroom,
    build_connection_limits,
    compute_feeder_room,
    compute_headroom,
    compute_room,
    create_empty_room,
    is_pause,
    make_plan,
)
from charging_agent.charging.sharing import Allotment, CarKey, Memory, SiteRoom, allocate
from charging_agent.charging.surplus import measure_surplus
from charging_agent.decision.pipeline import Decision
from charging_agent.decision.policy import ConnectionLimits, DecisionInputs
from charging_agent.gateway.calls import OK, FailureReason, GatewayCallError
from charging_agent.gateway.client import GatewayClient
from charging_agent.readings.assessment import AgeLimits, AssessedReading, Status, age_s, assess_reading, was_set_back
from ev_service.charging import Chargers
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant, LaterEnd
from ev_service.units import utc_text

_logger = logging.getLogger(__name__)


class ChargingListener(Protocol):
    """Receives alarms, plans and commands, for metrics."""

    def report_alarms(self, alarms: Alarms) -> None: ...

    def report_plan(self, plan: ChargingPlan) -> None: ...

    def report_command(self, result: CommandResult) -> None: ...


@dataclass(frozen=True, slots=True)
class LoweredPlan:
    """A plan whose decision is not recorded yet."""

    plan: ChargingPlan
    """The plan of the decision."""
    sent: LoweredLimits
    """Limits that are sent."""
    end: EarlierEnd
    """Time at which these limits lapse."""


@dataclass(frozen=True, slots=True)
class ChargingSituation:
    """State of the chargers before a decision."""

    reading: Chargers
    """Reading of the chargers."""

    fleet: Fleet
    """Cars in that reading."""

    headroom: Headroom
    """Power that the connection leaves for them."""

    @property
    def limits(self) -> ConnectionLimits:
        """Limits of the connection, as input of a policy."""
        reading = self.reading
        feeder_a = compute_feeder_room(reading, self.fleet)
        return build_connection_limits(self.headroom, feeder_a, reading.phases, reading.voltage_v)


class ChargingController:
    """Carries decisions out.

    Args:
        gateway: reads the chargers.
        limit_setter: sets limits.
        clock: the run's clock.
        ages: how old a reading may be.
        rules: parameters of sharing and alarms.
        deadline_s: real time in which a poll ends [s].
        valid_for_s: validity of the limits of a recorded decision [s].
        round_interval: poll and command the chargers every N-th round.
        listener: receives alarms, plans and commands.
        allocator: shares the power; its plan is clamped.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        limit_setter: LimitSetter,
        clock: Clock,
        ages: AgeLimits,
        rules: ChargingParameters,
        *,
        deadline_s: float,
        valid_for_s: float = MIN_VALIDITY_S,
        round_interval: int = 1,
        listener: ChargingListener | None = None,
        allocator: Allocator = allocate,
    ) -> None:
        self._gateway = gateway
        self._limit_setter = limit_setter
        self._clock = clock
        self._ages = ages
        self._rules = rules
        self._deadline_s = deadline_s
        self._valid_for_s = valid_for_s
        self._round_interval = round_interval
        self._listener = listener
        self._allocator = allocator
        self._meter_history, self._overdraw_monitor, self._evidence = self._create_history()
        self._memory = Memory.initial()
        self._rounds = 0
        self._is_new = False
        self._failure: FailureReason | None = None
        self._unrecorded_result: CommandResult | None = None
        self._read_at: Instant | None = None
        self._override_end: LaterEnd | None = None
        self._recorded_end: EarlierEnd | None = None
        self._is_commanded_since_reading = False
        self._unrecorded_warning: str | None = None
        self.latest_reading: Chargers | None = None
        self.alarms = Alarms()
        self.latest_plan: ChargingPlan | None = None
        self.latest_command: CommandResult | None = None

    async def poll(self) -> None:
        """Read the chargers if that is due in this round; never fails."""
        self._is_new = False
        self._rounds += 1
        if not self._is_due:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                self._accept_reading(await self._gateway.send(build_read_request()))
        except TimeoutError:
            self._failure = FailureReason.TIMEOUT
        except GatewayCallError as failure:
            self._failure = failure.reason
        except Exception:
            _logger.exception("chargers not understood")
            self._failure = FailureReason.INVALID_READING

    def assess_reading(self) -> AssessedReading[Chargers]:
        """Assess the reading held, without a call; missing if the clock was set back, since its age is then unknown."""
        if self._read_at is not None and was_set_back(self._read_at, read_clock(self._clock)):
            return AssessedReading(Status.MISSING, error=self._failure or FailureReason.INVALID_READING)
        return assess_reading(
            self.latest_reading, self._clock.now(), self._ages, is_new=self._is_new, failure=self._failure
        )

    def assess_situation(self, inputs: DecisionInputs) -> ChargingSituation | None:
        """Assess cars and headroom; None if that is not due in this round, or a reading is missing.

        Args:
            inputs: the readings of the decision.
        """
        self._compare_with_meter(inputs)
        newest, status, grid, at = self.latest_reading, self.assess_reading().status, inputs.grid, inputs.at
        if grid is None or newest is None or not self._is_due or status is Status.MISSING:
            return None
        fleet = build_fleet(
            newest, self._meter_history, at, self.limits_in_force(newest) if status is Status.STALE else None
        )
        confirmed, history = self._evidence.confirm(newest), self._meter_history
        surplus = measure_surplus(
            inputs, newest, fleet, history, confirmed, is_before_battery=self._rules.is_before_battery
        )
        headroom = compute_headroom(grid, newest, fleet, history, confirmed, at, self._rules.headroom_percent, surplus)
        return ChargingSituation(newest, fleet, headroom)

    def make_plan(
        self, decision: Decision, inputs: DecisionInputs, situation: ChargingSituation | None
    ) -> ChargingPlan | None:
        """Plan the limits of a decision; None without a situation, unless the decision pauses.

        Args:
            decision: the guarded decision.
            inputs: its inputs.
            situation: as assessed for these inputs.
        """
        if inputs.grid is None or is_pause(decision):
            return self._pause_plan(inputs.at, situation)
        if situation is None:
            return None
        room = compute_room(situation.headroom, situation.reading, situation.fleet, decision)
        return self._share_room(situation.fleet, room, situation.headroom, inputs.at)

    async def apply_plan(self, plan: ChargingPlan | None, decision_id: str) -> None:
        """Set the limits of a plan whose decision is in the ledger.

        Args:
            plan: plan of that decision; None: nothing is sent.
            decision_id: id of that decision.
        """
        self._unrecorded_warning = None
        if plan is None:
            return
        self._memory = plan.after
        end = EarlierEnd.lasting(read_clock(self._clock), self._valid_for_s)
        self._recorded_end = end
        await self._send(plan, plan.limits, decision_id, end.ends_at)

    def lower_plan(self, plan: ChargingPlan | None, reason: str) -> LoweredPlan | None:
        """Lower a plan whose decision is not recorded to what may be sent; None if nothing may be sent.

        Each car gets the lower of plan and limit in force, for the shortest validity; 0 once the limits that were
        recorded last have lapsed.

        Args:
            plan: plan of that decision; None: there is none.
            reason: why there is no record.
        """
        now = read_clock(self._clock)
        if self._recorded_end is None or self._recorded_end.has_ended(now):
            plan = self._pause_plan(now.wall)
        if plan is None or self.latest_reading is None:
            return None
        in_force, phases = self.limits_in_force(self.latest_reading), _phases_before(plan)
        limits = tuple(
            LoweredLimit(one.key, one.limit_a, in_force.get(one.key, 0.0), phases.get(one.key, one.phases))
            for one in plan.limits
        )
        end = EarlierEnd.lasting(now, MIN_VALIDITY_S)
        return LoweredPlan(plan, LoweredLimits(reason, end.ends_at, limits), end)

    async def apply_lowered(self, lowered: LoweredPlan, decision_id: str) -> None:
        """Send a lowered plan.

        Args:
            lowered: result of `lower_plan`.
            decision_id: the decision that will be recorded late.
        """
        sent, ends = lowered.sent, self._recorded_end
        until = "" if sent.is_stop or ends is None else f", and nothing after {utc_text(ends.ends_at)}"
        self._unrecorded_warning = (
            f"no car is given more than it had{until}, because decisions are not recorded ({sent.reason})"
        )
        if lowered.plan.room.pauses:
            self._memory = lowered.plan.after
        await self._send(lowered.plan, sent.allotments, decision_id, sent.valid_until)

    def confirm_late_record(self, lowered: LoweredPlan) -> None:
        """Take note that a lowered plan and the end of its limits are in the ledger now."""
        now, before = read_clock(self._clock), self._recorded_end
        if before is None or before.remaining_s(now) < lowered.end.remaining_s(now):
            self._recorded_end = lowered.end

    def force_round(self) -> None:
        """Poll and command in the next round, however scarce calls are."""
        self._rounds = 0

    def snapshot(self, plan: ChargingPlan | None = None) -> RoundSnapshot:
        """Return what a record contains of the chargers now."""
        return RoundSnapshot(self.assess_reading(), self.alarms, plan, self._unrecorded_result)

    def confirm_recorded(self, snapshot: RoundSnapshot) -> None:
        """Take note that a snapshot is in the ledger."""
        if snapshot.command is self._unrecorded_result:
            self._unrecorded_result = None

    def health_error(self) -> str | None:
        """Return why limits cannot be set, in one sentence; None if they can."""
        assessed = self.assess_reading()
        if self.latest_reading is None or assessed.status is Status.MISSING:
            return f"the chargers cannot be read ({assessed.error})"
        result = self.latest_command
        if result is None or result.outcome == OK:
            return self._unrecorded_warning
        return f"limits cannot be set ({result.outcome}{': ' if result.detail else ''}{result.detail or ''})"

    @property
    def _is_due(self) -> bool:
        return not (self._rounds - 1) % self._round_interval

    def _compare_with_meter(self, inputs: DecisionInputs) -> None:
        """Compare what the chargers report with the connection's meter, also during a pause."""
        if self.latest_reading is None:
            return
        self._evidence.observe(inputs, self.latest_reading, is_new=self._is_new)
        before, contradicted = self.alarms.contradicted, tuple(sorted(self._evidence.contradicted))
        self.alarms = replace(self.alarms, contradicted=contradicted)
        for key in set(contradicted) - set(before):
            _logger.error("the connection's meter contradicts a charger", extra={"car": car_name(key)})
        for key in set(before) - set(contradicted):
            _logger.info("the connection's meter no longer contradicts a charger", extra={"car": car_name(key)})
        if self._listener is not None:
            self._listener.report_alarms(self.alarms)

    def _pause_plan(self, at: datetime, situation: ChargingSituation | None = None) -> ChargingPlan | None:
        """Plan 0 A for every car, also for those in a reading that is too old."""
        is_paused = self.latest_plan is not None and self.latest_plan.room.pauses
        if self.latest_reading is None or (is_paused and not self._is_due):
            return None
        empty_room = create_empty_room(self.latest_reading)
        if situation is not None:
            return self._share_room(situation.fleet, empty_room, situation.headroom, at)
        return self._share_room(build_fleet(self.latest_reading, self._meter_history, at), empty_room, None, at)

    def _share_room(self, fleet: Fleet, room: SiteRoom, headroom: Headroom | None, at: datetime) -> ChargingPlan:
        plan = make_plan(fleet, room, headroom, self._memory, at, self._rules.sharing, self._allocator)
        for clamp in plan.clamps:
            fields = {"car": car_name(clamp.key), "asked_a": clamp.asked_a, "given_a": clamp.given_a}
            _logger.error("plan violates the envelope", extra=fields | {"limited_by": clamp.limited_by.value})
        return plan

    def _accept_reading(self, fetched: Chargers) -> None:
        now = read_clock(self._clock)
        if age_s(fetched, now.wall) < -self._ages.future_s:
            self._failure = FailureReason.INVALID_READING
            return
        fetched = drop_future_values(fetched, self._ages.future_s)
        if self._failure is not None:
            _logger.info("chargers read again")
        if self._read_at is not None and was_set_back(self._read_at, now):
            # Values with a future timestamp would count as young, and as newer than all that follow.
            self._meter_history, self._overdraw_monitor, self._evidence = self._create_history()
        self.latest_reading, self._failure, self._is_new = fetched, None, True
        self._read_at, self._is_commanded_since_reading = now, False
        self._update_ends(fetched, now)
        self._meter_history.add_reading(fetched)
        before, self.alarms = (
            self.alarms,
            replace(self._overdraw_monitor.check(fetched, now.wall), contradicted=self.alarms.contradicted),
        )
        for key in set(self.alarms.overdrawing) - set(before.overdrawing):
            _logger.error("car above its limit", extra={"car": car_name(key)})
        for key in set(self.alarms.without_meter) - set(before.without_meter):
            _logger.error("meter lost", extra={"car": car_name(key)})
        if self._listener is not None:
            self._listener.report_alarms(self.alarms)

    def _create_history(self) -> tuple[MeterHistory, OverdrawMonitor, MeterEvidence]:
        rules = self._rules
        return (
            MeterHistory(rules.meter_lost_s),
            OverdrawMonitor(rules.overdraw_s, rules.meter_lost_s, rules.sharing.tolerance_a),
            MeterEvidence(rules.meter_lost_s),
        )

    def _update_ends(self, fetched: Chargers, now: Instant) -> None:
        override, before = fetched.override, self._override_end
        if override is None:
            self._override_end = None
        elif before is None or before.ends_at != override.until:
            self._override_end = LaterEnd.until(now, override.until)
        if self._recorded_end is None:
            # Limits of a former process were recorded and lapse: they bound what is sent without a record.
            ends = [evse.valid_until for _, _, evse in iter_evses(fetched) if evse.valid_until is not None]
            latest = min(max([now.wall, *ends]), now.wall + timedelta(seconds=self._valid_for_s))
            self._recorded_end = EarlierEnd.until(now, latest)

    async def _send(
        self, plan: ChargingPlan, limits: Sequence[Allotment], decision_id: str, valid_until: datetime
    ) -> None:
        self.latest_plan = plan
        if self._listener is not None:
            self._listener.report_plan(plan)
        if not limits:
            return
        override, end = self.latest_reading and self.latest_reading.override, self._override_end
        if override is not None and end is not None and not end.has_ended(read_clock(self._clock)):
            detail = f"an operator ordered {override.kind}"
            self._report_result(self._limit_setter.skip(limits, decision_id, valid_until, detail))
        else:
            self._is_commanded_since_reading = True
            self._report_result(await self._limit_setter.set_limits(limits, decision_id, valid_until))

    def _report_result(self, result: CommandResult) -> None:
        before, self.latest_command = self.latest_command, result
        self._unrecorded_result = result
        is_set = result.outcome == OK
        is_new_failure = not is_set and (before is None or before.outcome != result.outcome)
        event, level = "limits set" if is_set else "limits not set", logging.WARNING if is_new_failure else logging.INFO
        _logger.log(level, event, extra=result.log_fields())
        if self._listener is not None:
            self._listener.report_command(result)

    def limits_in_force(self, newest: Chargers) -> Mapping[CarKey, float]:
        """Limits per phase [A] that were last known to be in force: as read, or as commanded since."""
        known = {key: limit_in_force_a(evse) for key, _, evse in iter_evses(newest)}
        command = self.latest_command
        later = {} if command is None or not self._is_commanded_since_reading else command.in_force_a()
        # A car that is no longer in the reading gets no more than it had.
        return known | {key: limit_a for key, limit_a in later.items() if key in known}


def _phases_before(plan: ChargingPlan) -> dict[CarKey, int | None]:
    """Number of phases before this plan, for cars that had fewer: the same current is less power there."""
    wired = {car.key: len(car.phases) for car in plan.cars}
    planned = {one.key: one.phases or wired.get(one.key, 0) for one in plan.allotments}
    return {one.key: one.phases for one in plan.before.cars if one.phases < planned.get(one.key, 0)}
