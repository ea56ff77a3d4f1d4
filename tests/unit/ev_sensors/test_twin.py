"""Readings from the site twin: what it says is passed on, what it does not say is nobody's reading."""

from datetime import UTC, datetime

import httpx
import pytest

from ev_sensors.twin import TwinSource
from ev_service.errors import SourceUnavailableError
from ev_service.telemetry import GridLoad

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
URL = "http://twin:8006/grid-load"
READING = GridLoad(site_id="x", timestamp=NOON, source="simulated", load_percent=40.0, load_kw=40.0, limit_kw=100.0)


def _twin(answer: httpx.Response | Exception) -> TwinSource[GridLoad]:
    def answers(request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("GET", URL)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return TwinSource(GridLoad, URL, httpx.MockTransport(answers))


async def test_what_the_twin_says_is_the_reading() -> None:
    source = _twin(httpx.Response(200, content=READING.model_dump_json()))

    async with source.running():
        assert await source.read(NOON) == READING


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.ConnectError("no route to 10.0.0.7"), "the site twin does not answer"),
        (httpx.ReadTimeout("slow"), "the site twin does not answer"),
        (httpx.Response(500), "the site twin answered 500"),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), "the site twin answered 302"),
        (httpx.Response(200, text="hello"), "the site twin answered no reading"),
        (httpx.Response(200, text=READING.model_dump_json().replace("40.0", "-40.0")), "load_kw, load_percent"),
    ],
)
async def test_a_twin_in_trouble_is_told_and_nothing_invented(answer: httpx.Response | Exception, reason: str) -> None:
    source = _twin(answer)

    async with source.running():
        with pytest.raises(SourceUnavailableError, match=reason):
            await source.read(NOON)


async def test_nothing_is_asked_before_the_service_runs_and_after() -> None:
    source = _twin(httpx.Response(200, content=READING.model_dump_json()))

    with pytest.raises(SourceUnavailableError, match="starting or stopping"):
        await source.read(NOON)
    async with source.running():
        pass
    with pytest.raises(SourceUnavailableError, match="starting or stopping"):
        await source.read(NOON)
