"""Whatever some chargers report, every stop and reduction reaches the others, and everybody gets an answer."""

import asyncio
import json
import logging
import math
from dataclasses import dataclass, replace
from typing import Any, cast
from unittest.mock import AsyncMock

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.unit.charger_service.limits.conftest import House
from tests.unit.charger_service.limits.test_operators_word import WHO, stop

from charger_service.audit_log import KillAuditLog
from charger_service.chargers_api import charger_routes
from charger_service.control_api import control_routes
from charger_service.envelope import EvseKey
from charger_service.metering import Meter
from charger_service.ocpp.charge_point import ChargePoint
from charger_service.ocpp.connection import ConnectionContext, Timing
from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.v16 import ChargePoint16
from charger_service.ocpp.v201 import ChargePoint201
from charger_service.orders import SiteLimitOrder
from charger_service.ports import MeterReading
from charger_service.site_api import site_routes
from ev_service.charging import Chargers, EvseState
from ev_service.units import utc_text

pytestmark = pytest.mark.anyio

HONEST = ("CP-1", "CP-2")
LIARS = ("CP-3", "CP-4", "CP-5")
NUMBERS = ["1e308", "1e400", "-1e308", "nan", "inf", "-inf", "1e-320", "-0", "500", "125", "32", "0", "9" * 400, "0x1"]
texts = st.sampled_from(NUMBERS) | st.floats().map(repr) | st.integers().map(str) | st.text(max_size=6)


@dataclass(frozen=True)
class Lie:
    """One sampled value; number: how OCPP 2.0.1 has it, as JSON text."""

    value: str
    measurand: str
    phase: str | None
    unit: str
    multiplier: int

    def sample_16(self) -> dict[str, Any]:
        phase = {} if self.phase is None else {"phase": self.phase}
        return {"value": self.value, "measurand": self.measurand, "unit": self.unit} | phase

    def sample_201(self) -> dict[str, Any]:
        phase = {} if self.phase is None else {"phase": self.phase}
        unit = {"unit": self.unit, "multiplier": self.multiplier}
        try:
            number = float(self.value)
        except ValueError:
            number = 0.0
        return {"value": number, "measurand": self.measurand, "unitOfMeasure": unit} | phase


MEASURANDS = {"Current.Import": ("A",), "Power.Active.Import": ("W", "kW"), "Energy.Active.Import.Register": ("Wh",)}
lies = st.sampled_from([(name, unit) for name, units in MEASURANDS.items() for unit in units]).flatmap(
    lambda one: st.builds(
        Lie,
        value=texts,
        measurand=st.just(one[0]),
        phase=st.sampled_from([None, "L1", "L2", "L3"]),
        unit=st.just(one[1]),
        multiplier=st.integers(-400, 400) | st.integers(-3, 3),
    )
)
stories = st.dictionaries(
    st.sampled_from(LIARS), st.tuples(st.lists(lies, min_size=1, max_size=6), st.booleans(), st.booleans()), min_size=1
)


def speaker(house: House, charger_id: str, speaks: type[ChargePoint]) -> ChargePoint:
    """A charger that reports over the real OCPP half."""
    around = ConnectionContext(
        house.limits.events, AsyncMock(), house.clock, OcppMetrics(CollectorRegistry()), Timing()
    )
    return speaks(charger_id, (1,), AsyncMock(), around)


async def report(house: House, charger_id: str, told: list[Lie], *, is_201: bool) -> None:
    at = utc_text(house.clock.now())
    if is_201:
        value = {"timestamp": at, "sampledValue": [one.sample_201() for one in told]}
        payload: dict[str, Any] = {"evseId": 1, "meterValue": [value]}
    else:
        value = {"timestamp": at, "sampledValue": [one.sample_16() for one in told]}
        payload = {"connectorId": 1, "meterValue": [value]}
    point = speaker(house, charger_id, ChargePoint201 if is_201 else ChargePoint16)
    await point.route_message(json.dumps([2, "m1", "MeterValues", payload]))


