"""Feeds of prices on bad days: dead servers, half answers, HTML, too much, files replaced while they are read."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiomqtt
import httpx
import pytest
from pydantic import SecretStr

from ev_sensors.broker import Broker
from ev_service.clock import SteppedClock
from grid_service.prices.feeds import MAX_BYTES, FileFeed, MqttFeed
from grid_service.prices.formats import parse_awattar, parse_csv, parse_own
from grid_service.prices.http_feed import (
    HttpFeed,
    HttpTiming,
    PriceRequest,
    awattar_request,
    energy_charts_request,
    entsoe_request,
    tibber_request,
)

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 12, 1, 11, tzinfo=UTC)
TOKEN = SecretStr("a-token-of-36-hexadecimal-digits")
Handler = Callable[[httpx.Request], httpx.Response]


def own(*values: float, start: datetime = NOON, currency: str = "EUR") -> bytes:
    intervals = [
        {"interval_start": (start + timedelta(hours=index)).isoformat(), "price_per_kwh": value}
        for index, value in enumerate(values)
    ]
    return json.dumps({"currency": currency, "resolution_s": 3600, "intervals": intervals}).encode()


def feed(handler: Handler, request: PriceRequest | None = None, clock: SteppedClock | None = None) -> HttpFeed:
    asked = request or PriceRequest("https://prices.example/day")
    timing = HttpTiming(timeout_s=0.5, first_pause_s=0.0)
    transport = httpx.MockTransport(handler)
    return HttpFeed(
        lambda now: asked, parse_own, clock or SteppedClock(NOON), ssl.create_default_context, timing, transport
    )


async def test_prices_come_at_the_start_and_are_joined_day_by_day() -> None:
    answers = [own(0.1, 0.2), own(0.3, start=NOON + timedelta(hours=2))]
    clock = SteppedClock(NOON)
    prices = feed(lambda request: httpx.Response(200, content=answers.pop(0)), clock=clock)
    assert prices.read().error == "the source of prices has not answered yet"
    await prices.refresh()
    clock.advance(900)
    await prices.refresh()
    state = prices.read()

    assert state.table is not None
    assert [slot.parts["energy"] for slot in state.table.slots] == [0.1, 0.2, 0.3]
    assert (state.fetched_at, state.error) == (NOON + timedelta(minutes=15), None)


@pytest.mark.parametrize(
    ("answer", "reason", "attempts"),
    [
        (httpx.Response(200, content=own(0.1, 0.2)[:-20]), "not JSON", 1),
        (httpx.Response(200, html="<html><body>Sign in</body></html>"), "not JSON", 1),
        (httpx.Response(200, content=b" " * (10 << 20)), "longer than", 1),
        (httpx.Response(200, content=own(0.1, currency="CHF")), "currency changed", 1),
        (httpx.Response(302, headers={"location": "https://elsewhere.example"}), "answered 302", 1),
        (httpx.Response(401, json={"error": "no"}), "answered 401", 1),
        (httpx.Response(503), "answered 503", 3),
        (httpx.Response(429), "answered 429", 3),
    ],
)
async def test_an_answer_that_cannot_be_used_leaves_the_prices_that_were_there(
    answer: httpx.Response, reason: str, attempts: int
) -> None:
    asked: list[httpx.Request] = []
    answers = [httpx.Response(200, content=own(0.1, 0.2))]

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return (
            answers.pop()
            if answers
            else httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        )

    prices = feed(handle)
    await prices.refresh()
    await prices.refresh()
    state = prices.read()

    assert state.table is not None
    assert len(state.table.slots) == 2
    assert state.error is not None
    assert reason in state.error
    assert (state.fetched_at, len(asked)) == (NOON, 1 + attempts)


async def test_a_dead_server_is_tried_three_times_and_then_said() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("refused")

    prices = feed(handle)
    await prices.refresh()

    assert prices.read().error == "the source of prices does not answer: ConnectError"
    assert len(asked) == 3


async def test_a_server_that_never_answers_is_given_up() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    timing = HttpTiming(timeout_s=0.01, first_pause_s=0.0)
    prices = HttpFeed(
        lambda now: PriceRequest("https://prices.example/day"),
        parse_own,
        SteppedClock(NOON),
        ssl.create_default_context,
        timing,
        httpx.MockTransport(hang),
    )
    async with asyncio.timeout(5):
        await prices.refresh()

    assert prices.read().error == "the source of prices answers too slowly"


async def test_after_a_failure_the_next_refresh_clears_the_error() -> None:
    answers = [httpx.Response(404), httpx.Response(200, content=own(0.1))]
    prices = feed(lambda request: answers.pop(0))
    await prices.refresh()
    await prices.refresh()

    assert prices.read().error is None


async def test_the_source_is_asked_once_however_often_prices_are_read() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=own(0.1))

    prices = feed(handle)
    async with asyncio.timeout(5), prices.running():
        while prices.read().table is None:
            await asyncio.sleep(0.001)
        for _ in range(50):
            prices.read()
            await asyncio.sleep(0)

    assert len(asked) == 1


async def test_no_token_reaches_a_log_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"cannot reach {request.url}")

    for request in (
        entsoe_request("https://x.example/api", "10Y", TOKEN, NOON),
        tibber_request("https://x.example", TOKEN),
    ):
        prices = feed(handle, request)
        await prices.refresh()

        assert TOKEN.get_secret_value() not in repr(request) + caplog.text + (prices.read().error or "")
    # The command that starts a service sets this for every log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    caplog.clear()
    prices = feed(
        lambda request: httpx.Response(200, content=own(0.1)), entsoe_request("https://x.example", "10Y", TOKEN, NOON)
    )
    await prices.refresh()
    assert TOKEN.get_secret_value() not in caplog.text


async def test_requests_have_the_published_form() -> None:
    charts = energy_charts_request("https://api.energy-charts.info/price", "DE-LU", NOON)
    hours = awattar_request("https://api.awattar.at/v1/marketdata", NOON)
    document = entsoe_request("https://web-api.tp.entsoe.eu/api", "10Y1001A1001A82H", TOKEN, NOON)
    query = tibber_request("https://api.tibber.com/v1-beta/gql", TOKEN)

    assert charts.params == {"bzn": "DE-LU", "start": "2026-11-30", "end": "2026-12-04"}
    assert hours.params == {"start": "1796036400000", "end": "1796382000000"}
    assert document.params["documentType"] == "A44"
    assert document.params["in_Domain"] == document.params["out_Domain"] == "10Y1001A1001A82H"
    assert (document.params["periodStart"], document.params["periodEnd"]) == ("202611300000", "202612040000")
    assert (query.method, query.headers["Authorization"]) == ("POST", f"Bearer {TOKEN.get_secret_value()}")
    assert "priceInfo" in query.json["query"]


async def test_a_file_is_read_again_when_it_is_replaced_and_kept_while_it_is_half(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    header = "interval_start,price_per_kwh\n"
    clock = SteppedClock(NOON)
    prices = FileFeed(file, parse_csv, "GRID_PRICES_FILE", clock)
    assert prices.read().table is None
    assert prices.read().error == "GRID_PRICES_FILE cannot be used: No such file or directory"

    file.write_text(header + "2026-12-01T11:00Z,0.1\n2026-12-01T12:00Z,0.2\n")
    first = prices.read()
    assert (first.error, first.table is not None and len(first.table.slots)) == (None, 2)
    clock.advance(60)
    file.write_text(header + "2026-12-01T11:00Z,0.1\n2026-12-01T12")
    half = prices.read()
    assert (half.table, half.fetched_at) == (first.table, NOON)
    assert half.error is not None
    file.write_text(header + "2026-12-02T11:00Z,0.3\n2026-12-02T12:00Z,0.4\n")
    second = prices.read()

    assert (second.error, second.fetched_at) == (None, NOON + timedelta(minutes=1))
    assert second.table is not None
    assert second.table.find(NOON) is None


class FakeBroker:
    """A broker whose messages a test gives."""

    def __init__(self, *sessions: list[object]) -> None:
        self.sessions = list(sessions)
        self.subscribed: list[str] = []
        self.is_waiting = asyncio.Event()

    def client(self, identifier: str, will: object, queue_type: object) -> AbstractAsyncContextManager[Any]:
        return self._session()

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator["FakeBroker"]:
        yield self

    async def subscribe(self, topic: str, qos: int) -> list[int]:
        self.subscribed.append(topic)
        return [qos]

    @property
    async def messages(self) -> AsyncIterator[Any]:
        for payload in self.sessions.pop(0):
            if isinstance(payload, Exception):
                raise payload
            yield aiomqtt.Message("site/x/prices", cast("bytes", payload), 1, True, 1, None)
        self.is_waiting.set()
        await asyncio.sleep(3600)


async def listen(broker: FakeBroker, check: Callable[[MqttFeed], Awaitable[None]]) -> None:
    prices = MqttFeed(cast("Broker", broker), "site/x/prices", parse_own, SteppedClock(NOON), first_pause_s=0.0)
    async with asyncio.timeout(5), prices.running():
        await broker.is_waiting.wait()
        await check(prices)


async def test_prices_come_over_mqtt_and_the_connection_is_restored() -> None:
    broker = FakeBroker([own(0.1), aiomqtt.MqttError("lost")], [own(0.2, start=NOON + timedelta(hours=1))])

    async def check(prices: MqttFeed) -> None:
        state = prices.read()
        assert state.table is not None
        assert [slot.parts["energy"] for slot in state.table.slots] == [0.1, 0.2]
        assert state.error is None

    await listen(broker, check)
    assert broker.subscribed == ["site/x/prices"] * 2


@pytest.mark.parametrize("message", [b"<html>", b"{}", b" " * (MAX_BYTES + 1), own(0.1, 0.2)[:-9]])
async def test_a_message_that_cannot_be_used_changes_nothing_but_the_error(message: bytes) -> None:
    async def check(prices: MqttFeed) -> None:
        state = prices.read()
        assert state.table is not None
        assert len(state.table.slots) == 1
        assert state.error is not None

    await listen(FakeBroker([own(0.1), message]), check)


async def test_a_broker_without_prices_is_said() -> None:
    async def check(prices: MqttFeed) -> None:
        assert prices.read().error == "no message on site/x/prices yet"

    await listen(FakeBroker([]), check)


def test_awattar_is_one_of_the_formats_of_every_feed(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    entry = {"start_timestamp": 1796122800000, "end_timestamp": 1796126400000, "marketprice": 90.0, "unit": "Eur/MWh"}
    file.write_text(json.dumps({"object": "list", "data": [entry], "url": "/at/v1/marketdata"}))

    table = FileFeed(file, parse_awattar, "GRID_PRICES_FILE", SteppedClock(NOON)).read().table
    assert table is not None
    assert table.find(NOON) is not None
