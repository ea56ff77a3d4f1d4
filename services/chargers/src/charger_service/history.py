"""Ended sessions that are still stored: by pseudonym for agents, by token and name for operators."""

from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from charger_service.drivers import Drivers
from charger_service.evse_facts import ChargingSession
from charger_service.persistence import EndedSession, parse_ended_sessions
from charger_service.site import ChargingSite
from charger_service.store import StateStore
from charger_service.views import ChargerViews, to_session
from ev_service.charging import Sessions
from ev_service.clock import Clock
from ev_service.errors import EvError
from ev_service.units import UtcTimestamp

MOST_SESSIONS = 1000
"""How many ended sessions one answer has at most."""


class SessionsNotReadableError(EvError):
    """The sessions that are over cannot be read."""

    code: ClassVar[str] = "sessions_not_readable"
    http_status: ClassVar[int] = 507


class SessionRecord(BaseModel):
    """One session that is over, with the driver's token and name."""

    model_config = ConfigDict(frozen=True)

    session_id: str = Field(description="Name of the session.")
    charger_id: str = Field(description="The charger.", examples=["CP-1"])
    evse_id: int = Field(description="Its EVSE.", examples=[1])
    driver_id: str | None = Field(description="Pseudonym of the driver, as agents see it; null: no token.")
    id_token: str | None = Field(description="The token that was presented; null: none.")
    name: str | None = Field(description="The name that the list of tokens gives it now; null: none.")
    started_at: UtcTimestamp = Field(description="When it began, UTC.")
    ended_at: UtcTimestamp = Field(description="When it ended, UTC.")
    is_end_inferred: bool = Field(
        description="Whether it ended because its EVSE said that nobody is there, without a transaction's end."
    )
    energy_kwh: float = Field(ge=0, description="Energy charged [kWh].", examples=[7.5])


class SessionRecords(BaseModel):
    """Sessions that are over, in the order of their ends."""

    model_config = ConfigDict(frozen=True)

    site_id: str = Field(description="The site.", examples=["greensboro"])
    sessions: list[SessionRecord] = Field(description="The sessions, the first to end first.")
    next_since: UtcTimestamp | None = Field(
        description="Where there are more: `since` of the next page, which repeats those that ended at that moment."
    )


class SessionHistory:
    """Reads the sessions that are over.

    Args:
        site: what is known and ordered.
        views: for the running sessions.
        store: where they are kept.
        drivers: names of tokens.
        clock: the run's clock.
    """

    def __init__(
        self, site: ChargingSite, views: ChargerViews, store: StateStore, drivers: Drivers, clock: Clock
    ) -> None:
        self._site, self._views, self._store = site, views, store
        self._drivers, self._clock = drivers, clock

    async def sessions(self, since: datetime | None) -> Sessions:
        """The running sessions; after those that ended since then, at most 1,000, where a time is given.

        Raises:
            SessionsNotReadableError: the state is damaged, or the disk does not answer.
        """
        running = self._views.sessions()
        if since is None:
            return running
        over = [
            to_session(one.key, one.session).model_copy(update={"ended_at": one.ended_at})
            for one in await self._read_ended(since, MOST_SESSIONS)
        ]
        return running.model_copy(update={"sessions": (*over, *running.sessions)})

    async def records(self, since: datetime, limit: int) -> SessionRecords:
        """Sessions that ended since then, with tokens and names.

        Raises:
            SessionsNotReadableError: the state is damaged, or the disk does not answer.
        """
        found = await self._read_ended(since, limit + 1)
        more = found[limit:]
        return SessionRecords(
            site_id=self._site.rules.settings.id,
            sessions=[self._record(one) for one in found[:limit]],
            next_since=found[limit - 1].ended_at if more else None,
        )

    async def _read_ended(self, since: datetime, limit: int) -> list[EndedSession]:
        rows = await self._store.read_ended_since(since, limit)
        if rows is None:
            raise SessionsNotReadableError(self._store.write_error() or "the sessions that are over cannot be read now")
        return parse_ended_sessions(rows)

    def _record(self, one: EndedSession) -> SessionRecord:
        session: ChargingSession = one.session
        driver = session.driver
        return SessionRecord(
            session_id=session.session_id,
            charger_id=one.key[0],
            evse_id=one.key[1],
            driver_id=driver and driver.driver_id,
            id_token=driver and driver.id_token,
            name=driver and self._drivers.name_of(driver.id_token),
            started_at=session.started_at,
            ended_at=one.ended_at,
            is_end_inferred=session.is_end_inferred,
            energy_kwh=round(session.energy_kwh, 3),
        )
