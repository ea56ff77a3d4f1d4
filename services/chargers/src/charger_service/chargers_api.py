"""Routes of ChargerAPI: chargers, their EVSEs, and sessions."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from charger_service.history import SessionHistory
from charger_service.session_forecasting import SessionForecasting
from charger_service.views import ChargerViews
from ev_service.charging import ChargerDetails, Chargers, Sessions
from ev_service.session_forecasts import SessionForecasts
from ev_service.units import UtcTimestamp
from ev_service.web import through_gateway

APICONTEXT = "/chargers/1.0.0"
Identity = Annotated[str, Path(max_length=48, description="Identity of the charger.", examples=["CP-1"])]


def charger_routes(views: ChargerViews, history: SessionHistory, forecasting: SessionForecasting) -> APIRouter:
    """Build the routes of ChargerAPI."""
    router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["chargers"])

    # async without waiting: everything is in memory, and a thread would cost more than the answer.
    @router.get(
        "/chargers",
        operation_id="listChargers",
        summary="What do the chargers do, and under which limits do they share?",
        response_model_exclude_none=True,
    )
    async def list_chargers() -> Chargers:
        """All chargers with their EVSEs, limits in force, newest meter values and sessions, and the site's limits.

        One call tells everything that a plan needs. `limit_a` is what the charger was told, `is_confirmed` whether it
        agreed; `measured` shows whether the car keeps to it. While `override` is there limits of agents are rejected.
        """
        return views.chargers()

    @router.get(
        "/chargers/{charger_id}",
        operation_id="getCharger",
        summary="What does one charger do?",
        response_model_exclude_none=True,
    )
    async def get_charger(charger_id: Identity) -> ChargerDetails:
        """One charger as `GET /chargers` tells it, and how its messages break the schema of OCPP.

        404 when the site has none of this identity.
        """
        return views.charger(charger_id)

    _add_sessions(router, history)
    _add_forecasts(router, forecasting)
    return router


def _add_sessions(router: APIRouter, history: SessionHistory) -> None:
    @router.get(
        "/sessions",
        operation_id="listSessions",
        summary="Which cars are there, since when, and what do they want?",
        response_model_exclude_none=True,
    )
    async def list_sessions(
        since: Annotated[
            UtcTimestamp | None,
            Query(description="Also sessions that ended then or later, before the running ones, at most 1,000; UTC."),
        ] = None,
    ) -> Sessions:
        """The running sessions, the oldest first.

        With `since` those that are over come first, by their end; they have `ended_at`. Drivers go by a pseudonym.
        Energy wanted and departure are absent where neither the car nor an operator has told them.
        """
        return await history.sessions(since)


def _add_forecasts(router: APIRouter, forecasting: SessionForecasting) -> None:
    @router.get(
        "/session-forecasts",
        operation_id="getSessionForecasts",
        summary="When will the cars leave, how much will they take, and how many will come?",
        response_model_exclude_none=True,
    )
    async def get_session_forecasts(
        hours: Annotated[int, Query(ge=1, le=48, description="For how many hours arrivals are forecast.")] = 24,
    ) -> SessionForecasts:
        """Departure and energy of each running session with quantiles, and the arrivals of each hour to come.

        It is learned from the sessions that are over: those of the driver, of the EVSE and of the site, as far as there
        are any. Drivers' entries count as what they proved to be worth. Energy is that of the whole session.
        """
        return await forecasting.forecast(hours)
