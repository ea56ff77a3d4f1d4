"""Routes of SiteAPI: the record of kills, the site's limit, departures, the override, and ended sessions."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from charger_service.audit_log import KillAuditLog
from charger_service.history import MOST_SESSIONS, SessionHistory, SessionRecords
from charger_service.kill_audit import Act, Acts, AuthenticatedCaller, RecordedAct
from charger_service.operator_service import OperatorService
from charger_service.orders import (
    DepartureOrder,
    ModeOrder,
    Orders,
    OverrideOrder,
    OverrideState,
    SiteLimit,
    SiteLimitOrder,
)
from ev_service.assertion import Caller
from ev_service.charging import Session
from ev_service.units import UtcTimestamp
from ev_service.web import through_gateway

APICONTEXT = "/site/1.0.0"


def site_routes(kills: KillAuditLog, operator_service: OperatorService, history: SessionHistory) -> APIRouter:
    """Build the routes of people who operate the site."""
    through = through_gateway(APICONTEXT)
    router = APIRouter(dependencies=[through], tags=["site"])
    _add_kills(router, kills, through)
    _add_limits(router, operator_service, through)
    _add_modes(router, operator_service, through)
    _add_override(router, operator_service, through)
    _add_history(router, history)
    return router


def _to_authenticated_caller(caller: Caller | None) -> AuthenticatedCaller | None:
    return None if caller is None else AuthenticatedCaller(application=caller.application, user=caller.user)


def _add_kills(router: APIRouter, kills: KillAuditLog, through: Any) -> None:
    @router.post(
        "/kills",
        operation_id="recordKill",
        summary="Record that an application was stopped, or may go on",
        status_code=201,
    )
    async def record_kill(act: Act, response: Response, caller: Annotated[Caller | None, through]) -> RecordedAct:
        """Adds the act to the record, which nobody can change; it is on disk when this answers.

        `proved` is the gateway's word for who called. The same `act_id` again answers 200 with the act recorded first.
        507 says that the act could not be kept.
        """
        recorded, is_new = await kills.add(act, _to_authenticated_caller(caller))
        if not is_new:
            response.status_code = 200
        return recorded

    @router.get("/kills", operation_id="listKills", summary="Who stopped which application, when and why?")
    async def list_kills(
        limit: Annotated[int, Query(ge=1, le=100, description="How many acts at most.")] = 20,
        before: Annotated[
            int | None, Query(ge=1, description="Only acts whose number is lower; `next_before` of the page before.")
        ] = None,
    ) -> Acts:
        """Acts of stopping and of letting go on, the newest first."""
        return await kills.page(limit, before)


def _add_limits(router: APIRouter, operator_service: OperatorService, through: Any) -> None:
    @router.put("/site/limit", operation_id="setSiteLimit", summary="Lower what the whole site may draw, or undo it")
    async def set_site_limit(order: SiteLimitOrder, caller: Annotated[Caller | None, through]) -> SiteLimit:
        """Holds building and cars together to a lower limit, until it is changed again.

        It acts at once, without any agent: chargers are lowered where their sum would pass it, and agents read it as
        `site_limit_kw`. It cannot be higher than the site's configured limit (422). `limit_kw` null goes back to that.
        """
        return await operator_service.set_site_limit(order, _to_authenticated_caller(caller))

    @router.put(
        "/sessions/{session_id}/departure",
        operation_id="setDeparture",
        summary="Say when a car leaves, and what it needs until then",
        response_model_exclude_none=True,
    )
    async def set_departure(
        session_id: Annotated[str, Path(max_length=64, description="The session, as `GET /sessions` names it.")],
        order: DepartureOrder,
        caller: Annotated[Caller | None, through],
    ) -> Session:
        """Tells agents what a car needs; it stands above what the car itself said. 404: no such session runs."""
        return await operator_service.set_departure(session_id, order, _to_authenticated_caller(caller))


def _add_modes(router: APIRouter, operator_service: OperatorService, through: Any) -> None:
    @router.put(
        "/sessions/{session_id}/mode",
        operation_id="setMode",
        summary="Say how a car is to be charged",
        response_model_exclude_none=True,
    )
    async def set_mode(
        session_id: Annotated[str, Path(max_length=64, description="The session, as `GET /sessions` names it.")],
        order: ModeOrder,
        caller: Annotated[Caller | None, through],
    ) -> Session:
        """Tells agents whether a car charges fast, by departure, or from the sun; until its session ends.

        No mode gives more than limits, decision and protection allow. 404: no such session runs.
        """
        return await operator_service.set_mode(session_id, order, _to_authenticated_caller(caller))


def _add_history(router: APIRouter, history: SessionHistory) -> None:
    @router.get("/session-records", operation_id="listSessionRecords", summary="Who charged, where, when and how much?")
    async def list_session_records(
        since: Annotated[UtcTimestamp, Query(description="Sessions that ended then or later, UTC.")],
        limit: Annotated[int, Query(ge=1, le=MOST_SESSIONS, description="How many at most.")] = MOST_SESSIONS,
    ) -> SessionRecords:
        """Sessions that are over, the first to end first, with token and name of the driver.

        They are kept for as long as CHARGERS_SESSIONS_KEPT_DAYS says. Only operators see tokens and names.
        """
        return await history.records(since, limit)


def _add_override(router: APIRouter, operator_service: OperatorService, through: Any) -> None:
    @router.put("/override", operation_id="setOverride", summary="Command all cars yourself, above every agent")
    async def set_override(order: OverrideOrder, caller: Annotated[Caller | None, through]) -> OverrideState:
        """Stops all cars, or gives each a fixed power, for some minutes; `none` ends that.

        It acts at once and without any agent, and ends by itself. While it is in force limits of agents are rejected.
        Limits of site, phases, feeders and chargers bind it, too: a fixed power that does not fit is lowered.
        """
        return await operator_service.set_override(order, _to_authenticated_caller(caller))

    @router.get("/override", operation_id="getOverride", summary="Does an operator command the cars now?")
    async def get_override() -> OverrideState:
        """The override in force: who ordered what, why, and until when."""
        return operator_service.override_state()

    @router.get("/orders", operation_id="listOrders", summary="Who ordered what of the site, when and why?")
    async def list_orders(
        limit: Annotated[int, Query(ge=1, le=100, description="How many orders at most.")] = 20,
        before: Annotated[
            int | None, Query(ge=1, description="Only orders whose number is lower; `next_before` of the page before.")
        ] = None,
    ) -> Orders:
        """Orders of operators, the newest first: site limits, departures and overrides."""
        return await operator_service.orders(limit, before)
