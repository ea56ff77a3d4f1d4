"""The chargers in the agent's life: read, planned for, commanded, confirmed; their trouble is told, no more."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from charging_agent.charging.charger_api import reading
from charging_agent.charging.evidence import MeterEvidence
from charging_agent.charging.fleet import Fleet, car_name, evses_of, fleet_of, in_force_a, without_values_ahead
from charging_agent.charging.headroom import Headroom, headroom_of, no_room, pauses, room_of
from charging_agent.charging.limit_setter import (
    SHORTEST_VALIDITY_S,
    Commanded,
    Commander,
    LoweredLimit,
    LoweredLimits,
)
from charging_agent.charging.meter_history import Draws
from charging_agent.charging.overdraw_monitor import Alarms, Confirmation
from charging_agent.charging.planning import Plan, Sharing, planned
from charging_agent.charging.round_snapshot import Noted
from charging_agent.charging.rules import ChargingRules
from charging_agent.charging.sharing import Allotment, CarKey, Memory, SiteRoom, share
from charging_agent.decision.rules import Decision, Known
from charging_agent.gateway.call_log import OK, Trouble
from charging_agent.gateway.client import GatewayClient
from charging_agent.gateway.protocol import CallFailed
from charging_agent.readings.assessment import AgeLimits, Judged, Status, age_s, judge, was_set_back
from ev_service.charging import Chargers, Override
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant, LaterEnd
from ev_service.units import utc_text

_logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is told what happens, for metrics."""

    def looked(self, alarms: Alarms) -> None: ...

    def planned(self, plan: Plan) -> None: ...

    def commanded(self, commanded: Commanded) -> None: ...


@dataclass(frozen=True, slots=True)
class LoweredPlan:
    """A plan whose decision is in no record, what is sent of it, and when that lapses."""

    plan: Plan
    sent: LoweredLimits
    end: EarlierEnd