def open_client(house: House) -> httpx.AsyncClient:
    """The routes of readers, commanders and operators over one site."""
    app = FastAPI()
    app.state.assertion = None
    app.include_router(charger_routes(house.limits.views, house.limits.history, house.limits.session_forecasting))
    app.include_router(control_routes(house.limits.limit_service))
    kills = KillAuditLog(house.store, house.clock.now)
    app.include_router(site_routes(kills, house.operator_service, house.limits.history))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chargers")


async def told_lies(story: dict[str, tuple[list[Lie], bool, bool]]) -> None:
    house = House((*HONEST, *LIARS), answer_s=5.0)
    try:
        await house.connect()
        await house.plug(*HONEST, *(name for name, (_, _, has_car) in story.items() if has_car))
        await house.set(CP_1=16.0, CP_2=20.0)
        house.clock.advance(11)
        for name, (told, is_201, _) in story.items():
            house.limits.events.on_evse_state(name, 1, EvseState.CHARGING)
            await report(house, name, told, is_201=is_201)
        async with open_client(house) as client:
            await operate_charger(house, client)
    finally:
        house.close()


async def operate_charger(house: House, client: httpx.AsyncClient) -> None:
    read = await client.get("/chargers")
    assert read.status_code == 200
    told = Chargers.model_validate_json(read.content)
    assert [charger.charger_id for charger in told.chargers] == [*HONEST, *LIARS]
    assert all(charger.evses[0].state is EvseState.CHARGING for charger in told.chargers[:2])
    assert all(math.isfinite(one) for one in house.site.sum_loads().phase_a)

    until = utc_text(house.limit("CP-1", 10.0).valid_until)
    limits = [{"charger_id": name, "evse_id": 1, "limit_a": 10.0, "valid_until": until} for name in HONEST]
    lowered = await client.put("/limits", json=limits, params={"commander": "agent"})
    assert [one["outcome"] for one in lowered.json()["results"]] == ["applied"] * 2
    assert [house.really_a(name) for name in HONEST] == [10.0, 10.0]

    limited = await client.put("/site/limit", json={"limit_kw": 30.0, "reason": "works"})
    assert limited.status_code == 200
    await house.pass_time(1)
    assert all(house.really_a(name) == 0.0 or 6.0 <= house.really_a(name) <= 10.0 for name in HONEST)

    stopped = await client.put("/override", json={"kind": "stop", "minutes": 5, "reason": "fire"})
    assert stopped.status_code == 200
    await house.pass_time(1)
    assert [house.really_a(name) for name in house.site.chargers] == [0.0] * 5


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(story=stories)
def test_for_any_values_from_any_chargers_stops_and_reductions_reach_the_others(
    story: dict[str, tuple[list[Lie], bool, bool]],
) -> None:
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(told_lies(story))
    finally:
        logging.disable(logging.NOTSET)


floats = st.floats(allow_nan=True, allow_infinity=True)


@given(current_a=st.none() | st.tuples(floats, floats, floats), each_a=st.none() | floats, power_kw=st.none() | floats)
def test_meter_values_of_any_kind_are_shown_and_add_up(
    current_a: tuple[float, float, float] | None, each_a: float | None, power_kw: float | None
) -> None:
    house = House(("CP-1",))
    reading = MeterReading(house.clock.now(), None, current_a, each_a, power_kw, energy_kwh=power_kw)
    house.limits.events.on_evse_state("CP-1", 1, EvseState.CHARGING)
    house.limits.events.on_meter_values("CP-1", 1, reading)

    evse = house.evse("CP-1")
    house.close()
    assert evse.state is EvseState.CHARGING
    if evse.measured is not None:
        assert evse.measured.power_kw <= 32.0 * 3 * 0.23 * 1.25
        assert max(evse.measured.current_a) <= 40.0
    assert max(house.site.sum_loads().phase_a) <= 500.0


async def free_liar(current_a: float, feeder_a: float = 500.0) -> House:
    """Two cars at 20 A, and a charger without a transaction that reports some current."""
    house = House(feeder_a=feeder_a, answer_s=5.0)
    await house.connect()
    await house.plug("CP-1", "CP-2")
    await house.set(CP_1=20.0, CP_2=20.0)
    house.limits.events.on_evse_state("CP-3", 1, EvseState.CHARGING)
    house.meter("CP-3", current_a)
    await house.settled()
    return house


