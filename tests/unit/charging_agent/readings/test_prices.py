"""Prices for decisions: they cost no reading its call, degrade nothing, and are recorded so that decisions replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError
from tests.unit.charging_agent.ledger.conftest import made_from, maker, observation
from tests.unit.charging_agent.ledger.test_charging_records import build_stored_record

from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policies import POLICIES
from charging_agent.decision.policy import DecisionInputs, Proposal
from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.gateway.calls import FailureReason
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.record_signing import ChainHead, build_policy_record, sign_record
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.verification import verify
from charging_agent.readings.apis import GRID, SOURCES
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.fetch_priority import CallPlan
from charging_agent.readings.observer import Observer
from charging_agent.readings.outlook_cache import has_spare_calls
from charging_agent.readings.prices import GRID_PRICES, PriceOutlook
from ev_service.prices import GridPrices
from ev_service.units import utc_text
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication, World

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
PATH = GRID_PRICES.path


def grid_prices(values: list[float | None], at: datetime = NOON, resolution_s: int = 3600) -> dict[str, Any]:
    step = timedelta(seconds=resolution_s)
    first = at.replace(minute=0, second=0, microsecond=0)
    intervals = [
        {
            "interval_start": utc_text(first + index * step),
            "import_price_per_kwh": value,
            "import_parts": {"energy": value},
            "co2_g_per_kwh": 300.0,
        }
        for index, value in enumerate(values)
        if value is not None
    ]
    known = next((index for index, value in enumerate(values) if value is None), len(values))
    return {
        "site_id": "greensboro",
        "timestamp": utc_text(at),
        "source": "tariff",
        "currency": "EUR",
        "resolution_s": resolution_s,
        "intervals": intervals,
        "known_until": utc_text(first + known * step if known else at),
    }


def outlook(values: list[float | None], **changes: Any) -> PriceOutlook:
    return PriceOutlook.from_prices(GridPrices.model_validate_json(json.dumps(grid_prices(values, **changes))))


def test_an_outlook_holds_a_day_and_leaves_gaps_open() -> None:
    made = outlook([0.1, None, *[0.3] * 46])

    assert made.import_price_per_kwh == (0.1, None, *[0.3] * 23)
    assert made.export_price_per_kwh == (None,) * 25
    assert made.co2_g_per_kwh == (300.0, None, *[300.0] * 23)
    assert len(outlook([0.1] * 192, resolution_s=900).import_price_per_kwh) == 97
    # Two kilobytes at the most in each record.
    assert len(outlook([0.123456] * 192, resolution_s=900).model_dump_json()) < 2600


def test_an_outlook_is_cut_as_time_passes_and_ends() -> None:
    made = outlook([0.1, 0.2, 0.3])
    later = made.cut(NOON + timedelta(minutes=70))

    assert made.cut(NOON) == made
    assert later is not None
    assert (later.starts_at, later.import_price_per_kwh) == (NOON + timedelta(hours=1), (0.2, 0.3))
    assert made.cut(NOON + timedelta(hours=3)) is None
    assert made.cut(NOON - timedelta(minutes=1)) is None
    assert outlook([0.1] * 48).cut(NOON + timedelta(hours=24, seconds=1)) is None


def test_lists_of_different_lengths_are_refused() -> None:
    made = outlook([0.1, 0.2]).model_dump()

    with pytest.raises(ValidationError, match="same length"):
        PriceOutlook.model_validate(made | {"co2_g_per_kwh": (300.0,)})


@given(
    second=st.integers(0, 59),
    spent=st.integers(0, 10),
    spent_by_others=st.integers(0, 40),
    limit=st.sampled_from([None, 10, 20, 60]),
    period_s=st.sampled_from([1.0, 10.0, 15.0, 60.0]),
)
def test_a_refresh_leaves_every_reading_its_calls(
    second: int, spent: int, spent_by_others: int, limit: int | None, period_s: float
) -> None:
    whole = CallBudget(CallLimit(limit))
    budget, now = CallBudget(CallLimit(), whole), NOON + timedelta(seconds=second)
    for _ in range(spent):
        budget.take(NOON)
    for _ in range(spent_by_others):
        whole.take(NOON)
    if not has_spare_calls(budget, now, period_s, len(SOURCES)):
        return
    # The refresh costs three calls at the most; after it each reading is taken in every period that is left.
    assert all(budget.take(now) for _ in range(3))
    while now < NOON + timedelta(minutes=1):
        assert all(whole.take(now) for _ in range(len(SOURCES) - 1))
        assert budget.take(now)
        now += timedelta(seconds=period_s)


def test_calls_are_left_over_in_the_loops_own_pace() -> None:
    budget = CallBudget(CallLimit())
    for second in (0, 15, 30):
        budget.take(NOON + timedelta(seconds=second))

    assert has_spare_calls(budget, NOON + timedelta(seconds=30), 10.0, len(SOURCES))


def observing(world: World) -> Observer:
    return Observer(world.client, world.clock, AgeLimits(), 6.0, CallPlan(world.budgets, AgeLimits()), world.prices)


async def refresh(observer: Observer) -> None:
    observer.start_outlook_refresh()
    await asyncio.sleep(0)
    while observer._outlook_flight.is_running:  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.001)


async def test_prices_reach_the_inputs_of_decisions_over_both_protocols(either: World) -> None:
    observer = observing(either)
    either.gateway.says(PATH, 200, grid_prices([0.1] * 48, either.clock.now()))
    before = (await observer.observe()).decision_inputs().prices
    await refresh(observer)
    seen = observer.current_observation()

    assert before == {}
    prices = seen.decision_inputs().prices["grid"]
    assert isinstance(prices, PriceOutlook)
    assert prices.import_price_per_kwh == (0.1,) * 25
    assert list(seen.decision_inputs().readings) == ["solar", "battery", "grid"]
    assert [call.outcome for call in either.calls if call.resource in (f"GET {PATH}", "getGridPrices")] == ["ok"]


async def test_a_missing_price_degrades_nothing_and_keeps_no_grid_reading_back(world: World) -> None:
    observer = observing(world)
    world.gateway.says(PATH, 503, {"status": 503, "code": "source_unavailable"})
    await refresh(observer)
    seen = await observer.observe()

    assert (seen.is_degraded, seen.grid.error, seen.prices) == (False, None, None)
    assert observer.outlook_errors()["prices"] == "prices were not fetched (backend_failed)"
    assert world.gateway.calls_to(PATH) == 1


async def test_prices_are_fetched_once_in_five_minutes_and_by_no_viewer(world: World) -> None:
    observer = observing(world)
    world.gateway.says(PATH, 200, grid_prices([0.1] * 48, world.clock.now()))
    for _ in range(60):
        for _ in range(3):
            await observer.observe()
        await refresh(observer)
        world.clock.advance(15)
    assert world.gateway.calls_to(PATH) == 3
    for _ in range(60):
        await observer.observe()
        observer.current_observation()
        world.clock.advance(15)

    assert world.gateway.calls_to(PATH) == 3
    assert [call.outcome for call in world.calls if call.outcome != "ok"] == []


async def test_a_site_without_prices_is_asked_once_in_an_hour(world: World) -> None:
    observer = observing(world)
    world.gateway.says(PATH, 404, {"status": 404, "code": "prices_not_configured"})
    for _ in range(2 * 240):
        await refresh(observer)
        world.clock.advance(15)

    assert world.gateway.calls_to(PATH) == 2


async def test_where_calls_are_scarce_the_readings_have_them_all(world: World) -> None:
    world.whole.limit = CallLimit(10, 60)
    observer = observing(world)
    world.gateway.says(PATH, 200, grid_prices([0.1] * 48, world.clock.now()))
    for _ in range(40):
        await observer.observe()
        await refresh(observer)
        world.clock.advance(15)

    assert world.gateway.calls_to(PATH) == 0
    assert world.gateway.calls_to(GRID.path) > 20


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"intervals": ' + b" " * (300 * 1024)])
async def test_an_answer_that_is_no_price_leaves_those_that_were_there(world: World, body: bytes) -> None:
    observer = observing(world)
    world.gateway.says(PATH, 200, grid_prices([0.1] * 48, world.clock.now()))
    await refresh(observer)
    world.gateway.says(PATH, 200, body)
    world.clock.advance(300)
    await refresh(observer)

    assert world.gateway.calls_to(PATH) == 2
    assert observer.current_observation().prices is not None
    assert observer.outlook_errors()["prices"] == "prices were not fetched (invalid_reading)"


async def test_who_is_cut_off_forgets_prices_and_readings(world: World) -> None:
    observer = observing(world)
    world.gateway.says(PATH, 200, grid_prices([0.1] * 48, world.clock.now()))
    await observer.observe()
    await refresh(observer)
    world.gateway.refuses(PATH, codes.DENIED)
    world.clock.advance(300)
    await observer.observe()
    await refresh(observer)
    seen = observer.current_observation()

    assert seen.prices is None
    assert seen.grid.error is FailureReason.BLOCKED


@dataclass(frozen=True, slots=True)
class CheapHours:
    """Charges while energy is cheap."""

    name = "cheap"
    version = "1"

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        return {}

    def propose(self, inputs: DecisionInputs) -> Proposal:
        prices = inputs.prices.get("grid")
        price = prices.import_price_per_kwh[0] if isinstance(prices, PriceOutlook) else None
        return Proposal(0.0 if price is None or price > 0.2 else 4.0, f"energy costs {price}")


def create_cheap_hours(rules: object, parameters: object) -> CheapHours:
    return CheapHours()


def test_a_decision_by_prices_is_recorded_with_them_and_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, CheapHours.name, create_cheap_hours)
    pipeline, key = DecisionPipeline(CheapHours()), generate_key()
    seen = replace(observation(), prices=outlook([0.1, 0.3, None, 0.2]))
    draft = replace(made_from(seen), outcome=pipeline.decide(seen.decision_inputs()))
    by = replace(maker(), policy=build_policy_record(pipeline, AgeLimits()))
    record = sign_record(draft, [], ChainHead(), by, key)

    assert draft.decision.charging_power_kw == 4.0
    assert verify([build_stored_record(1, record)], {key.key_id: key.public}).broken is None
    assert record.entry.record.inputs.prices == seen.prices
    assert replay_record(record.record) is None
    forged = record.record.replace('"import_price_per_kwh":[0.1,', '"import_price_per_kwh":[0.9,')
    assert forged != record.record
    assert str(replay_record(forged)) != "None"


def test_the_rules_decide_the_same_with_prices_and_without() -> None:
    seen = observation()
    with_prices = replace(seen, prices=outlook([9.0] * 24))

    assert DecisionPipeline().decide(seen.decision_inputs()) == DecisionPipeline().decide(with_prices.decision_inputs())


def test_a_record_without_prices_is_written_as_before() -> None:
    record = sign_record(made_from(observation()), [], ChainHead(), maker(), generate_key())

    assert list(json.loads(record.record)["inputs"]) == ["battery", "grid", "solar"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_loop_fetches_prices_where_the_setting_says_so(served: AgentApplication, wanted: bool) -> None:
    served.settings["prices"] = wanted
    served.gateway.says(PATH, 200, grid_prices([0.1] * 48, served.clock.now()))
    async with served.client():
        for round_number in range(1, 6):
            await served.until(lambda: served.gateway.calls_to(GRID.path) == round_number)  # noqa: B023
            await asyncio.sleep(0.02)
            served.clock.advance(15)

    assert served.gateway.calls_to(PATH) == int(wanted)
