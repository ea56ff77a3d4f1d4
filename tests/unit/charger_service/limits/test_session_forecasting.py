"""Forecasts of running sessions at the charger service, from the sessions that it has stored."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.chargers_api import charger_routes
from charger_service.drivers import Driver
from charger_service.evse_facts import ChargingSession
from charger_service.ports import TransactionStarted
from charger_service.store import Changes, Row
from ev_service.charging import EvseState
from ev_service.session_forecasts import SessionForecasts
from ev_service.units import utc_text

pytestmark = pytest.mark.anyio

_SESSION = TypeAdapter(ChargingSession)
LATE, EARLY = "late-token", "early-token"


def row(
    name: str,
    started_at: datetime,
    stay_h: float,
    energy_kwh: float,
    driver: Driver | None = None,
    charger_id: str = "CP-1",
) -> Row:
    """An ended session as it is stored."""
    session = ChargingSession(name, f"T-{name}", started_at, energy_kwh=energy_kwh, driver=driver)
    ended_at = started_at + timedelta(hours=stay_h)
    return {
        "session_id": name,
        "charger_id": charger_id,
        "evse_id": 1,
        "transaction_id": session.transaction_id,
        "content": _SESSION.dump_json(session).decode(),
        "ended_at": utc_text(ended_at),
    }


def habits(house: House, days: int = 20) -> list[Row]:
    """Every day one driver who leaves after 9 h and one who leaves after 1 h."""
    late_driver, early_driver = map(house.limits.drivers.driver_of, (LATE, EARLY))
    starts = [NOON - timedelta(days=day) for day in range(1, days + 1)]
    late = [row(f"L{number}", start, 9 + number % 3 / 10, 30.0, late_driver) for number, start in enumerate(starts)]
    early = [
        row(f"E{number}", start, 1 + number % 3 / 10, 5.0, early_driver, "CP-2") for number, start in enumerate(starts)
    ]
    return [*late, *early]


WRONG = [
    row("clock-set-back", NOON - timedelta(hours=3), -2, 5.0),
    row("a-year", NOON - timedelta(days=370), 24 * 365, 5.0),
    row("megawatts", NOON - timedelta(hours=5), 2, 1e9),
    row("negative", NOON - timedelta(hours=5), 2, -7.0),
    row("to-come", NOON + timedelta(days=400), 2, 5.0),
    {**row("no-json", NOON - timedelta(hours=5), 2, 5.0), "content": "{"},
]


@pytest.fixture
async def client(house: House) -> AsyncGenerator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.assertion = None
    app.include_router(charger_routes(house.limits.views, house.limits.history, house.limits.session_forecasting))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chargers") as opened:
        yield opened


async def plug(house: House, charger_id: str, id_token: str) -> None:
    started = TransactionStarted(charger_id, 1, f"T-{charger_id}", house.clock.now(), 100.0, id_token)
    await house.limits.events.on_transaction_started(started)
    house.limits.events.on_evse_state(charger_id, 1, EvseState.CHARGING)
    await house.settled()


async def ask(client: httpx.AsyncClient, hours: int | None = None) -> SessionForecasts:
    answer = await client.get("/session-forecasts", params={} if hours is None else {"hours": hours})
    assert answer.status_code == 200, answer.text
    return SessionForecasts.model_validate_json(answer.content)


async def test_a_car_is_forecast_by_its_drivers_own_sessions(house: House, client: httpx.AsyncClient) -> None:
    await house.store.keep(Changes(sessions=habits(house)))
    await house.limits.session_forecasting.learn()
    await house.connect()
    await plug(house, "CP-1", EARLY)
    await plug(house, "CP-3", LATE)

    found = await ask(client)

    early, late = found.sessions
    assert (early.charger_id, late.charger_id) == ("CP-1", "CP-3")
    assert early.shares.driver > 0.5
    assert early.departure.p50 < NOON + timedelta(hours=3) < NOON + timedelta(hours=7) < late.departure.p50
    assert early.energy_kwh.p50 < 10 < 25 < late.energy_kwh.p50
    assert (found.issued_at, found.learned_sessions) == (NOON, 40)
    assert found.departure_error is not None
    assert found.departure_error.model_mae < found.departure_error.naive_mae
    assert "token" not in found.model_dump_json()


async def test_arrivals_are_expected_per_hour(house: House, client: httpx.AsyncClient) -> None:
    await house.store.keep(Changes(sessions=habits(house)))
    await house.limits.session_forecasting.learn()

    found = await ask(client, hours=30)

    assert len(found.arrivals) == 30
    assert found.arrivals[0].interval_start == NOON
    assert max(found.arrivals, key=lambda one: one.mean).interval_start in {
        NOON,
        NOON + timedelta(hours=23),
        NOON + timedelta(hours=24),
    }
    assert (await client.get("/session-forecasts", params={"hours": 49})).status_code == 422


async def test_without_history_cars_are_forecast_by_the_prior(house: House, client: httpx.AsyncClient) -> None:
    await house.connect()
    await house.plug("CP-1")

    found = await ask(client)

    (session,) = found.sessions
    assert (session.shares.prior, found.learned_sessions, found.departure_error) == (1.0, 0, None)
    assert session.departure.p10 >= NOON


async def test_a_poisoned_history_changes_nothing(house: House, client: httpx.AsyncClient) -> None:
    await house.connect()
    await house.plug("CP-1")
    await house.store.keep(Changes(sessions=habits(house)))
    await house.limits.session_forecasting.learn()
    expected = await ask(client)

    await house.store.keep(Changes(sessions=WRONG))
    await house.limits.session_forecasting.learn()

    assert await ask(client) == expected


async def test_each_session_is_learned_once_even_after_the_clock_was_set_back(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.store.keep(Changes(sessions=habits(house)))
    await house.limits.session_forecasting.learn()
    earlier = NOON - timedelta(days=5)
    with monkeypatch.context() as set_back:
        set_back.setattr(house.clock, "now", lambda: earlier)
        await house.limits.session_forecasting.learn()
        await house.store.keep(Changes(sessions=[row("new", earlier - timedelta(hours=2), 1.5, 8.0)]))
        await house.limits.session_forecasting.learn()

    assert (await ask(client)).learned_sessions == 41


async def test_a_damaged_store_leaves_forecasts_as_they_are(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.store.keep(Changes(sessions=habits(house)))
    await house.limits.session_forecasting.learn()

    async def fail(since: datetime, limit: int) -> None:
        return None

    monkeypatch.setattr(house.store, "read_ended_since", fail)
    await house.limits.session_forecasting.learn()

    assert (await ask(client)).learned_sessions == 40


async def test_many_sessions_are_read_in_pages_after_a_restart(tmp_path: Path, anyio_backend: str) -> None:
    house = House(folder=tmp_path)
    rows = [row(f"S{number}", NOON - timedelta(hours=number // 3), 0.5, 5.0) for number in range(6, 456)]
    await house.store.keep(Changes(sessions=rows))
    house.close()

    again = House(folder=tmp_path)
    await again.limits.session_forecasting.learn()

    assert (await again.limits.session_forecasting.forecast(24)).learned_sessions == 450
    again.close()
