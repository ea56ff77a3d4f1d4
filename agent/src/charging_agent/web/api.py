"""The routes that AgentAPI publishes: parse, call, answer. All of them read; none commands anything."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from charging_agent.agent import Agent
from charging_agent.decision.explanations import explain_record
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.records import Entry
from charging_agent.web.charger_schemas import build_chargers_answer
from charging_agent.web.plan_schemas import NoPlanYetError, PlanAnswer, build_plan_answer
from charging_agent.web.schemas import (
    DecisionAnswer,
    DecisionList,
    Explanation,
    SiteStatusAnswer,
    build_decision_answer,
    build_decision_list,
    build_site_status,
)
from ev_service.clock import Clock
from ev_service.web import through_gateway

APICONTEXT = "/agent/1.0.0"

_DecisionId = Annotated[UUID, Path(description="Name of the decision, as other answers give it.")]
_Limit = Annotated[int, Query(ge=1, le=100, description="How many at the most.")]
_Before = Annotated[int | None, Query(ge=1, description="Only decisions with a smaller sequence number.")]


def create_agent_routes(agent: Agent, ledger: Ledger, site_id: str, clock: Clock) -> APIRouter:
    """Make the routes of one agent."""
    router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["agent"])
    router.include_router(_create_decision_routes(agent, site_id))
    router.include_router(_create_status_routes(agent, site_id, clock))
    router.include_router(_create_plan_routes(agent, site_id))
    router.include_router(_create_list_routes(ledger))
    router.include_router(_create_record_routes(ledger))
    return router


def _create_decision_routes(agent: Agent, site_id: str) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/optimize-charging",
        operation_id="optimize_charging",
        summary="How much power may each charging point give now?",
        response_model=DecisionAnswer,
        response_model_exclude_none=True,
    )
    async def optimize_charging() -> Response:
        """Decide from the newest readings of sun, battery and grid. Always 200 within 8 s.

        Decides, records and answers, commands nothing. Where readings are stale or missing it says so (`degraded`,
        and `error` in each reading) and the power is a safe one: without a grid reading younger than 60 s it is 0.
        Asking again before anything changed gives the same `decision_id`.
        """
        decided = build_decision_answer(await agent.decide_now(), site_id)
        return Response(decided.model_dump_json(exclude_none=True), media_type="application/json")

    return router


def _create_status_routes(agent: Agent, site_id: str, clock: Clock) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/site-status",
        operation_id="site_status",
        summary="What is known of the site now, and what was decided last?",
        response_model_exclude_none=True,
    )
    async def get_site_status() -> SiteStatusAnswer:
        """The readings held, the latest decision and the cars, without a new look and without a new decision.

        Costs no call of the site's budget. `trouble` says why the readings allow no charging, where that is so. For a
        decision from fresh readings use optimize_charging. `chargers` tells what each car may take and draws, who
        limited it, and whether limits can be set.
        """
        chargers = None if agent.charging is None else build_chargers_answer(agent.charging)
        return build_site_status(
            site_id, clock.now(), agent.current_observation(), agent.health_error(), agent.latest, chargers
        )

    return router


def _create_plan_routes(agent: Agent, site_id: str) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/plan",
        operation_id="get_plan",
        summary="Which car gets how much power when, and why?",
        response_model=PlanAnswer,
        response_model_exclude_none=True,
    )
    async def get_plan() -> PlanAnswer:
        """The plan that the present limits follow from, without a new look and without a new decision.

        Each car has its powers of the next 24 h and one sentence that says why. With the policy `rules`, and where the
        rules took over, there are no cars and `reason` says so. 404 with code `no_plan_yet` before the first limits.
        """
        if agent.latest_round is None:
            raise NoPlanYetError("No limits were set yet; the agent plans in each of its rounds.")
        return build_plan_answer(agent.latest_round, site_id)

    return router


def _create_list_routes(ledger: Ledger) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/decisions",
        operation_id="list_decisions",
        summary="Which decisions were made?",
        response_model=DecisionList,
    )
    async def list_decisions(limit: _Limit = 20, before: _Before = None) -> Response:
        """Recorded decisions in short, newest first.

        For older ones ask again with `before` set to `next_before` of the answer. A decision stands here once,
        however many asked while nothing changed. 503 with code `ledger_busy` and `Retry-After` when too many ask.
        """
        page = build_decision_list(await ledger.summaries(limit, before))
        return Response(page.model_dump_json(exclude_none=True), media_type="application/json")

    return router


def _create_record_routes(ledger: Ledger) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/decisions/{decision_id}",
        operation_id="get_decision",
        summary="What exactly was decided, from what?",
        response_model=Entry,
    )
    async def get_decision(decision_id: _DecisionId) -> Response:
        """The whole signed record of one decision: readings, calls, policy, power, reason, hash and signature.

        The body is one line of the ledger's export, byte for byte: it can be verified without this service. 404 with
        code `unknown_decision` when there is none of that name.
        """
        return Response((await ledger.find(decision_id)).line, media_type="application/json")

    @router.get(
        "/decisions/{decision_id}/explain",
        operation_id="explain_decision",
        summary="Why was it decided so?",
    )
    async def explain_decision(decision_id: _DecisionId) -> Explanation:
        """One decision in plain sentences: what was read, which threshold it met, who refused, which rule decided.

        Made from the signed record alone. 404 with code `unknown_decision` when there is none of that name.
        """
        return explain_record(await ledger.find_entry(decision_id))

    return router
