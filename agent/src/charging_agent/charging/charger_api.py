"""The two APIs of the chargers: reads all chargers, sets limits, and reports the result.

Always over REST, whatever the protocol of the readings. The names are those of the artifacts under wso2/; a contract
test compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from charging_agent.charging.fleet import car_name
from charging_agent.charging.meter_checks import Alarms
from charging_agent.charging.planning import ChargingPlan
from charging_agent.charging.sharing import Allotment, CarKey
from charging_agent.gateway.calls import OK, ApiRequest, GatewayCallError, ModelRequest, PublishedApi
from charging_agent.gateway.client import GatewayClient
from charging_agent.readings.assessment import AssessedReading
from ev_service.charging import LEAST_CURRENT_A, Chargers, Lease, Limit, LimitOutcome, LimitResult, LimitResults
from ev_service.clock import Clock
from ev_service.units import utc_text

CHARGERS = PublishedApi("ChargerAPI", "/chargers/1.0.0/chargers", "chargers:read", "GET /chargers/1.0.0/chargers")
LIMITS = PublishedApi(
    "ChargerControlAPI", "/charger-control/1.0.0/limits", "chargers:control", "PUT /charger-control/1.0.0/limits"
)
CHARGER_APIS = (CHARGERS, LIMITS)

MAX_LIMITS_PER_CALL = 1000
"""As many as one call takes."""

_LARGEST_BYTES = 4 * 1024 * 1024
"""A thousand chargers with one EVSE each are about one MiB."""

_COMMAND_S = 8.0
"""The service waits for chargers twice, for reductions and for increases, by default 3 s each."""

_LIMITS_JSON = TypeAdapter(tuple[Limit, ...])

OVERRIDE = "override"
"""Outcome where nothing was sent because an operator commands."""

MIN_VALIDITY_S, _MAX_VALIDITY_S = 45.0, 3600.0
"""How long a limit may live, as the charger service takes it [s]."""

MAX_CARS_LOGGED = 100
"""In one log line; the ledger has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _LimitsRequest(ApiRequest[LimitResults]):
    """Request that sets limits; repeating it does no harm."""

    count: int
    """Number of limits, which is that of the results."""

    def parse_response(self, body: bytes) -> LimitResults:
        response = LimitResults.model_validate_json(body)
        if len(response.results) != self.count:
            raise ValueError(f"{len(response.results)} results for {self.count} limits")
        return response


def build_read_request() -> ApiRequest[Chargers]:
    """Build the request for all chargers with their cars."""
    return ModelRequest(
        name=CHARGERS.name,
        resource=CHARGERS.resource,
        method="GET",
        path=CHARGERS.path,
        max_bytes=_LARGEST_BYTES,
        model=Chargers,
    )


