"""The chargers in the agent's life: read, planned for, commanded, confirmed; their trouble is told, no more."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from charging_agent.calls import OK
from charging_agent.chargers.apis import reading
from charging_agent.chargers.commanding import Commanded, Commander
from charging_agent.chargers.confirming import Alarms, Confirmation
from charging_agent.chargers.draws import Draws
from charging_agent.chargers.fleet import Fleet, car_name, evses_of, fleet_of, in_force_a
from charging_agent.chargers.noted import Noted
from charging_agent.chargers.planning import Plan, Sharing, planned
from charging_agent.chargers.room import Headroom, headroom_of, no_room, pauses, room_of
from charging_agent.chargers.rules import ChargingRules
from charging_agent.decision import Decision
from charging_agent.exchange import CallFailed
from charging_agent.gateway import GatewayClient
from charging_agent.readings import AgeLimits, Judged, Status, Trouble, age_s, judge
from charging_agent.sharing import CarKey, Memory, SiteRoom, share
from ev_service.charging import Chargers, Override
from ev_service.clock import Clock
from ev_service.telemetry import GridLoad

_logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is told what happens, for metrics."""

    def looked(self, alarms: Alarms) -> None: ...

    def planned(self, plan: Plan) -> None: ...

    def commanded(self, commanded: Commanded) -> None: ...


class Charging:
    """Carries decisions out.

    Args:
        gateway: reads the chargers.
        commander: sets limits.
        clock: the run's clock.
        ages: how old a reading may be.
        rules: how power is shared.
        deadline_s: real time [s] in which a look ends.
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
        self._every = every
        self._watcher = watcher
        self._sharing = sharing
        self._draws = Draws(rules.meter_lost_s)
        self._confirmation = Confirmation(rules.overdraw_s, rules.meter_lost_s, rules.sharing.tolerance_a)
        self._memory = Memory.initial()
        self._rounds = 0
        self._is_new = False
        self._trouble: Trouble | None = None
        self._untold: Commanded | None = None
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
        """The reading held, without any call."""
        return judge(self.newest, self._clock.now(), self._ages, is_new=self._is_new, trouble=self._trouble)

    def planned(self, decision: Decision, grid: GridLoad | None, at: datetime) -> Plan | None:
        """Make limits of a decision; None where it is not the turn, or nothing young enough is known to make any.

        Args:
            decision: what the guard let through.
            grid: the reading that it was made from.
            at: when it was made.
        """
        if grid is None or pauses(decision):
            return self._paused(at)
        newest, status = self.newest, self.seen().status
        if newest is None or not self._is_turn or status is Status.MISSING:
            return None
        fleet = fleet_of(newest, self._draws, at, self._caps(newest) if status is Status.STALE else None)
        headroom = headroom_of(grid, newest, fleet, self._draws, at, self._rules.headroom_percent)
        room = room_of(headroom, newest, fleet, decision)
        return self._shared(fleet, room, headroom, at)

    async def command(self, plan: Plan | None, decision_id: str, *, is_recorded: bool) -> None:
        """Set the limits of a plan; those of a decision that is in no record are all 0.

        Args:
            plan: made of that decision, None where none was made.
            decision_id: its name.
            is_recorded: whether the ledger holds it.
        """
        plan = plan if is_recorded else self._paused(self._clock.now())
        if plan is None:
            return
        self.plan, self._memory = plan, plan.after
        if self._watcher is not None:
            self._watcher.planned(plan)
        limits = plan.limits
        if not limits:
            return
        override = self._override()
        if override is not None:
            detail = f"an operator ordered {override.kind}"
            self._told(self._commander.held_back(limits, decision_id, detail))
        else:
            self._told(await self._commander.command(limits, decision_id, is_recorded=is_recorded))

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

    def trouble(self) -> str | None:
        """What keeps limits from being set, in one sentence; None while nothing does."""
        seen = self.seen()
        if self.newest is None or seen.status is Status.MISSING:
            return f"the chargers can not be read ({seen.error})"
        commanded = self.commanded
        if commanded is None or commanded.outcome == OK:
            return None
        return f"limits can not be set ({commanded.outcome}{': ' if commanded.detail else ''}{commanded.detail or ''})"

    @property
    def _is_turn(self) -> bool:
        return not (self._rounds - 1) % self._every

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
        now = self._clock.now()
        if age_s(fetched, now) < -self._ages.future_s:
            self._failed(Trouble.INVALID_READING)
            return
        if self._trouble is not None:
            _logger.info("chargers read again")
        self.newest, self._trouble, self._is_new = fetched, None, True
        self._draws.note(fetched)
        before, self.alarms = self.alarms, self._confirmation.look(fetched, now)
        for key in set(self.alarms.overdrawing) - set(before.overdrawing):
            _logger.error("car above its limit", extra={"car": car_name(key)})
        for key in set(self.alarms.without_meter) - set(before.without_meter):
            _logger.error("meter lost", extra={"car": car_name(key)})
        if self._watcher is not None:
            self._watcher.looked(self.alarms)

    def _failed(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def _told(self, commanded: Commanded) -> None:
        before, self.commanded = self.commanded, commanded
        self._untold = commanded
        if before is None or before.outcome != commanded.outcome:
            say = _logger.info if commanded.outcome == OK else _logger.warning
            say("limits set" if commanded.outcome == OK else "limits not set", extra=_fields(commanded))
        if self._watcher is not None:
            self._watcher.commanded(commanded)

    def _override(self) -> Override | None:
        override = None if self.newest is None else self.newest.override
        return override if override is not None and override.until > self._clock.now() else None

    def _caps(self, newest: Chargers) -> Mapping[CarKey, float]:
        """The limits that were last known to be in force: what is not seen any more gets no more than it had."""
        known = {key: in_force_a(evse) for key, _, evse in evses_of(newest)}
        commanded = self.commanded
        later = {} if commanded is None or commanded.at < newest.timestamp else commanded.in_force_a()
        return known | {key: limit_a for key, limit_a in later.items() if key in known}


def _fields(commanded: Commanded) -> dict[str, str | None]:
    return {"error": commanded.outcome, "detail": commanded.detail, "decision_id": commanded.decision_id}
