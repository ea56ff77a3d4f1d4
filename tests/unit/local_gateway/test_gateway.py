"""Data path in process: forwarded and withheld headers, rejections, failing backends."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession, web
from aiohttp.test_utils import RawTestServer, TestServer

from ev_service.clock import SteppedClock
from local_gateway.gateway.handler import Gateway
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.state import Store
from local_gateway.tokens import TokenService

Opened = Callable[[Store, int], AbstractAsyncContextManager[Gateway]]

pytestmark = pytest.mark.anyio

VERBS = {
    **dict.fromkeys(("/solar-status", "/hang", "/cut", "/stream", "/torn"), "GET"),
    "/orders": "POST",
    "/limits": "PUT",
    "/sessions/{session_id}/departure": "PUT",
}
Call = Callable[..., Awaitable[ClientResponse]]
BREAK_OFF = web.AppKey("break_off", asyncio.Event)


async def on_backend(request: web.Request) -> web.StreamResponse:
    """Backend that answers, hangs, closes the connection, streams, or stops in the middle of a stream."""
    assert request.transport is not None
    match request.path:
        case "/hang":
            await asyncio.sleep(0.15)
        case "/cut":
            request.transport.abort()
        case "/stream" | "/torn":
            answer = web.StreamResponse(headers={"Set-Cookie": "a=b"})
            await answer.prepare(request)
            for _ in range(10):
                await answer.write(b"x" * 100_000)
            if request.path == "/torn":
                # Close the connection only after the client has received a part of the body.
                await request.app[BREAK_OFF].wait()
                request.transport.abort()
            return answer
        case _:
            pass
    body = (await request.read()).decode()
    received = {"verb": request.method, "headers": dict(request.headers), "path": request.path_qs, "body": body}
    return web.json_response(received)


@pytest.fixture
def break_off() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def backend(break_off: asyncio.Event) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 24)
    app[BREAK_OFF] = break_off
    app.router.add_route("*", "/{path:.*}", on_backend)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@pytest.fixture
async def gateway(store: Store, open_gateway: Opened) -> AsyncIterator[Gateway]:
    async with open_gateway(store, 1000) as gateway:
        yield gateway


def serve(store: Store, describe: Callable[..., dict[str, Any]], url: str, **changes: Any) -> None:
    config = {"actionDuration": 100, **changes.pop("config", {"suspendDuration": 0})}
    endpoints = {"endpoint_type": "http", "production_endpoints": {"url": url, "config": config}}
    operations = [{"target": target, "verb": verb, "scopes": ["solar:read"]} for target, verb in VERBS.items()]
    data = describe(endpointConfig=endpoints, operations=operations, **changes)
    store.state.apis["api-1"].revisions[0].data = data
    store.save()


@pytest.fixture
async def call(
    gateway: Gateway, store: Store, tokens: TokenService, backend: str, describe: Callable[..., dict[str, Any]]
) -> AsyncIterator[Call]:
    """Call the gateway as EVApp."""
    serve(store, describe, backend)
    token = tokens.issue(store.state.clients["key-EVApp"], "evapp", ("solar:read",), for_application=True)
    async with RawTestServer(gateway.handle) as server, ClientSession() as session:

        async def called(path: str, method: str = "GET", **content: Any) -> ClientResponse:
            headers = {"Authorization": f"Bearer {token}"} | content.pop("headers", {})
            url = server.make_url(f"/solar/1.0.0{path}")
            return await session.request(method, url, headers=headers, **content)

        yield called


async def code_of(answer: ClientResponse) -> str:
    return str((await answer.json())["code"])


async def test_the_service_sees_the_call_and_the_gateway_but_not_the_token(call: Call) -> None:
    answer = await call("/solar-status?a=1&b=2", headers={"x-jwt-assertion": "forged", "activityid": "my-activity-1"})

    received = await answer.json()
    names = {name.lower() for name in received["headers"]}
    assert answer.status == 200
    assert received["path"] == "/solar-status?a=1&b=2"
    assert received["headers"]["X-JWT-Assertion"].count(".") == 2
    assert received["headers"]["activityid"] == answer.headers["activityid"] == "my-activity-1"
    assert "authorization" not in names


@pytest.mark.parametrize("given", ["short", "x" * 65, "bad id with blanks", "é"])
async def test_an_activity_id_that_is_none_is_replaced(call: Call, given: str) -> None:
    answer = await call("/solar-status", headers={"activityid": given})

    assert answer.headers["activityid"] != given
    assert len(answer.headers["activityid"]) == 36


async def test_a_stream_is_passed_on_with_its_headers(call: Call) -> None:
    answer = await call("/stream")

    assert len(await answer.read()) == 1_000_000
    assert answer.headers["Set-Cookie"] == "a=b"


async def test_an_interrupted_stream_is_interrupted_for_the_client(call: Call, break_off: asyncio.Event) -> None:
    answer = await call("/torn")
    await answer.content.readany()
    break_off.set()

    with pytest.raises(ClientError):
        await answer.read()


async def test_a_body_is_passed_on_up_to_its_limit(call: Call) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 500

    assert (await (await call("/orders", "POST", data=b"x" * 1000)).json())["body"] == "x" * 1000
    assert await code_of(await call("/orders", "POST", data=b"x" * 1001)) == "413"
    assert await code_of(await call("/orders", "POST", data=in_pieces())) == "413"


async def test_a_put_arrives_with_its_body_and_its_query(call: Call) -> None:
    limits = [{"charger_id": "CP-1", "evse_id": 1, "limit_a": 16.0, "valid_until": "2026-06-21T16:00:45Z"}]

    answer = await call("/limits?commander=agent-1&decision_id=a%26b%3Dc", "PUT", json=limits)

    received = await answer.json()
    assert (received["verb"], received["path"]) == ("PUT", "/limits?commander=agent-1&decision_id=a%26b%3Dc")
    assert json.loads(received["body"]) == limits
    assert received["headers"]["Content-Type"] == "application/json"


# Every character that OCPP allows in an identifier.
@pytest.mark.parametrize("identity", ["CP-1", "a*b-c_d=e:f+g", "h|i", "j@k.l"])
async def test_a_variable_in_a_path_arrives_as_it_was_given(call: Call, identity: str) -> None:
    answer = await call(f"/sessions/{quote(identity, safe='')}/departure", "PUT", data=b"{}")

    received = await answer.json()
    assert unquote(received["path"]) == f"/sessions/{identity}/departure"


async def test_a_timeout_and_a_closed_connection_have_different_faults(call: Call) -> None:
    assert await code_of(await call("/hang")) == "101504"
    assert await code_of(await call("/cut")) == "101505"


async def test_a_failed_backend_is_suspended(call: Call, store: Store, describe: Callable[..., dict[str, Any]]) -> None:
    # Nothing listens on port 9 (discard).
    serve(store, describe, "http://127.0.0.1:9", config={})

    assert await code_of(await call("/solar-status")) == "101503"
    assert await code_of(await call("/solar-status")) == "303001"


async def test_a_sandbox_key_needs_a_sandbox_endpoint(
    call: Call, store: Store, backend: str, describe: Callable[..., dict[str, Any]]
) -> None:
    store.state.clients["key-EVApp"].key_type = "SANDBOX"
    store.save()
    assert await code_of(await call("/solar-status")) == "900901"

    endpoints = {
        "endpoint_type": "http",
        "production_endpoints": {"url": "http://127.0.0.1:9"},
        "sandbox_endpoints": {"url": backend},
    }
    store.state.apis["api-1"].revisions[0].data = describe(endpointConfig=endpoints)
    store.save()

    assert (await call("/solar-status")).status == 200


async def test_a_transport_that_the_api_does_not_offer_is_refused(
    call: Call, store: Store, backend: str, describe: Callable[..., dict[str, Any]]
) -> None:
    serve(store, describe, backend, transport=["https"])

    answer = await call("/solar-status")

    assert (answer.status, await code_of(answer)) == (403, "403")
    assert "[ http ]" in (await answer.json())["description"]


async def test_the_eleventh_call_of_a_minute_is_rejected_with_the_next_access_time(
    call: Call, clock: SteppedClock
) -> None:
    for _ in range(10):
        assert (await call("/solar-status")).status == 200

    refused = await call("/solar-status")
    clock.advance(30)
    again = await call("/solar-status")

    assert (refused.status, await code_of(refused)) == (429, "900804")
    assert (await refused.json())["nextAccessTime"] == "2026-Jun-21 12:01:00+0000 UTC"
    assert refused.headers["Retry-After"] == "Sun, 21 Jun 2026 12:01:00 GMT"
    assert again.status == 200


async def test_a_revoked_token_is_refused_at_once(call: Call, store: Store) -> None:
    assert (await call("/solar-status")).status == 200
    store.state.revoked = {live.jti: live.expires_at_s for live in store.state.live_tokens.values()}

    refused = await call("/solar-status")

    assert (refused.status, await code_of(refused)) == (401, "900901")
    assert "WWW-Authenticate" in refused.headers


async def test_an_internal_failure_is_answered_with_a_fault(
    call: Call, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("local_gateway.gateway.admission.authorize", fail)

    assert await code_of(await call("/solar-status")) == "900900"
    assert "call failed in the gateway" in caplog.text


async def test_every_finished_call_is_recorded(call: Call, metrics: MetricsLog, tmp_path: Path) -> None:
    writing = asyncio.create_task(metrics.run())
    await call("/solar-status")
    await call("/nothing")
    writing.cancel()
    metrics.flush()

    lines = (tmp_path / "apim_metrics.log").read_text().splitlines()
    assert ["apim:response" in lines[0], "apim:faulty" in lines[1]] == [True, True]
