"""The load forecast for decisions: fetched with calls to spare, never too old, recorded so that plans replay."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from tests.unit.charging_agent.ledger.conftest import made_from, maker, observation
from tests.unit.charging_agent.ledger.test_charging_records import build_stored_record
from tests.unit.charging_agent.readings.test_prices import grid_prices

from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.gateway.calls import FailureReason
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.record_signing import ChainHead, build_policy_record, sign_record
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.verification import verify
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.fetch_priority import CallPlan
from charging_agent.readings.forecasts import GRID_FORECAST, LoadForecastOutlook
from charging_agent.readings.observer import Observer
from charging_agent.readings.prices import GRID_PRICES
from ev_service.forecasts import GridForecast
from ev_service.units import utc_text
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
PATH = GRID_FORECAST.path


def grid_forecast(p50: list[float], at: datetime = NOON, **changes: Any) -> dict[str, Any]:
    starts = [utc_text(at + timedelta(minutes=15) * index) for index in range(len(p50))]
    return {
        "site_id": "greensboro",
        "timestamp": utc_text(at),
        "source": "simulated",
        "issued_at": utc_text(at),
        "model": "boosted trees",
        "resolution_s": 900,
        "intervals": [
            {"interval_start": start, "p10": value - 1, "p50": value, "p90": value + 1}
            for start, value in zip(starts, p50, strict=True)
        ],
    } | changes


def outlook(p50: list[float], **changes: Any) -> LoadForecastOutlook:
    return LoadForecastOutlook.from_forecast(GridForecast.model_validate(grid_forecast(p50, **changes), strict=False))


def observing(world: World) -> Observer:
    plan = CallPlan(world.budgets, AgeLimits())
    return Observer(world.client, world.clock, AgeLimits(), 6.0, plan, world.prices, world.load_forecast)


async def refresh(observer: Observer) -> None:
    observer.start_outlook_refresh()
    await asyncio.sleep(0)
    while observer._outlook_flight.is_running:  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.001)


async def settle(world: World, observer: Observer) -> None:
    """Go round until what is due has been fetched with calls to spare."""
    for _ in range(6):
        await observer.observe()
        await refresh(observer)
        world.clock.advance(15)


async def test_it_reaches_the_inputs_of_decisions_over_both_protocols_beside_prices(either: World) -> None:
    observer, now = observing(either), either.clock.now()
    either.gateway.says(GRID_PRICES.path, 200, grid_prices([0.1] * 48, now))
    either.gateway.says(PATH, 200, grid_forecast([40.0] * 192, now))
    await settle(either, observer)
    inputs = observer.current_observation().decision_inputs()

    forecast = inputs.forecasts["grid"]
    assert isinstance(forecast, LoadForecastOutlook)
    assert (len(forecast.p50_kw), forecast.p90_kw[0]) == (97, 41.0)
    assert "grid" in inputs.prices
    assert observer.outlook_errors() == {"prices": None, "forecasts": None}


async def test_it_is_fetched_once_in_five_minutes_and_a_site_without_one_is_asked_once_in_an_hour(world: World) -> None:
    observer = observing(world)
    world.gateway.says(GRID_PRICES.path, 404, {"status": 404, "code": "prices_not_configured"})
    world.gateway.says(PATH, 200, grid_forecast([40.0] * 192, world.clock.now()))
    for _ in range(40):
        await observer.observe()
        await refresh(observer)
        world.clock.advance(15)

    assert world.gateway.calls_to(PATH) == 2
    assert world.gateway.calls_to(GRID_PRICES.path) == 1
    assert observer.outlook_errors() == {"prices": "prices were not fetched (not_found)", "forecasts": None}


async def test_an_old_forecast_is_none_and_one_of_a_clock_ahead_neither(world: World) -> None:
    held = outlook([40.0] * 192)

    assert held.cut(NOON + timedelta(hours=1)) is not None
    assert held.cut(NOON + timedelta(hours=2, seconds=1)) is None
    assert held.cut(NOON - timedelta(seconds=6)) is None
    cut = held.cut(NOON + timedelta(minutes=31))
    assert cut is not None
    assert (cut.starts_at, len(cut.p50_kw)) == (NOON + timedelta(minutes=30), 95)


async def test_what_is_no_forecast_degrades_nothing_and_a_cut_off_agent_forgets_it(world: World) -> None:
    observer = observing(world)
    world.gateway.says(PATH, 200, grid_forecast([40.0] * 192, world.clock.now()))
    await settle(world, observer)
    assert observer.current_observation().load_forecast is not None

    world.gateway.says(PATH, 200, b'{"intervals": "many"}')
    world.clock.advance(300)
    await settle(world, observer)
    assert observer.outlook_errors()["forecasts"] == "forecasts were not fetched (invalid_reading)"
    assert not (await observer.observe()).is_degraded

    world.gateway.refuses(PATH, codes.DENIED)
    world.clock.advance(300)
    while (seen := observer.current_observation()).load_forecast is not None:
        world.clock.advance(15)
        await observer.observe()
        await refresh(observer)
    assert seen.grid.error is FailureReason.BLOCKED


def test_it_is_recorded_and_its_record_verifies_and_replays() -> None:
    pipeline, key = DecisionPipeline(), generate_key()
    seen = replace(observation(), load_forecast=outlook([40.0] * 192))
    by = replace(maker(), policy=build_policy_record(pipeline, AgeLimits()))

    record = sign_record(made_from(seen), [], ChainHead(), by, key)
    without = sign_record(made_from(observation()), [], ChainHead(), by, key)

    assert record.entry.record.inputs.load_forecast == seen.load_forecast
    assert verify([build_stored_record(1, record)], {key.key_id: key.public}).broken is None
    assert replay_record(record.record) is None
    assert len(record.record) - len(without.record) < 2500
    assert "load_forecast" not in without.record


@pytest.mark.parametrize(
    "changes", [{"p90_kw": (1.0,)}, {"p10_kw": (99.0, 99.0), "p50_kw": (1.0, 1.0), "p90_kw": (2.0, 2.0)}]
)
def test_quantiles_of_other_lengths_or_out_of_order_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadForecastOutlook.model_validate(outlook([40.0, 41.0]).model_dump() | changes)
