"""The grid operator's signal as it is asked for by HTTP, and the settings of its sources."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from charger_service.grid_signal import MOST_BYTES
from charger_service.grid_signal_sources import HttpSignalSource, make_signal_sources
from charger_service.settings import GridSignalSettings
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.tasks import run_in_background
from ev_service.trust import Authorities

pytestmark = pytest.mark.anyio

CLOCK = SteppedClock(datetime(2026, 6, 21, 12, tzinfo=UTC))


def source(answer: Callable[[httpx.Request], httpx.Response], token: str | None = None) -> HttpSignalSource:
    secret = None if token is None else SecretStr(token)
    transport = httpx.MockTransport(answer)
    return HttpSignalSource("https://dso.example/signal", 30, Authorities(None, "X"), secret, CLOCK, transport)


async def receive(asked: HttpSignalSource, count: int = 1) -> list[bytes]:
    received: list[bytes] = []
    async with run_in_background(asked.run(received.append)), asyncio.timeout(5):
        while len(received) < count and asked.error in (None, "it has not answered yet"):
            await asyncio.sleep(0.001)
            CLOCK.advance(30)
    return received


async def test_answers_are_handed_over_as_they_are_and_the_token_is_sent() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=b'{"limits": []}')

    asked = source(answer, "secret")

    assert (await receive(asked, 2))[:2] == [b'{"limits": []}'] * 2
    assert asked.error is None
    assert requests[0].headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(503), "answers 503"),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example/"}), "answers 302"),
        (httpx.Response(200, content=b" " * (MOST_BYTES + 1)), "more than"),
    ],
)
async def test_other_answers_are_not_handed_over_and_told(response: httpx.Response, reason: str) -> None:
    asked = source(lambda request: response)

    assert await receive(asked) == []
    assert reason in (asked.error or "")


async def test_a_server_that_cannot_be_reached_is_told_without_its_address() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route to dso.example")

    asked = source(fail)

    assert await receive(asked) == []
    assert asked.error == "the server cannot be asked (ConnectError)"


def test_without_settings_there_is_no_source() -> None:
    assert make_signal_sources(GridSignalSettings(), CLOCK) == ()


def test_both_sources_can_be_set() -> None:
    settings = GridSignalSettings(mqtt_topic="site/x/grid-signal", url="https://dso.example/signal")

    assert [one.name for one in make_signal_sources(settings, CLOCK)] == ["mqtt", "http"]


@pytest.mark.parametrize(
    "wrong", [{"url": "http://dso.example/"}, {"mqtt_topic": "site/#"}, {"default_kw": -1}, {"longest_s": float("inf")}]
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GridSignalSettings.model_validate(wrong)


def test_an_authority_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CHARGERS_GRID_SIGNAL_CA_FILE"):
        make_signal_sources(GridSignalSettings(url="https://dso.example", ca_file=tmp_path / "none"), CLOCK)