def build_limits_request(limits: Sequence[Limit], commander: str, decision_id: str) -> ApiRequest[LimitResults]:
    """Build the request that sets limits, at most `MAX_LIMITS_PER_CALL`.

    Args:
        limits: the important ones first.
        commander: who commands, for the lease.
        decision_id: the decision that they come from.
    """
    return _LimitsRequest(
        name=LIMITS.name,
        resource=LIMITS.resource,
        method="PUT",
        path=LIMITS.path,
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        content=_LIMITS_JSON.dump_json(tuple(limits), exclude_none=True),
        query={"commander": commander, "decision_id": decision_id},
        max_bytes=_LARGEST_BYTES,
        timeout_s=_COMMAND_S,
        count=len(limits),
    )


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Result of one attempt to set limits."""

    at: datetime
    """Time of the attempt."""
    decision_id: str
    """Decision that the limits come from."""
    outcome: str
    """`ok`, a value of `FailureReason`, or `override`."""
    valid_until: datetime
    """Time at which the limits lapse."""
    requested: tuple[Allotment, ...]
    """Requested limits."""
    results: tuple[LimitResult, ...] = ()
    """Results in the order of `requested`; fewer where a call failed."""
    lease: Lease | None = None
    """Who commands the chargers, and until when."""
    detail: str | None = None
    """Explanation by the charger service or the agent, if any."""

    def log_fields(self) -> dict[str, str | None]:
        """Format the result for one log line, however many cars there are."""
        answered = (*self.results, *[None] * (len(self.requested) - len(self.results)))
        cars = [_format_limit(asked, result) for asked, result in zip(self.requested, answered, strict=True)]
        more = f"; and {len(cars) - MAX_CARS_LOGGED} more" if len(cars) > MAX_CARS_LOGGED else ""
        return {
            "outcome": self.outcome,
            "detail": self.detail,
            "decision_id": self.decision_id,
            "cars": "; ".join(cars[:MAX_CARS_LOGGED]) + more,
            "valid_until": utc_text(self.valid_until.replace(microsecond=0)),
        }

    def in_force_a(self) -> dict[CarKey, float]:
        """Limits that are known to be in force after this attempt [A per phase]."""
        known = ((result.charger_id, result.evse_id, result.limit_a) for result in self.results)
        return {(charger_id, evse_id): limit_a for charger_id, evse_id, limit_a in known if limit_a is not None}


@dataclass(frozen=True, slots=True)
class LoweredLimit:
    """The lower of plan and limit in force for one car, or 0 [A per phase]."""

    key: CarKey
    """Charger and EVSE."""
    planned_a: float
    """Limit of the plan [A per phase]."""
    in_force_a: float
    """Limit in force, as far as known [A per phase]."""
    phases: int | None
    """Number of phases to charge on; None: as wired."""

    @property
    def limit_a(self) -> float:
        # Written so that what is no number is 0 as well; nothing between 0 and the least current is a limit.
        if self.planned_a >= LEAST_CURRENT_A and self.in_force_a >= LEAST_CURRENT_A:
            return min(self.planned_a, self.in_force_a)
        return 0.0


@dataclass(frozen=True, slots=True)
class LoweredLimits:
    """Limits that are sent before their decision is in the ledger."""

    reason: str
    """Why the decision could not be recorded in time."""
    valid_until: datetime
    """Time at which these limits lapse."""
    limits: tuple[LoweredLimit, ...]
    """Limits in the order of the plan."""

    @property
    def is_stop(self) -> bool:
        """Whether all limits are 0."""
        return all(one.limit_a == 0 for one in self.limits)

    @property
    def allotments(self) -> tuple[Allotment, ...]:
        """The limits as they are commanded."""
        return tuple(Allotment(one.key, one.limit_a, one.phases) for one in self.limits)


def _format_limit(asked: Allotment, result: LimitResult | None) -> str:
    """One limit as the log tells it: `CP-1/1 16 A`, or `CP-1/1 16 A (charger_limit), applied 10 A (feeder_limit)`."""
    why = f" ({asked.limited_by.value})" if asked.limited_by else ""
    text = f"{car_name(asked.key)} {asked.limit_a:g} A{why}"
    if result is None or result.outcome is LimitOutcome.APPLIED:
        return text
    limit = "" if result.limit_a is None else f" {result.limit_a:g} A"
    return f"{text}, {result.outcome.value}{limit} ({result.limited_by})"


def compute_validity_s(period_s: float) -> float:
    """Compute the validity of limits that are set every `period_s`: three periods within the service's bounds [s]."""
    return min(_MAX_VALIDITY_S, max(MIN_VALIDITY_S, 3 * period_s))


class LimitSetter:
    """Commands the chargers of the site, as long as nobody else does.

    Args:
        gateway: makes the call.
        clock: the run's clock.
        name: who commands; the same over restarts, so that its own lease does not lock it out.
    """

    def __init__(self, gateway: GatewayClient, clock: Clock, name: str) -> None:
        self._gateway = gateway
        self._clock = clock
        self._name = name

    async def set_limits(self, limits: Sequence[Allotment], decision_id: str, valid_until: datetime) -> CommandResult:
        """Set limits; never fails, whatever gateway and service do.

        Args:
            limits: the important ones first.
            decision_id: the decision that they come from.
            valid_until: when they lapse.
        """
        at = self._clock.now()
        results: list[LimitResult] = []
        lease, outcome, detail = None, OK, None
        try:
            for start in range(0, len(limits), MAX_LIMITS_PER_CALL):
                part = [_build_limit(one, valid_until) for one in limits[start : start + MAX_LIMITS_PER_CALL]]
                answered = await self._gateway.send(build_limits_request(part, self._name, decision_id))
                results += answered.results
                lease = answered.lease
        except GatewayCallError as failure:
            outcome, detail = failure.reason.value, failure.detail
        return CommandResult(at, decision_id, outcome, valid_until, tuple(limits), tuple(results), lease, detail)

    def skip(self, limits: Sequence[Allotment], decision_id: str, valid_until: datetime, detail: str) -> CommandResult:
        """Report that no limits were sent because an operator commands."""
        return CommandResult(self._clock.now(), decision_id, OVERRIDE, valid_until, tuple(limits), detail=detail)


def _build_limit(allotment: Allotment, valid_until: datetime) -> Limit:
    charger_id, evse_id = allotment.key
    return Limit(
        charger_id=charger_id,
        evse_id=evse_id,
        limit_a=allotment.limit_a,
        phases=allotment.phases,
        valid_until=valid_until,
    )


@dataclass(frozen=True, slots=True)
class RoundSnapshot:
    """The chargers at the time of a decision."""

    reading: AssessedReading[Chargers]
    """Assessed reading of the chargers."""
    alarms: Alarms
    """Deviations from what was commanded."""
    plan: ChargingPlan | None
    """Limits that the decision leads to; None where there are none."""
    command: CommandResult | None
    """Last attempt to set limits that is in no record yet."""

    @property
    def at(self) -> datetime | None:
        return None if self.reading.reading is None else self.reading.reading.timestamp