class Charging:
    """Carries decisions out.

    Args:
        gateway: reads the chargers.
        commander: sets limits.
        clock: the run's clock.
        ages: how old a reading may be.
        rules: how power is shared.
        deadline_s: real time [s] in which a look ends.
        valid_for_s: how long limits of a recorded decision live [s].
        every: of so many rounds one looks and commands, where calls are scarce.
        watcher: is told what happens.
        sharing: shares.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        commander: Commander,
        clock: Clock,
        ages: AgeLimits,
        rules: ChargingRules,
        *,
        deadline_s: float,
        valid_for_s: float = SHORTEST_VALIDITY_S,
        every: int = 1,
        watcher: Watcher | None = None,
        sharing: Sharing = share,
    ) -> None:
        self._gateway = gateway
        self._commander = commander
        self._clock = clock
        self._ages = ages
        self._rules = rules
        self._deadline_s = deadline_s
        self._valid_for_s = valid_for_s
        self._every = every
        self._watcher = watcher
        self._sharing = sharing
        self._draws, self._confirmation, self._evidence = self._fresh_history()
        self._memory = Memory.initial()
        self._rounds = 0
        self._is_new = False
        self._trouble: Trouble | None = None
        self._untold: Commanded | None = None
        self._read_at: Instant | None = None
        self._override_end: LaterEnd | None = None
        self._recorded_end: EarlierEnd | None = None
        self._is_commanded_since_reading = False
        self._lateness: str | None = None
        self.newest: Chargers | None = None
        self.alarms = Alarms()
        self.plan: Plan | None = None
        self.commanded: Commanded | None = None

    async def look(self) -> None:
        """Read the chargers, where it is their turn; never fails."""
        self._is_new = False
        self._rounds += 1
        if not self._is_turn:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                self._keep(await self._gateway.ask(reading()))
        except TimeoutError:
            self._failed(Trouble.TIMEOUT)
        except CallFailed as failure:
            self._failed(failure.trouble)
        except Exception:
            _logger.exception("chargers not understood")
            self._failed(Trouble.INVALID_READING)

    def seen(self) -> Judged[Chargers]:
        """The reading held, without any call; missing once the clock was set back, for its age is not known then."""
        if self._read_at is not None and was_set_back(self._read_at, read_clock(self._clock)):
            return Judged(Status.MISSING, error=self._trouble or Trouble.INVALID_READING)
        return judge(self.newest, self._clock.now(), self._ages, is_new=self._is_new, trouble=self._trouble)

    def planned(self, decision: Decision, known: Known, at: datetime) -> Plan | None:
        """Make limits of a decision; None where it is not the turn, or nothing young enough is known to make any.

        Args:
            decision: what the guard let through.
            known: the readings that it was made from.
            at: when it was made.
        """
        grid = known.grid
        self._compare(known)
        if grid is None or pauses(decision):
            return self._paused(at)
        newest, status = self.newest, self.seen().status
        if newest is None or not self._is_turn or status is Status.MISSING:
            return None
        fleet = fleet_of(newest, self._draws, at, self.limits_in_force(newest) if status is Status.STALE else None)
        headroom = headroom_of(
            grid, newest, fleet, self._draws, self._evidence.confirmed(newest), at, self._rules.headroom_percent
        )
        room = room_of(headroom, newest, fleet, decision)
        return self._shared(fleet, room, headroom, at)

    async def command(self, plan: Plan | None, decision_id: str) -> None:
        """Set the limits of a plan whose decision is in the ledger.

        Args:
            plan: made of that decision, None where none was made.
            decision_id: its name.
        """
        self._lateness = None
        if plan is None:
            return
        self._memory = plan.after
        end = EarlierEnd.lasting(read_clock(self._clock), self._valid_for_s)
        self._recorded_end = end
        await self._send(plan, plan.limits, decision_id, end.ends_at)

    def lower(self, plan: Plan | None, reason: str) -> LoweredPlan | None:
        """What may be sent of a plan whose decision is in no record; None where that is nothing.

        Each car gets the lower of plan and limit in force, for the shortest time; nothing once the limits that were
        recorded last have lapsed.

        Args:
            plan: made of that decision, None where none was made.
            reason: why there is no record.
        """
        now = read_clock(self._clock)
        if self._recorded_end is None or self._recorded_end.has_ended(now):
            plan = self._paused(now.wall)
        if plan is None or self.newest is None:
            return None
        in_force, phases = self.limits_in_force(self.newest), _phases_before(plan)
        limits = tuple(
            LoweredLimit(one.key, one.limit_a, in_force.get(one.key, 0.0), phases.get(one.key, one.phases))
            for one in plan.limits
        )
        end = EarlierEnd.lasting(now, SHORTEST_VALIDITY_S)
        return LoweredPlan(plan, LoweredLimits(reason, end.ends_at, limits), end)

    async def command_lowered(self, lowered: LoweredPlan, decision_id: str) -> None:
        """Send what may be sent of a plan whose decision is in no record.

        Args:
            lowered: as `lower` makes it.
            decision_id: the decision that will be recorded late.
        """
        sent, ends = lowered.sent, self._recorded_end
        until = "" if sent.is_stop or ends is None else f", and nothing after {utc_text(ends.ends_at)}"
        self._lateness = f"no car is given more than it had{until}, because decisions are not recorded ({sent.reason})"
        if lowered.plan.room.pauses:
            self._memory = lowered.plan.after
        await self._send(lowered.plan, sent.allotments, decision_id, sent.valid_until)

    def recorded_late(self, lowered: LoweredPlan) -> None:
        """What was sent without a record is in the ledger now, with the end of its limits."""
        now, before = read_clock(self._clock), self._recorded_end
        if before is None or before.remaining_s(now) < lowered.end.remaining_s(now):
            self._recorded_end = lowered.end

    def take_turn(self) -> None:
        """Have the next round look and command, however scarce calls are."""
        self._rounds = 0

    def noted(self, plan: Plan | None = None) -> Noted:
        """What a record says of the chargers now."""
        return Noted(self.seen(), self.alarms, plan, self._untold)

    def recorded(self, noted: Noted) -> None:
        """What was noted is in the ledger."""
        if noted.commanded is self._untold:
            self._untold = None

    def health_error(self) -> str | None:
        """What keeps limits from being set, in one sentence; None while nothing does."""
        seen = self.seen()
        if self.newest is None or seen.status is Status.MISSING:
            return f"the chargers can not be read ({seen.error})"
        commanded = self.commanded
        if commanded is None or commanded.outcome == OK:
            return self._lateness
        return f"limits can not be set ({commanded.outcome}{': ' if commanded.detail else ''}{commanded.detail or ''})"

    @property
    def _is_turn(self) -> bool:
        return not (self._rounds - 1) % self._every

    def _compare(self, known: Known) -> None:
        """Hold what the chargers report against the connection's meter, also while all is paused."""
        if self.newest is None:
            return
        self._evidence.observe(known, self.newest, is_new=self._is_new)
        before, contradicted = self.alarms.contradicted, tuple(sorted(self._evidence.contradicted))
        self.alarms = replace(self.alarms, contradicted=contradicted)
        for key in set(contradicted) - set(before):
            _logger.error("the connection's meter contradicts a charger", extra={"car": car_name(key)})
        for key in set(before) - set(contradicted):
            _logger.info("the connection's meter no longer contradicts a charger", extra={"car": car_name(key)})
        if self._watcher is not None:
            self._watcher.looked(self.alarms)

    def _paused(self, at: datetime) -> Plan | None:
        """Nothing for anybody, also for cars of which nothing new was heard for long."""
        is_so_already = self.plan is not None and self.plan.room.pauses
        if self.newest is None or (is_so_already and not self._is_turn):
            return None
        return self._shared(fleet_of(self.newest, self._draws, at), no_room(self.newest), None, at)

    def _shared(self, fleet: Fleet, room: SiteRoom, headroom: Headroom | None, at: datetime) -> Plan:
        plan = planned(fleet, room, headroom, self._memory, at, self._rules.sharing, self._sharing)
        for clamp in plan.clamps:
            fields = {"car": car_name(clamp.key), "asked_a": clamp.asked_a, "given_a": clamp.given_a}
            _logger.error("plan violates the envelope", extra=fields | {"limited_by": clamp.limited_by.value})
        return plan

    def _keep(self, fetched: Chargers) -> None:
        now = read_clock(self._clock)
        if age_s(fetched, now.wall) < -self._ages.future_s:
            self._failed(Trouble.INVALID_READING)
            return
        fetched = without_values_ahead(fetched, self._ages.future_s)
        if self._trouble is not None:
            _logger.info("chargers read again")
        if self._read_at is not None and was_set_back(self._read_at, now):
            # Values that seem to lie ahead would count as young, and as newer than all that follow.
            self._draws, self._confirmation, self._evidence = self._fresh_history()
        self.newest, self._trouble, self._is_new = fetched, None, True
        self._read_at, self._is_commanded_since_reading = now, False
        self._note_ends(fetched, now)
        self._draws.note(fetched)
        before, self.alarms = (
            self.alarms,
            replace(self._confirmation.look(fetched, now.wall), contradicted=self.alarms.contradicted),
        )
        for key in set(self.alarms.overdrawing) - set(before.overdrawing):
            _logger.error("car above its limit", extra={"car": car_name(key)})
        for key in set(self.alarms.without_meter) - set(before.without_meter):
            _logger.error("meter lost", extra={"car": car_name(key)})
        if self._watcher is not None:
            self._watcher.looked(self.alarms)

    def _fresh_history(self) -> tuple[Draws, Confirmation, MeterEvidence]:
        rules = self._rules
        return (
            Draws(rules.meter_lost_s),
            Confirmation(rules.overdraw_s, rules.meter_lost_s, rules.sharing.tolerance_a),
            MeterEvidence(rules.meter_lost_s),
        )

    def _note_ends(self, fetched: Chargers, now: Instant) -> None:
        override, before = fetched.override, self._override_end
        if override is None:
            self._override_end = None
        elif before is None or before.ends_at != override.until:
            self._override_end = LaterEnd.until(now, override.until)
        if self._recorded_end is None:
            # Limits from before this process were recorded, and lapse: they bound what is sent without a record.
            ends = [evse.valid_until for _, _, evse in evses_of(fetched) if evse.valid_until is not None]
            latest = min(max([now.wall, *ends]), now.wall + timedelta(seconds=self._valid_for_s))
            self._recorded_end = EarlierEnd.until(now, latest)

    async def _send(self, plan: Plan, limits: Sequence[Allotment], decision_id: str, valid_until: datetime) -> None:
        self.plan = plan
        if self._watcher is not None:
            self._watcher.planned(plan)
        if not limits:
            return
        override = self._override()
        if override is not None:
            detail = f"an operator ordered {override.kind}"
            self._told(self._commander.held_back(limits, decision_id, valid_until, detail))
        else:
            self._is_commanded_since_reading = True
            self._told(await self._commander.command(limits, decision_id, valid_until))

    def _failed(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def _told(self, commanded: Commanded) -> None:
        before, self.commanded = self.commanded, commanded
        self._untold = commanded
        is_set = commanded.outcome == OK
        is_new_trouble = not is_set and (before is None or before.outcome != commanded.outcome)
        event, level = "limits set" if is_set else "limits not set", logging.WARNING if is_new_trouble else logging.INFO
        _logger.log(level, event, extra=commanded.log_fields())
        if self._watcher is not None:
            self._watcher.commanded(commanded)

    def _override(self) -> Override | None:
        if self.newest is None or self._override_end is None:
            return None
        return None if self._override_end.has_ended(read_clock(self._clock)) else self.newest.override

    def limits_in_force(self, newest: Chargers) -> Mapping[CarKey, float]:
        """Limits per phase [A] that were last known to be in force: as read, or as commanded since."""
        known = {key: in_force_a(evse) for key, _, evse in evses_of(newest)}
        commanded = self.commanded
        later = {} if commanded is None or not self._is_commanded_since_reading else commanded.in_force_a()
        # A car that is not seen any more gets no more than it had.
        return known | {key: limit_a for key, limit_a in later.items() if key in known}


def _phases_before(plan: Plan) -> dict[CarKey, int | None]:
    """For cars that were on fewer phases than the plan has them on, that number: the same current is less there."""
    wired = {car.key: len(car.phases) for car in plan.cars}
    planned = {one.key: one.phases or wired.get(one.key, 0) for one in plan.allotments}
    return {one.key: one.phases for one in plan.before.cars if one.phases < planned.get(one.key, 0)}
