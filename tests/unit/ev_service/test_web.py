"""What every service does in the same way: health, problems, correlation, the gateway's door."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import StreamingResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

from ev_service.assertion import CONTEXT_CLAIM, HEADER, ISSUER, GatewayAssertion
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError, SourceExhaustedError, SourceUnavailableError
from ev_service.logs import configure_logging, correlation_id
from ev_service.web import create_service, through_gateway

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


class Part:
    """A part whose trouble the test sets."""

    def __init__(self) -> None:
        self.trouble: str | None = None

    async def health(self) -> Mapping[str, str | None]:
        return {"source": self.trouble, "store": None}


def make_app(part: Part, assertion: GatewayAssertion | None = None) -> FastAPI:
    app = create_service(
        name="solar",
        description="For the test.",
        clock=SteppedClock(NOON),
        health=part.health,
        assertion=assertion,
    )
    router = APIRouter(dependencies=[through_gateway("/solar/1.0.0")])

    @router.get("/ok")
    async def ok(share: Annotated[float, Query(ge=0, le=1)] = 0.5) -> dict[str, Any]:
        return {"share": share, "correlation_id": correlation_id.get()}

    @router.get("/unavailable")
    async def unavailable() -> None:
        raise SourceUnavailableError("no sensor answers", sensor="roof")

    @router.get("/exhausted")
    async def exhausted() -> None:
        raise SourceExhaustedError("the recording ends at noon")

    @router.get("/misconfigured")
    async def misconfigured() -> None:
        raise ConfigurationError("a file is missing")

    @router.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("secret detail")

    @router.get("/breaks-off")
    async def breaks_off() -> StreamingResponse:
        async def half() -> AsyncGenerator[bytes]:
            yield b"half"
            raise ZeroDivisionError

        return StreamingResponse(half())

    app.include_router(router)
    return app


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
async def client(part: Part) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(part)), base_url="http://solar.test") as made:
        yield made


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    content = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(content) == {"type", "title", "status", "detail", "code", "correlation_id"}
    assert (content["status"], content["code"]) == (status, code)
    assert content["correlation_id"] == answer.headers["activityid"]
    assert content["type"] == f"urn:ev-charging:problem:{code}"
    return content


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "not_found"),
        ("/unavailable", 503, "source_unavailable"),
        ("/exhausted", 503, "source_exhausted"),
        ("/misconfigured", 500, "configuration_error"),
        ("/bug", 500, "internal_error"),
        ("/ok?share=2", 422, "invalid_request"),
        ("/ok?share=much", 422, "invalid_request"),
    ],
)
async def test_everything_that_goes_wrong_is_problem_json(
    client: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    assert_problem(await client.get(path), status, code)


async def test_a_method_that_is_not_allowed_is_problem_json_and_says_which_is(client: httpx.AsyncClient) -> None:
    answer = await client.post("/ok")

    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


async def test_an_invalid_request_is_told_by_field(client: httpx.AsyncClient) -> None:
    content = assert_problem(await client.get("/ok?share=2"), 422, "invalid_request")

    assert content["detail"] == "query.share: Input should be less than or equal to 1"


async def test_an_unforeseen_error_tells_the_caller_nothing_and_the_log_everything(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("solar")

    answer = await client.get("/bug", headers={"activityid": "call-17"})

    assert "secret detail" not in answer.text
    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    failed = next(line for line in written if line["event"] == "request failed")
    assert "ZeroDivisionError: secret detail" in failed["exc_info"]
    assert failed["correlation_id"] == "call-17"


async def test_an_answer_that_breaks_off_is_not_mended_with_a_problem(client: httpx.AsyncClient) -> None:
    with pytest.raises(ZeroDivisionError):
        await client.get("/breaks-off")


@pytest.mark.parametrize("offered", ["call-17", "a", "x" * 64, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "a.b:c_d-e"])
async def test_a_plain_correlation_id_is_taken_over(client: httpx.AsyncClient, offered: str) -> None:
    answer = await client.get("/ok", headers={"activityid": offered})

    assert answer.headers["activityid"] == offered
    assert answer.json()["correlation_id"] == offered


@pytest.mark.parametrize(
    "offered", [b"", b"x" * 65, b"two words", b'{"a":1}', "\u00e9t\u00e9".encode("latin-1"), b"a\xa0b", b"<script>"]
)
async def test_any_other_correlation_id_is_replaced(client: httpx.AsyncClient, offered: bytes) -> None:
    answer = await client.get("/ok", headers={b"activityid": offered})

    assert len(answer.headers["activityid"]) == 36
    assert answer.json()["correlation_id"] == answer.headers["activityid"]


async def test_calls_at_the_same_time_keep_their_own_correlation_ids(client: httpx.AsyncClient) -> None:
    names = [f"call-{number}" for number in range(20)]

    answers = await asyncio.gather(*(client.get("/ok", headers={"activityid": name}) for name in names))

    assert [answer.json()["correlation_id"] for answer in answers] == names


async def test_health_names_the_failing_part_and_its_reason(client: httpx.AsyncClient, part: Part) -> None:
    well = await client.get("/health")
    part.trouble = "the sensor has been silent for 90 s"
    unwell = await client.get("/health")

    assert (well.status_code, well.json()) == (
        200,
        {"status": "ok", "service": "solar", "timestamp": "2026-06-21T12:00:00Z"},
    )
    assert unwell.status_code == 503
    assert unwell.json()["status"] == "unavailable"
    assert unwell.json()["failing"] == {"source": "the sensor has been silent for 90 s"}


async def test_a_process_with_a_failing_part_still_lives(client: httpx.AsyncClient, part: Part) -> None:
    part.trouble = "broken"

    assert (await client.get("/livez")).status_code == 200


async def test_metrics_count_requests_by_route_and_not_by_path(client: httpx.AsyncClient) -> None:
    await client.get("/ok")
    await client.get("/nowhere/1")
    await client.get("/nowhere/2")

    metrics = (await client.get("/metrics")).text

    assert 'http_requests_total{method="GET",route="/ok",service="solar",status="200"} 1.0' in metrics
    assert 'http_requests_total{method="GET",route="unmatched",service="solar",status="404"} 2.0' in metrics
    assert "/nowhere/1" not in metrics


async def test_every_request_but_the_watchers_is_one_line_in_the_log(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("solar")

    await client.get("/ok")
    for path in ("/health", "/livez", "/metrics"):
        await client.get(path)

    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["path"], line["status"]) == ("request answered", "/ok", 200)
    assert line["duration_ms"] >= 0


async def test_without_a_certificate_anyone_is_answered(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ok")).status_code == 200


async def test_with_one_only_the_gateway_is_answered_and_the_watchers(
    part: Part, certificate_pem: bytes, signing_key: RSAKey
) -> None:
    app = make_app(part, GatewayAssertion(certificate_pem, SteppedClock(NOON)))
    claims = {"iss": ISSUER, "exp": int(NOON.timestamp()) + 900, CONTEXT_CLAIM: "/solar/1.0.0"}
    good = jwt.encode({"alg": "RS256"}, claims, signing_key)
    other_api = jwt.encode({"alg": "RS256"}, claims | {CONTEXT_CLAIM: "/grid/1.0.0"}, signing_key)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://solar.test") as client:
        without = await client.get("/ok")
        with_other = await client.get("/ok", headers={HEADER: other_api})
        with_good = await client.get("/ok", headers={HEADER: good})
        watched = [(await client.get(path)).status_code for path in ("/health", "/livez", "/metrics")]

    assert_problem(without, 401, "assertion_refused")
    assert without.headers["www-authenticate"] == HEADER
    assert_problem(with_other, 401, "assertion_refused")
    assert with_good.status_code == 200
    assert watched == [200, 200, 200]


async def test_the_door_stands_before_the_check_of_the_request(part: Part, certificate_pem: bytes) -> None:
    app = make_app(part, GatewayAssertion(certificate_pem, SteppedClock(NOON)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://solar.test") as client:
        assert_problem(await client.get("/ok?share=2"), 401, "assertion_refused")
