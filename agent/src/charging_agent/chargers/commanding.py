"""Sets the limits of a plan with one call, and says what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from charging_agent.calls import OK
from charging_agent.chargers.apis import MOST_LIMITS, setting
from charging_agent.exchange import CallFailed
from charging_agent.gateway import GatewayClient
from charging_agent.sharing import Allotment, CarKey
from ev_service.charging import Lease, Limit, LimitResult
from ev_service.clock import Clock

OVERRIDE = "override"
"""Outcome where nothing was sent because an operator commands."""

_SHORTEST_VALIDITY_S, _LONGEST_VALIDITY_S = 45.0, 3600.0
"""What the charger service takes."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """One try to set limits.

    at: when. decision_id: the decision that they come from; None: of no recorded one, and then they were all 0.
    outcome: `ok`, one word of `readings.Trouble`, or `override`. detail: what the service said of it.
    valid_until: when the limits lapse. lease: who commands, and until when.
    asked: the limits as asked. results: what came of them, in the same order; fewer where a call failed.
    """

    at: datetime
    decision_id: str | None
    outcome: str
    valid_until: datetime
    asked: tuple[Allotment, ...]
    results: tuple[LimitResult, ...] = ()
    lease: Lease | None = None
    detail: str | None = None

    def in_force_a(self) -> dict[CarKey, float]:
        """The limits that are known to be in force by this [A]."""
        known = ((result.charger_id, result.evse_id, result.limit_a) for result in self.results)
        return {(charger_id, evse_id): limit_a for charger_id, evse_id, limit_a in known if limit_a is not None}


def valid_for_s(period_s: float) -> float:
    """How long limits live [s] that are set every `period_s`: three periods, within what the service takes."""
    return min(_LONGEST_VALIDITY_S, max(_SHORTEST_VALIDITY_S, 3 * period_s))


class Commander:
    """Commands the chargers of the site, as long as nobody else does.

    Args:
        gateway: makes the call.
        clock: the run's clock.
        name: who commands; the same over restarts, so that its own lease does not lock it out.
        period_s: limits are set this often [s].
    """

    def __init__(self, gateway: GatewayClient, clock: Clock, name: str, period_s: float) -> None:
        self._gateway = gateway
        self._clock = clock
        self._name = name
        self._valid_for = timedelta(seconds=valid_for_s(period_s))

    async def command(self, limits: Sequence[Allotment], decision_id: str, *, is_recorded: bool = True) -> Commanded:
        """Set limits; never fails, whatever gateway and service do.

        Args:
            limits: the important ones first.
            decision_id: the decision that they come from.
            is_recorded: whether that decision is in the ledger.
        """
        at = self._clock.now()
        valid_until = at + self._valid_for
        results: list[LimitResult] = []
        lease, outcome, detail = None, OK, None
        try:
            for start in range(0, len(limits), MOST_LIMITS):
                part = [_limit(one, valid_until) for one in limits[start : start + MOST_LIMITS]]
                answered = await self._gateway.ask(setting(part, self._name, decision_id))
                results += answered.results
                lease = answered.lease
        except CallFailed as failure:
            outcome, detail = failure.trouble.value, failure.detail
        source = decision_id if is_recorded else None
        return Commanded(at, source, outcome, valid_until, tuple(limits), tuple(results), lease, detail)

    def held_back(self, limits: Sequence[Allotment], decision_id: str, detail: str) -> Commanded:
        """Nothing is sent, because an operator commands."""
        at = self._clock.now()
        return Commanded(at, decision_id, OVERRIDE, at + self._valid_for, tuple(limits), detail=detail)


def _limit(allotment: Allotment, valid_until: datetime) -> Limit:
    charger_id, evse_id = allotment.key
    return Limit(
        charger_id=charger_id,
        evse_id=evse_id,
        limit_a=allotment.limit_a,
        phases=allotment.phases,
        valid_until=valid_until,
    )
