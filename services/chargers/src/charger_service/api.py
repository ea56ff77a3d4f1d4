"""The routes that SiteAPI publishes: the record of kills."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from charger_service.kill_audit import Act, Acts, AuthenticatedCaller, RecordedAct
from charger_service.kill_audit_log import KillAuditLog
from ev_service.assertion import Caller
from ev_service.web import through_gateway

APICONTEXT = "/site/1.0.0"


def site_routes(record: KillAuditLog) -> APIRouter:
    """Make the routes over one record."""
    door = through_gateway(APICONTEXT)
    router = APIRouter(dependencies=[door], tags=["site"])

    # Plain functions: they wait for the disk, in a thread of their own.
    @router.post(
        "/kills",
        operation_id="recordKill",
        summary="Record that an application was stopped, or may go on",
        status_code=201,
    )
    def record_kill(act: Act, response: Response, caller: Annotated[Caller | None, door]) -> RecordedAct:
        """Adds the act to the record, which nobody can change; it is on disk when this answers.

        `proved` is the gateway's word for who called. The same `act_id` again answers 200 with the act recorded first.
        507 says that the act could not be kept.
        """
        proved = None if caller is None else AuthenticatedCaller(application=caller.application, user=caller.user)
        recorded, is_new = record.add(act, proved)
        if not is_new:
            response.status_code = 200
        return recorded

    @router.get("/kills", operation_id="listKills", summary="Who stopped which application, when and why?")
    def list_kills(
        limit: Annotated[int, Query(ge=1, le=100, description="How many acts at most.")] = 20,
        before: Annotated[
            int | None, Query(ge=1, description="Only acts whose number is lower; `next_before` of the page before.")
        ] = None,
    ) -> Acts:
        """Acts of stopping and of letting go on, the newest first."""
        return record.page(limit, before)

    return router
