"""What browsers are held to: names, origins, and what they may do with an answer."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from ev_service.assertion import HEADER, Caller
from ev_service.clock import SteppedClock
from ev_service.middleware import host_name
from ev_service.web import create_service, through_gateway

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
ORIGIN = "http://localhost:8004"


class AnyAssertion:
    def verify(self, assertion: str | None, _: str) -> Caller:
        assert assertion is not None
        return Caller("Operator", "operator")

    def warnings(self) -> dict[str, str]:
        return {}


@asynccontextmanager
async def calling(assertion: Any = None) -> AsyncGenerator[httpx.AsyncClient]:
    async def health() -> Mapping[str, str | None]:
        return {}

    app = create_service(name="x", description="", clock=SteppedClock(NOON), health=health, assertion=assertion)
    router = APIRouter(dependencies=[through_gateway("/x/1.0.0")])

    @router.post("/recheck")
    async def recheck() -> dict[str, str]:
        return {}

    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8004", "127.0.0.1:8004", "[::1]:8004", "192.0.2.7", "chargers:8005", "localhost.:8004"],
)
async def test_names_of_the_service_and_addresses_are_answered(host: str) -> None:
    async with calling() as client:
        assert (await client.get("/livez", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8004", "evil", "chargers.evil", "0x7f.1"]
)
@pytest.mark.parametrize("path", ["/livez", "/health", "/metrics", "/openapi.json", "/recheck", "/none"])
async def test_another_name_is_refused_whatever_is_asked(host: str, path: str) -> None:
    async with calling() as client:
        answer = await client.get(path, headers={"Host": host})

    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {HEADER: "any", "Origin": "http://evil.example"},
    ],
)
async def test_a_page_of_another_origin_changes_nothing(headers: dict[str, str]) -> None:
    async with calling() as client:
        answer = await client.post("/recheck", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}, {"Sec-Fetch-Site": "none"}]
)
async def test_programs_and_own_pages_do(headers: dict[str, str]) -> None:
    async with calling() as client:
        assert (await client.post("/recheck", headers=headers)).status_code == 200


async def test_a_call_of_the_gateway_may_name_the_service_as_it_likes_and_come_from_anywhere() -> None:
    headers = {HEADER: "any", "Host": "chargers.site.example:8005", "Origin": "https://operators.example"}
    async with calling(AnyAssertion()) as client:
        assert (await client.post("/recheck", headers=headers)).status_code == 200
        without = {name: value for name, value in headers.items() if name != HEADER}
        assert (await client.post("/recheck", headers=without)).status_code == 421


@pytest.mark.parametrize(
    ("path", "host"), [("/livez", "localhost"), ("/none", "localhost"), ("/livez", "evil.example")]
)
async def test_every_answer_may_neither_be_framed_nor_guessed_nor_load_anything(path: str, host: str) -> None:
    async with calling() as client:
        headers = (await client.get(path, headers={"Host": host})).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
async def test_no_page_loads_scripts_of_a_third_party(path: str) -> None:
    async with calling() as client:
        assert (await client.get(path)).status_code == 404
        assert (await client.get("/openapi.json")).json()["openapi"].startswith("3.0")


def test_a_host_without_a_name_is_no_name() -> None:
    assert [host_name(host) for host in ("", ":80", "[::1", "a:b:c")] == ["", "", "::1", "a"]
