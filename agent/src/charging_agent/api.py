"""The routes that AgentAPI publishes: parse, call, answer."""

from fastapi import APIRouter, Response

from charging_agent.agent import Agent
from charging_agent.wire import DecisionAnswer, answer
from ev_service.web import through_gateway

APICONTEXT = "/agent/1.0.0"


def agent_routes(agent: Agent, site_id: str) -> APIRouter:
    """Make the routes of one agent."""
    router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["charging"])

    @router.get(
        "/optimize-charging",
        operation_id="optimizeCharging",
        summary="How much power may each charging point give now?",
        response_model=DecisionAnswer,
        response_model_exclude_none=True,
    )
    async def optimize_charging() -> Response:
        """Decide from the newest readings of sun, battery and grid. Always 200 within 8 s.

        Decides and answers, commands nothing. Where readings are stale or missing it says so (`degraded`, and
        `error` in each reading) and the power is a safe one: without a grid reading younger than 60 s it is 0.
        """
        decided = answer(await agent.decide_now(), site_id)
        return Response(decided.model_dump_json(exclude_none=True), media_type="application/json")

    return router
