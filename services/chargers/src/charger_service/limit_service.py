"""Sets limits for the commander that holds the lease, and reports the result of each."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from charger_service.envelope import EvseKey
from charger_service.lease import HeldLease, take_lease
from charger_service.limit_allocator import LimitAllocator, LimitRequest
from charger_service.limit_state import PROTECTION, Cause, LimitOrder, draws_without_session
from charger_service.ports import CommandStatus
from charger_service.site import ChargingSite
from ev_service.charging import LEAST_CURRENT_A, Lease, Limit, LimitOutcome, LimitResult, LimitResults
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant

_logger = logging.getLogger(__name__)

TRANSIT_TOLERANCE_S = 10.0
"""Part of the shortest validity that a limit may lose on its way here [s]."""

_REFUSALS = {
    CommandStatus.REJECTED: ("charger_rejected", "the charger refused it"),
    CommandStatus.NOT_SUPPORTED: ("charger_rejected", "the charger takes no limits"),
    CommandStatus.NO_ANSWER: ("charger_no_answer", "the charger did not answer; it is asked again"),
    CommandStatus.NOT_CONNECTED: ("not_connected", "the charger is not connected"),
}


@dataclass(frozen=True, slots=True)
class Validity:
    """Bounds of the validity of limits, and of the lease."""

    shortest_s: float = 45.0
    """A limit lapses after this at the earliest [s]."""
    longest_s: float = 3600.0
    """A limit lapses after this at the latest [s]."""
    lease_s: float = 60.0
    """How long a call holds the lease [s]."""


class LimitService:
    """Sets limits.

    Args:
        site: the site's state.
        allocator: grants requests within the envelope.
        clock: the run's clock.
        validity: how long limits live.
        count: called with the number of results of each outcome and reason.
    """

    def __init__(
        self,
        site: ChargingSite,
        allocator: LimitAllocator,
        clock: Clock,
        validity: Validity,
        count: Callable[[LimitOutcome, str, int], None],
    ) -> None:
        self._site = site
        self._allocator = allocator
        self._clock = clock
        self._validity = validity
        self._count = count
        self._lease: HeldLease | None = None

    async def set_limits(self, limits: Sequence[Limit], commander: str, decision_id: str | None) -> LimitResults:
        """Set limits, as far as they may be; earlier ones come first.

        Args:
            limits: requested limits; an EVSE that is not named keeps what it has.
            commander: name of the commander.
            decision_id: decision that the limits come from, for the log.

        Raises:
            LeaseConflictError: another commander holds the lease.
        """
        now = read_clock(self._clock)
        refused: dict[int, LimitResult] = {}
        requests: dict[int, LimitRequest] = {}
        away: list[Limit] = []
        limited: set[EvseKey] = set()
        for index, limit in enumerate(limits):
            key = (limit.charger_id, limit.evse_id)
            if (reason := self._find_refusal(limit, key in limited, now)) is not None:
                refused[index] = self._build_refusal(limit, *reason)
            elif not self._site.is_connected(key):
                refused[index] = self._build_refusal(limit, *_REFUSALS[CommandStatus.NOT_CONNECTED])
                away.append(limit)
            else:
                lifetime = EarlierEnd.until(now, limit.valid_until)
                requests[index] = LimitRequest(key, limit.limit_a, lifetime, Cause.AGENT, limit.phases)
            limited.add(key)
        lease = self._take_lease(commander, now, is_needed=bool(requests or away))
        for limit in away:
            # A charger that comes back gets no more than was wanted of it last.
            state = self._site.limit_states[limit.charger_id, limit.evse_id]
            if state.wanted is not None and limit.limit_a < state.wanted.limit_a:
                state.want(replace(state.wanted, limit_a=limit.limit_a))
        orders = await self._allocator.apply(list(requests.values()), lambda: self._site.override is not None)
        results = tuple(
            refused.get(index) or self._build_result(limit, orders.get((limit.charger_id, limit.evse_id)))
            for index, limit in enumerate(limits)
        )
        self._report(results, commander, decision_id)
        return LimitResults(
            site_id=self._site.rules.settings.id, timestamp=self._clock.now(), lease=lease, results=results
        )

    def _take_lease(self, commander: str, now: Instant, *, is_needed: bool) -> Lease:
        """Return the lease after this call; a call that commands nothing leaves it unchanged."""
        if is_needed:
            self._lease = take_lease(self._lease, commander, now, self._validity.lease_s)
        if self._lease is None:
            return Lease(commander=commander, until=now.wall)
        return self._lease.as_shown(now)

    def _find_refusal(self, limit: Limit, is_second: bool, now: Instant) -> tuple[str, str] | None:
        """Return `limited_by` and the reason of a limit that cannot be tried; None: it can."""
        key = (limit.charger_id, limit.evse_id)
        wiring = self._site.wirings.get(key)
        ahead_s = (limit.valid_until - now.wall) / timedelta(seconds=1)
        shortest_s, longest_s = self._validity.shortest_s, self._validity.longest_s
        checks: list[tuple[bool, str, str]] = [
            (
                0 < limit.limit_a < LEAST_CURRENT_A,
                "least_current",
                f"a car charges with at least {LEAST_CURRENT_A:g} A per phase, or 0",
            ),
            (
                not shortest_s - TRANSIT_TOLERANCE_S <= ahead_s <= longest_s + TRANSIT_TOLERANCE_S,
                "valid_until",
                f"it must lie {shortest_s:g} to {longest_s:g} s ahead, and is {ahead_s:.0f} s ahead",
            ),
            (limit.charger_id not in self._site.chargers, "unknown_charger", "the site has no such charger"),
            (wiring is None, "unknown_evse", "the charger has no such EVSE"),
            (is_second, "duplicate", "an earlier limit of this call is for the same EVSE"),
            (
                wiring is not None and limit.phases not in (None, len(wiring.phases)) and not wiring.can_switch_phases,
                "phases",
                "the EVSE cannot switch phases",
            ),
            (self._site.override is not None, "override", "an operator commands"),
        ]
        return next(((limited_by, reason) for fails, limited_by, reason in checks if fails), None)

    def _build_refusal(self, limit: Limit, limited_by: str, detail: str) -> LimitResult:
        key = (limit.charger_id, limit.evse_id)
        is_known = key in self._site.limit_states
        in_force = self._site.order_in_force(key, read_clock(self._clock)) if is_known else None
        limit_a = None if in_force is None else in_force.limit_a
        if is_known and draws_without_session(self._site.evses[key]):
            limit_a = self._site.limit_states[key].fallback_held_a
        return LimitResult(
            charger_id=limit.charger_id,
            evse_id=limit.evse_id,
            outcome=LimitOutcome.REJECTED,
            limit_a=limit_a,
            limited_by=limited_by,
            detail=detail,
            valid_until=None if in_force is None else in_force.valid_until,
        )

    def _build_result(self, limit: Limit, order: LimitOrder | None) -> LimitResult:
        state = self._site.limit_states[limit.charger_id, limit.evse_id]
        if order is None or state.wanted is not order:
            if self._site.override is not None:
                return self._build_refusal(limit, "override", "an operator commands")
            if state.wanted is not None and state.wanted.limited_by == PROTECTION:
                return self._build_refusal(limit, PROTECTION, "the connection is overloaded")
            return self._build_refusal(limit, "superseded", "a newer order took its place")
        key = (limit.charger_id, limit.evse_id)
        if draws_without_session(self._site.evses[key]):
            return self._build_refusal(
                limit, "no_session", "power is drawn without a session; only the default bounds it"
            )
        is_free = self._site.get_session(key) is None
        if not is_free:
            reply = state.reply if state.answered is order else None
            answer = CommandStatus.NO_ANSWER if reply is None else reply.answer
            if answer is not CommandStatus.ACCEPTED:
                return self._build_refusal(limit, *_REFUSALS[answer])
        is_lowered = order.limited_by is not None
        return LimitResult(
            charger_id=limit.charger_id,
            evse_id=limit.evse_id,
            outcome=LimitOutcome.PARTLY_APPLIED if is_lowered else LimitOutcome.APPLIED,
            limit_a=order.limit_a,
            limited_by=order.limited_by,
            detail="no car is there; it is kept for the next one" if is_free else None,
            valid_until=order.valid_until,
        )

    def _report(self, results: Sequence[LimitResult], commander: str, decision_id: str | None) -> None:
        counts = Counter((result.outcome, result.limited_by or "nothing") for result in results)
        for (outcome, limited_by), number in counts.items():
            self._count(outcome, limited_by, number)
        fields = {"commander": commander, "decision_id": decision_id, "limits": len(results)}
        _logger.info("limits set", extra=fields)
        short = {f"{outcome}/{by}": number for (outcome, by), number in counts.items() if by != "nothing"}
        if short:
            _logger.warning("limits not applied as asked", extra=fields | {"outcomes": short})