@pytest.mark.parametrize(
    ("reported_a", "counted_a", "is_implausible"),
    [(33.0, 33.0, False), (39.0, 39.0, False), (50.0, 50.0, True), (120.0, 120.0, True), (126.0, 32.0, True)],
)
async def test_more_than_the_rating_counts_up_to_the_feeders_limit(
    anyio_backend: str, reported_a: float, counted_a: float, is_implausible: bool
) -> None:
    house = await free_liar(reported_a, feeder_a=125.0)

    assert max(house.site.max_currents(("CP-3", 1))) == counted_a
    measured = house.evse("CP-3").measured
    assert measured is not None
    assert measured.is_implausible is is_implausible
    assert max(measured.current_a) == (32.0 if is_implausible else reported_a)


@pytest.mark.parametrize("reported_a", [math.nan, math.inf, -1e308, 1e-320])
async def test_what_is_no_current_starves_nobody(anyio_backend: str, reported_a: float) -> None:
    house = await free_liar(reported_a)

    assert max(house.site.max_currents(("CP-3", 1))) <= 32.0
    assert [one.limit_a for one in await house.set(CP_1=32.0, CP_2=32.0)] == [32.0, 32.0]


class Contradiction:
    """The connection's meter shows that CP-3 does not draw what it reports."""

    def contradicts(self, key: EvseKey, meter: Meter) -> bool:
        return key == ("CP-3", 1)

    def confirm(self) -> None:
        return None


async def test_a_report_that_the_connections_meter_contradicts_starves_nobody(anyio_backend: str) -> None:
    house = await free_liar(99.0)
    assert [one.limit_a for one in await house.set(CP_1=32.0, CP_2=32.0)] == [0.0, 0.0]

    house.site.draw_evidence = Contradiction()

    assert max(house.site.max_currents(("CP-3", 1))) == 32.0
    assert [one.limit_a for one in await house.set(CP_1=32.0, CP_2=32.0)] == [32.0, 32.0]


async def test_a_liar_is_logged_once_a_minute(anyio_backend: str, caplog: pytest.LogCaptureFixture) -> None:
    house = await free_liar(1e308)
    for _ in range(70):
        house.clock.advance(1)
        house.meter("CP-3", 1e308)

    told = [record for record in caplog.records if record.message.startswith("meter values beyond")]
    assert len(told) == 2
    assert vars(told[0])["charger_id"] == "CP-3"
    assert "1e+308" in vars(told[0])["current_a"]


async def test_a_fault_of_ours_about_one_charger_keeps_nothing_from_the_others(anyio_backend: str) -> None:
    house = await free_liar(99.0)
    house.site.evses["CP-3", 1] = replace(house.site.evses["CP-3", 1], meter=cast(Any, "broken"))

    lowered = await house.set(CP_1=10.0, CP_2=10.0)
    stopped = await house.operator_service.set_override(stop(), WHO)
    await house.pass_time(1)

    assert [one.outcome for one in lowered] == ["applied"] * 2
    assert stopped.override is not None
    assert [house.really_a(name) for name in HONEST] == [0.0, 0.0]
    evses = [charger.evses[0] for charger in house.limits.views.chargers().chargers]
    assert [one.state for one in evses] == [EvseState.CHARGING, EvseState.CHARGING, EvseState.UNKNOWN]
    assert [one.charger_id for one in house.limits.views.sessions().sessions] == list(HONEST)
    await house.operator_service.set_site_limit(SiteLimitOrder(limit_kw=20.0, reason="works"), WHO)


async def test_names_that_no_answer_can_carry_are_mended(house: House) -> None:
    await house.connect()
    boot = '[2, "m1", "BootNotification", {"chargePointVendor": "\\ud800", "chargePointModel": "M"}]'
    await speaker(house, "CP-1", ChargePoint16).route_message(boot)

    async with open_client(house) as client:
        read = await client.get("/chargers")

    assert read.status_code == 200
    assert read.json()["chargers"][0]["vendor"] == "?"
