"""MCP servers of the local gateway: answers to the client and requests to the API of a tool."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import RawTestServer, TestServer
from joserfc import jwt

from ev_service.clock import SteppedClock
from local_gateway.gateway.backend import BUFFERED_BYTES
from local_gateway.gateway.handler import Gateway
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.keys import ALGORITHM, SigningKey
from local_gateway.state import DenyPolicy, McpServerRecord, PolicyRecord, Revision, Store, Subscription
from local_gateway.tokens import TokenService

Opened = Callable[[Store, int], AbstractAsyncContextManager[Gateway]]

pytestmark = pytest.mark.anyio

Ask = Callable[..., Awaitable[ClientResponse]]
CONTEXT = "/solar-mcp/1.0.0"
API_CONTEXT = "/solar/1.0.0"
TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "getSolarStatus": ("/solar-status", {}),
    "getDay": ("/days/{day}", {"path_day": {"type": "string"}, "query_zone": {"type": "string"}}),
    "getProblem": ("/problem", {}),
    "getPage": ("/page", {}),
    "getSlow": ("/slow", {}),
    "getLarge": ("/large", {}),
    "getNothing": ("/nothing", {}),
}


async def on_backend(request: web.Request) -> web.StreamResponse:
    match request.path:
        case "/problem":
            return web.Response(status=503, text='{"code": "source_unavailable"}', content_type="application/json")
        case "/page":
            return web.Response(text="<html>", content_type="text/html")
        case "/slow":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        case "/large":
            return web.json_response("x" * (BUFFERED_BYTES + 1))
        case "/nothing":
            return web.Response(status=500, content_type="application/json")
        case _:
            return web.json_response({"headers": dict(request.headers), "path": request.path_qs, "é": 1})


@pytest.fixture
async def backend() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", on_backend)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


def tool(name: str, target: str, properties: dict[str, Any], **changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {
        "feature": "TOOL",
        "target": name,
        "description": f"Says what {target} says",
        "scopes": ["solar:tools"],
        "schemaDefinition": json.dumps(schema),
        "apiOperationMapping": {
            "apiId": "api-1",
            "apiName": "SolarAPI",
            "apiVersion": "1.0.0",
            "apiContext": API_CONTEXT,
            "backendOperation": {"target": target, "verb": "GET"},
        },
    } | changes


def mcp_server(**changes: Any) -> McpServerRecord:
    data = {
        "name": "SolarMCP",
        "context": "/solar-mcp",
        "version": "1.0.0",
        "lifeCycleStatus": "PUBLISHED",
        "policies": ["Ten"],
        "securityScheme": ["oauth2"],
        "subtypeConfiguration": {"subtype": "EXISTING_API"},
        "scopes": [{"scope": {"name": "solar:tools", "bindings": ["Internal/reader"]}}],
        "operations": [tool(name, target, properties) for name, (target, properties) in TOOLS.items()],
    } | changes
    revision = Revision(
        revision_id="mcp-1-1", number=1, description="", created_at_ms=0, data=data, environments=[{"name": "Default"}]
    )
    return McpServerRecord(
        server_id="mcp-1",
        provider="admin",
        lifecycle="PUBLISHED",
        data=data,
        created_at_ms=0,
        updated_at_ms=0,
        revisions=[revision],
    )


def once_a_minute() -> PolicyRecord:
    limit = {"timeUnit": "min", "unitTime": 1, "requestCount": 1}
    data = {"policyName": "Once", "defaultLimit": {"type": "REQUESTCOUNTLIMIT", "requestCount": limit}}
    return PolicyRecord(policy_id="Once", kind="advanced policy", data=data)


@pytest.fixture
def store_with_server(store: Store, backend: str, describe: Callable[..., dict[str, Any]]) -> Store:
    """A state with SolarAPI and SolarMCP, an MCP server created from it, to which EVApp is subscribed."""
    targets = [target for target, _ in TOOLS.values()] + ["/days/latest"]
    store.state.apis["api-1"].revisions[0].data = describe(
        endpointConfig={
            "endpoint_type": "http",
            "production_endpoints": {"url": backend, "config": {"suspendDuration": 0}},
        },
        operations=[{"target": target, "verb": "GET", "scopes": ["solar:read"]} for target in targets],
        apiThrottlingPolicy="10KPerMin",
    )
    del store.state.subscriptions["sub-1"]
    store.state.mcp_servers["mcp-1"] = mcp_server()
    store.state.subscriptions["sub-2"] = Subscription(
        subscription_id="sub-2", application_id="EVApp", api_id="mcp-1", throttling_policy="Ten"
    )
    store.save()
    return store


@pytest.fixture
async def gateway(store_with_server: Store, open_gateway: Opened) -> AsyncIterator[Gateway]:
    async with open_gateway(store_with_server, 10_000) as gateway:
        yield gateway


@pytest.fixture
def token(store_with_server: Store, tokens: TokenService) -> str:
    return tokens.issue(store_with_server.state.clients["key-EVApp"], "evapp", ("solar:tools",), for_application=True)


@pytest.fixture
async def ask(gateway: Gateway, token: str) -> AsyncIterator[Ask]:
    """Return a function that posts a message to SolarMCP as EVApp; `token=None` omits the token."""
    async with RawTestServer(gateway.handle) as server, ClientSession() as session:

        async def asked(
            method: str = "tools/call",
            params: Any = None,
            *,
            message: Any = None,
            verb: str = "POST",
            path: str = "/mcp",
            bearer: str | None = token,
            headers: dict[str, str] | None = None,
        ) -> ClientResponse:
            sent = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params} if message is None else message
            authorization = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
            content = sent if isinstance(sent, str | bytes) else json.dumps(sent)
            return await session.request(
                verb,
                server.make_url(CONTEXT + path),
                data=None if verb == "GET" else content,
                headers={"Content-Type": "application/json", **authorization, **(headers or {})},
            )

        yield asked


def build_tool_call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


async def error_of(answer: ClientResponse) -> tuple[int, int, str, Any]:
    """Return status, code, message and data of a JSON-RPC error."""
    error = (await answer.json())["error"]
    return answer.status, error["code"], error["message"], error["data"]


async def result_of(answer: ClientResponse) -> Any:
    assert answer.status == 200, await answer.text()
    body = await answer.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", 7)
    return body["result"]


async def fault_of(answer: ClientResponse) -> tuple[int, str]:
    return answer.status, (await answer.json())["code"]


async def test_the_handshake_needs_no_token_and_keeps_no_session(ask: Ask) -> None:
    answer = await ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}}, bearer=None)

    assert await result_of(answer) == {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "SolarMCP", "version": "1.0.0", "description": "This is an MCP Server"},
    }
    assert answer.content_type == "application/json"
    assert "Mcp-Session-Id" not in answer.headers
    assert len(answer.headers["activityid"]) == 36


@pytest.mark.parametrize("requested", ["2024-11-05", "2025-03-26", "2025-11-25", "2026-07-28"])
async def test_an_unsupported_revision_is_rejected_with_the_supported_one(ask: Ask, requested: str) -> None:
    answer = await ask("initialize", {"protocolVersion": requested})

    expected = {"requested": requested, "supported": ["2025-06-18"]}
    assert await error_of(answer) == (200, -32602, "Unsupported protocol version", expected)
    assert (await answer.json())["id"] == 7


async def test_a_handshake_without_a_revision_is_refused(ask: Ask) -> None:
    assert (await error_of(await ask("initialize")))[3] == "Missing params field"
    assert (await error_of(await ask("initialize", {})))[3] == "Missing protocolVersion field"


async def test_the_end_of_the_handshake_is_accepted_without_a_body(ask: Ask) -> None:
    answer = await ask(message={"jsonrpc": "2.0", "method": "notifications/initialized"}, bearer=None)

    assert (answer.status, await answer.read()) == (202, b"")


@pytest.mark.parametrize("method", ["ping", "prompts/list", "resources/list", "resources/templates/list"])
async def test_lists_that_a_server_does_not_offer_are_empty_results_without_a_token(ask: Ask, method: str) -> None:
    assert await result_of(await ask(method, bearer=None)) == {}


@pytest.mark.parametrize("version", [None, "", "1.0", 2])
async def test_the_version_of_json_rpc_is_ignored(ask: Ask, version: object) -> None:
    sent = {"id": 7, "method": "ping"} | ({} if version is None else {"jsonrpc": version})

    assert await result_of(await ask(message=sent, bearer=None)) == {}


@pytest.mark.parametrize(("given", "expected"), [("a", "a"), (1.9, 1), (-1.9, -1), (1e3, 1000)])
async def test_an_id_is_text_or_a_whole_number(ask: Ask, given: object, expected: object) -> None:
    answer = await ask(message={"jsonrpc": "2.0", "id": given, "method": "ping"}, bearer=None)

    assert (await answer.json())["id"] == expected


@pytest.mark.parametrize(("revision", "message_id"), [("2025-11-25", 7), ("", None)])
async def test_an_error_has_no_result_and_its_id_where_the_parameters_are_wrong(
    ask: Ask, revision: str, message_id: int | None
) -> None:
    body = await (await ask("initialize", {"protocolVersion": revision}, bearer=None)).json()

    assert (body["jsonrpc"], body["id"], body["result"]) == ("2.0", message_id, None)


async def test_a_stream_is_refused_in_the_failure_shape(ask: Ask) -> None:
    answer = await ask(verb="GET", bearer=None)

    assert await error_of(answer) == (405, -32600, "Invalid Request", "Server-Sent Events (SSE) not supported")
    assert (await ask(verb="DELETE")).status == 405


async def test_the_resource_metadata_needs_no_token(ask: Ask) -> None:
    answer = await ask(verb="GET", path="/.well-known/oauth-protected-resource", bearer=None)

    metadata = await answer.json()
    assert metadata["resource"] == str(answer.url.origin()) + CONTEXT + "/mcp"
    assert metadata["authorization_servers"] == ["https://localhost:9443/oauth2/token"]
    assert metadata["scopes_supported"] == ["solar:tools"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8243", "localhost.evil.example", "a b", ""])
async def test_a_foreign_host_does_not_appear_in_the_metadata(ask: Ask, host: str) -> None:
    answer = await ask(verb="GET", path="/.well-known/oauth-protected-resource", bearer=None, headers={"Host": host})

    assert "evil" not in await answer.text()


async def test_tools_are_listed_without_the_locations_of_their_arguments(ask: Ask) -> None:
    listed = (await result_of(await ask("tools/list")))["tools"]

    assert [entry["name"] for entry in listed] == list(TOOLS)
    assert listed[1]["inputSchema"] == {
        "type": "object",
        "properties": {"day": {"type": "string"}, "zone": {"type": "string"}},
    }


async def test_the_list_needs_a_token_and_a_subscription_but_no_scope(
    ask: Ask, store_with_server: Store, tokens: TokenService
) -> None:
    without = tokens.issue(store_with_server.state.clients["key-EVApp"], "evapp", ("default",), for_application=True)
    stranger = tokens.issue(
        store_with_server.state.clients["key-Stranger"], "admin", ("solar:tools",), for_application=True
    )

    assert await fault_of(await ask("tools/list", bearer=None)) == (401, "900902")
    assert await fault_of(await ask("tools/list", bearer="garbage")) == (401, "900901")
    assert await fault_of(await ask("tools/list", bearer=stranger)) == (403, "900908")
    assert len((await result_of(await ask("tools/list", bearer=without)))["tools"]) == len(TOOLS)


async def test_a_call_gives_the_backends_answer_as_text(ask: Ask, key: SigningKey) -> None:
    answer = await ask(
        params=build_tool_call("getSolarStatus"),
        headers={"activityid": "round-0001", "MCP-Protocol-Version": "2025-06-18", "X-Mine": "1"},
    )

    result = await result_of(answer)
    (content,) = result["content"]
    received = json.loads(content["text"])
    headers = {name.lower(): value for name, value in received["headers"].items()}
    assert (set(result), result["isError"], content["type"]) == ({"isError", "content"}, False, "text")
    assert (received["path"], received["é"]) == ("/solar-status", 1)
    assert answer.headers["activityid"] == headers["activityid"] == "round-0001"
    assert headers["x-mine"] == "1"
    assert not {"authorization", "content-type", "mcp-protocol-version"} & headers.keys()
    claims = jwt.decode(headers["x-jwt-assertion"], key.key, algorithms=[ALGORITHM]).claims
    claims_by_name = {name.rpartition("/")[2]: value for name, value in claims.items()}
    assert (claims_by_name["apicontext"], claims_by_name["apiname"], claims_by_name["applicationname"]) == (
        API_CONTEXT,
        "SolarAPI",
        "EVApp",
    )


async def test_arguments_arrive_in_path_and_query_and_nowhere_else(ask: Ask) -> None:
    result = await result_of(await ask(params=build_tool_call("getDay", day="mid summer", zone="a&b=c/é")))

    assert json.loads(result["content"][0]["text"])["path"] == "/days/mid%20summer?zone=a%26b%3Dc%2F%C3%A9"


@pytest.mark.parametrize("day", ["../grid-load", "..", "latest"])
async def test_an_argument_never_reaches_another_operation(ask: Ask, day: str) -> None:
    answer = await ask(params=build_tool_call("getDay", day=day))

    assert await error_of(answer) == (200, -32602, "Invalid params", "An argument cannot be a part of the path")


async def test_arguments_that_the_tool_does_not_take_are_refused(ask: Ask) -> None:
    assert (await error_of(await ask(params=build_tool_call("getSolarStatus", admin=True))))[1] == -32602
    assert (await error_of(await ask(params={"name": "getDay", "arguments": ["x"]})))[1] == -32602


async def test_an_unknown_tool_is_an_error(ask: Ask) -> None:
    missing = (200, -32600, "Invalid Request", "The requested tool does not exist")

    assert await error_of(await ask(params=build_tool_call("getGridLoad"))) == missing
    assert (await error_of(await ask(params={})))[3] == "Missing toolName field"
    assert (await error_of(await ask()))[3] == "Missing params field"
    assert await fault_of(await ask(params=build_tool_call("getGridLoad"), bearer=None)) == (401, "900902")


async def test_a_tool_needs_its_scope_and_that_of_the_api_does_not_count(
    ask: Ask, store_with_server: Store, tokens: TokenService
) -> None:
    with_the_apis = tokens.issue(
        store_with_server.state.clients["key-EVApp"], "evapp", ("solar:read",), for_application=True
    )
    answer = await ask(params=build_tool_call("getSolarStatus"), bearer=with_the_apis)

    assert await fault_of(answer) == (403, "900910")
    assert "getSolarStatus" in (await answer.json())["description"]


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("{", "Invalid or Malformed JSON-RPC payload found"),
        ("", "No JSON-RPC payload found"),
        ("[]", "Invalid or Malformed JSON-RPC payload found"),
        ("[" * 100_000, None),
        ('{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', "Invalid or Malformed JSON-RPC payload found"),
        ({"jsonrpc": "2.0", "id": 7}, "Missing method field"),
        ({"jsonrpc": "2.0", "method": "tools/list"}, "Missing id field"),
        ({"jsonrpc": "2.0", "id": None, "method": "tools/list"}, "Missing id field"),
        ({"jsonrpc": "2.0", "id": True, "method": "tools/list"}, "Missing id field"),
        ({"jsonrpc": "2.0", "id": 7, "method": "ping", "params": []}, "Invalid or Malformed JSON-RPC payload found"),
    ],
)
async def test_an_invalid_message_is_rejected_before_authentication(ask: Ask, message: Any, data: Any) -> None:
    answer = await ask(message=message, bearer=None)

    if data is None:
        assert await fault_of(answer) == (413, "413")
    else:
        assert await error_of(answer) == (400, -32600, "Invalid Request", data)
        assert (await answer.json())["id"] in ("7", "null")


async def test_a_deeply_nested_message_is_malformed(ask: Ask) -> None:
    assert (await ask(message="[" * 9_000)).status == 400


async def test_a_message_is_utf_8_and_nothing_else(ask: Ask) -> None:
    message = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"})

    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        assert (await ask(message=message.encode(encoding))).status == 400
    assert (await ask(message=message.encode())).status == 200


async def test_an_unknown_method_is_named_and_its_id_is_text(ask: Ask) -> None:
    answer = await ask("server/discover", bearer=None)

    expected = (400, -32601, "Method not found", "Method server/discover not found")
    assert await error_of(answer) == expected
    assert (await answer.json())["id"] == "7"


async def test_a_body_with_another_content_type_is_rejected(ask: Ask) -> None:
    answer = await ask("ping", headers={"Content-Type": "text/plain"})

    assert await error_of(answer) == (400, -32600, "Invalid Request", "No JSON-RPC payload found")


async def test_lists_and_calls_count_against_the_plan_and_the_handshake_does_not(ask: Ask, clock: SteppedClock) -> None:
    await ask("initialize", {"protocolVersion": "2025-06-18"})
    await ask("ping")
    await ask("tools/list")
    statuses = [(await ask(params=build_tool_call("getSolarStatus"))).status for _ in range(10)]
    refused = await ask("tools/list")

    assert statuses == [200] * 9 + [429]
    assert await fault_of(refused) == (429, "900804")
    assert (await refused.json())["nextAccessTime"] == "2026-Jun-21 12:01:00+0000 UTC"
    assert refused.headers["Retry-After"] == "Sun, 21 Jun 2026 12:01:00 GMT"
    clock.advance(30)
    assert (await ask("tools/list")).status == 200


async def test_a_limit_on_a_tool_holds_for_that_tool_alone(ask: Ask, store_with_server: Store) -> None:
    store_with_server.state.policies["Once"] = once_a_minute()
    operations = [tool(name, target, of, throttlingPolicy="Once") for name, (target, of) in TOOLS.items()]
    store_with_server.state.mcp_servers["mcp-1"] = mcp_server(operations=operations)
    store_with_server.save()
    await ask(params=build_tool_call("getSolarStatus"))

    assert await fault_of(await ask(params=build_tool_call("getSolarStatus"))) == (429, "900802")
    assert (await ask(params=build_tool_call("getDay", day="1"))).status == 200

    store_with_server.state.mcp_servers["mcp-1"] = mcp_server(throttlingPolicy="Once")
    store_with_server.save()
    await ask("tools/list")
    assert await fault_of(await ask(params=build_tool_call("getSolarStatus"))) == (429, "900800")


async def test_subscriptions_and_limits_of_the_underlying_api_do_not_apply(ask: Ask, store_with_server: Store) -> None:
    store_with_server.state.policies["Once"] = once_a_minute()
    store_with_server.state.apis["api-1"].revisions[0].data["apiThrottlingPolicy"] = "Once"
    store_with_server.save()

    results = [await result_of(await ask(params=build_tool_call("getSolarStatus"))) for _ in range(3)]
    assert [result["isError"] for result in results] == [False] * 3


async def test_an_error_of_the_service_is_an_error_result(ask: Ask) -> None:
    result = await result_of(await ask(params=build_tool_call("getProblem")))

    assert result == {"isError": True, "content": [{"type": "text", "text": '{"code": "source_unavailable"}'}]}
    assert (await result_of(await ask(params=build_tool_call("getNothing"))))["content"][0]["text"].endswith(
        "Code: 500"
    )


async def test_a_service_that_cannot_be_reached_is_a_result_with_the_gateways_fault(ask: Ask) -> None:
    result = await result_of(await ask(params=build_tool_call("getSlow")))

    assert result["isError"]
    assert json.loads(result["content"][0]["text"])["code"] == "101505"


async def test_an_answer_that_is_not_json_is_a_failure(ask: Ask) -> None:
    answer = await ask(params=build_tool_call("getPage"))

    expected = "Unsupported content type in the response. Expected: application/json, Found: text/html; charset=utf-8"
    assert await error_of(answer) == (500, -32600, "Invalid Request", expected)
    assert (await answer.json())["id"] == "7"
    assert (await error_of(await ask(params=build_tool_call("getLarge"))))[0] == 500


@pytest.mark.parametrize("closed", ["blocked", "undeployed", "denied", "http only"])
async def test_an_unavailable_api_cannot_be_called_by_tools(ask: Ask, store_with_server: Store, closed: str) -> None:
    api = store_with_server.state.apis["api-1"]
    match closed:
        case "blocked":
            api.lifecycle = "BLOCKED"
        case "undeployed":
            api.revisions[0].environments = []
        case "denied":
            store_with_server.state.deny_policies["d"] = DenyPolicy(
                condition_id="d", condition_type="API", condition_value=API_CONTEXT
            )
        case _:
            api.revisions[0].data["transport"] = ["http"]
    store_with_server.save()

    result = await result_of(await ask(params=build_tool_call("getSolarStatus")))
    code = {"blocked": "700700", "undeployed": "404", "denied": "900805"}.get(closed, "403")
    assert result["isError"]
    assert json.loads(result["content"][0]["text"])["code"] == code


@pytest.mark.parametrize(
    ("condition_type", "condition_value"), [("API", CONTEXT), ("APPLICATION", "evapp:EVApp"), ("IP", "127.0.0.1")]
)
async def test_deny_policies_hold_for_mcp_servers(
    ask: Ask, store_with_server: Store, condition_type: str, condition_value: str
) -> None:
    value = {"fixedIp": condition_value} if condition_type == "IP" else condition_value
    store_with_server.state.deny_policies["d"] = DenyPolicy(
        condition_id="d", condition_type=condition_type, condition_value=value
    )
    store_with_server.save()

    assert await fault_of(await ask(params=build_tool_call("getSolarStatus"))) == (403, "900805")
    assert await fault_of(await ask("tools/list")) == (403, "900805")


async def test_a_server_can_be_blocked_and_its_subscription_too(ask: Ask, store_with_server: Store) -> None:
    store_with_server.state.subscriptions["sub-2"].status = "BLOCKED"
    store_with_server.save()
    assert await fault_of(await ask(params=build_tool_call("getSolarStatus"))) == (401, "900907")

    store_with_server.state.mcp_servers["mcp-1"].lifecycle = "BLOCKED"
    store_with_server.save()
    assert await fault_of(await ask("ping", bearer=None)) == (503, "700700")

    store_with_server.state.mcp_servers["mcp-1"].revisions[0].environments = []
    store_with_server.save()
    assert await fault_of(await ask("ping")) == (404, "404")


async def test_a_tool_call_is_recorded_twice_with_one_id(ask: Ask, metrics: MetricsLog, tmp_path: Path) -> None:
    await ask(params=build_tool_call("getSolarStatus"), headers={"activityid": "round-0001"})
    await ask("tools/list", headers={"activityid": "round-0002"})
    await ask(params=build_tool_call("getSlow"), headers={"activityid": "round-0003"})
    metrics.flush()

    lines = (tmp_path / "apim_metrics.log").read_text().splitlines()
    noted = [json.loads(line.partition("properties :")[2]) for line in lines]
    assert [
        (entry["correlationId"], entry["apiType"], entry["apiName"], entry["proxyResponseCode"]) for entry in noted
    ] == [
        ("round-0001", "HTTP", "SolarAPI", 200),
        ("round-0001", "MCP", "SolarMCP", 200),
        ("round-0002", "MCP", "SolarMCP", 200),
        ("round-0003", "HTTP", "SolarAPI", 500),
        ("round-0003", "MCP", "SolarMCP", 200),
    ]
    assert {entry["applicationName"] for entry in noted} == {"EVApp"}
    assert noted[0]["apiResourceTemplate"] == "/solar-status"
