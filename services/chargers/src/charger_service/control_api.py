"""Routes of ChargerControlAPI: setting limits."""

from typing import Annotated

from fastapi import APIRouter, Body, Query

from charger_service.limit_service import LimitService
from ev_service.assertion import Caller
from ev_service.charging import Limit, LimitResults
from ev_service.web import through_gateway

APICONTEXT = "/charger-control/1.0.0"
MOST_LIMITS = 1000
_NAME = r"^[\w.:@ -]*$"


Limits = Annotated[
    list[Limit],
    Body(min_length=1, max_length=MOST_LIMITS, description="The limits; where not all fit, earlier ones come first."),
]
CommanderName = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=64,
        pattern=_NAME,
        description="Which of the calling application's commanders this is; absent: it has one.",
        examples=["agent-1"],
    ),
]
DecisionId = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=64,
        pattern=_NAME,
        description="The decision that the limits come from, for the service's log.",
    ),
]


def control_routes(limit_service: LimitService) -> APIRouter:
    """Build the routes of ChargerControlAPI."""
    through = through_gateway(APICONTEXT)
    router = APIRouter(dependencies=[through], tags=["charger-control"])

    @router.put(
        "/limits",
        operation_id="setLimits",
        summary="Set the charging limits of any number of chargers in one call",
        response_model_exclude_none=True,
    )
    async def set_limits(
        limits: Limits,
        caller: Annotated[Caller | None, through],
        commander: CommanderName = None,
        decision_id: DecisionId = None,
    ) -> LimitResults:
        """Sets limits [A per phase], and answers what came of each, in the order asked.

        A limit is 0 (pauses and keeps the session) or at least 6 A. It lapses at `valid_until`, which lies at least as
        far ahead as three periods of the caller and at most an hour; the EVSE then falls to its `fallback_a`. Send
        limits again before they lapse; an EVSE that is left out keeps what it has.

        Limits of site, phases, feeders and chargers bind whoever calls: what does not fit is lowered
        (`partly_applied`, with `limited_by`), or becomes 0. Reductions are sent first, and increases only from what is
        confirmed to be free. `applied`: the charger accepted it, or there is no car yet and it is kept for the next
        one. `rejected`: it is not in force, and `limited_by` says why.

        409 `leased`: somebody else commands; the detail names who, and until when. A call of which nothing is left to
        do (every limit rejected for what it says itself, or under an override) neither needs the lease nor takes it.
        """
        # The application comes from the gateway, so that nobody commands in another's name.
        names = [name for name in (caller and caller.application, commander) if name]
        return await limit_service.set_limits(limits, "/".join(names)[:64] or "anyone", decision_id)

    return router
