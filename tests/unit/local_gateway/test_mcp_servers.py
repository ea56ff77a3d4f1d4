"""REST APIs in process: MCP servers created from an API, their tools, and rejected requests."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, FormData, encode_basic_auth
from aiohttp.test_utils import TestClient, TestServer

from local_gateway.keys import SigningKey
from local_gateway.management.app import create_management_app
from local_gateway.management.rest import ManagementContext
from local_gateway.state import GatewayState
from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import ApiProject

pytestmark = pytest.mark.anyio

ADMIN = {"Authorization": encode_basic_auth("admin", "admin-password")}
EVAPP = {"Authorization": encode_basic_auth("evapp", "evapp-password")}
PUBLISHER, DEVPORTAL, ADMIN_API = "/api/am/publisher/v4", "/api/am/devportal/v3", "/api/am/admin/v4"
SERVERS = f"{PUBLISHER}/mcp-servers"
MADE_HERE = f"{SERVERS}/generate-from-api"
DEFAULT = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]
ANSWERS = {"responses": {"200": {"description": "status"}}}
DEFINITION = {
    "openapi": "3.0.3",
    "info": {"title": "SolarAPI", "version": "1.0.0"},
    "paths": {
        "/solar-status": {"get": {"operationId": "getSolarStatus", "summary": "What it gives now.", **ANSWERS}},
        "/days/{day}": {
            "get": {
                "description": "What it gave on a day.",
                "parameters": [
                    {"name": "day", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "unit", "in": "query", "schema": {"type": "string", "enum": ["kWh", "MJ"]}},
                ],
                **ANSWERS,
            }
        },
    },
}


@pytest.fixture
async def client(context: ManagementContext, key: SigningKey, state: GatewayState) -> AsyncIterator[Any]:
    context.users.add("evapp", "evapp-password", ["Internal/subscriber", "Internal/reader"])
    state.apis["api-1"].definition = DEFINITION
    async with TestClient(TestServer(create_management_app(context, key, 1 << 20))) as client:
        yield client


def tool(path: str = "/solar-status", api_id: str = "api-1", **more: Any) -> dict[str, Any]:
    behind = {"apiId": api_id, "backendOperation": {"target": path, "verb": "GET"}}
    return {"feature": "TOOL", "apiOperationMapping": behind, **more}


def server(**changes: Any) -> dict[str, Any]:
    usual = {"name": "SolarMCP", "context": "/solar-mcp", "version": "1.0.0", "policies": ["Ten"]}
    return {**usual, "operations": [tool()]} | changes


def scope(name: str, role: str = "Internal/reader") -> dict[str, Any]:
    return {"scope": {"name": name, "bindings": [role]}}


async def create(client: Any, **changes: Any) -> dict[str, Any]:
    answer = await client.post(MADE_HERE, headers=ADMIN, json=server(**changes))
    assert answer.status == 201, await answer.text()
    return await answer.json()


async def read_error(answer: ClientResponse, status: int, code: int | None = None) -> str:
    body = await answer.json()
    assert (answer.status, body["code"]) == (status, status if code is None else code), body
    return body["description"]


async def get(client: Any, path: str, headers: dict[str, str] = ADMIN, **query: str) -> Any:
    answer = await client.get(path, headers=headers, params=query)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def publish(client: Any, server_id: str) -> None:
    query = {"mcpServerId": server_id, "action": "Publish"}
    assert (await client.post(f"{SERVERS}/change-lifecycle", params=query, headers=ADMIN)).status == 200


async def subscribe(client: Any, server_id: str, plan: str = "Ten") -> ClientResponse:
    wanted = {"applicationId": "EVApp", "apiId": server_id, "throttlingPolicy": plan}
    return await client.post(f"{DEVPORTAL}/subscriptions", headers=EVAPP, json=wanted)


async def test_a_tool_takes_name_description_and_arguments_from_the_operation(client: Any) -> None:
    one = tool("/days/{day}", target="renamed", description="other words", schemaDefinition="{}")

    found = await create(client, operations=[tool(), one])

    status, day = found["operations"]
    assert (status["target"], status["description"]) == ("getSolarStatus", "What it gives now.")
    assert (day["target"], day["description"]) == ("get_days_by_day", "What it gave on a day.")
    schema = json.loads(day["schemaDefinition"])
    assert schema["properties"]["query_unit"]["enum"] == ["kWh", "MJ"]
    assert schema["required"] == ["path_day"]
    mapping = day["apiOperationMapping"]
    assert mapping["apiId"] == "api-1"
    assert (mapping["apiName"], mapping["apiVersion"], mapping["apiContext"]) == ("SolarAPI", "1.0.0", "/solar/1.0.0")


async def test_a_new_server_is_created_deployed_nowhere_and_belongs_to_its_maker(client: Any) -> None:
    found = await create(client)

    assert (found["lifeCycleStatus"], found["provider"]) == ("CREATED", "admin")
    assert found["subtypeConfiguration"] == {"subtype": "EXISTING_API"}
    assert (await get(client, f"{SERVERS}/{found['id']}/lifecycle-state"))["state"] == "Created"
    assert (await get(client, f"{SERVERS}/{found['id']}/deployments"))["list"] == []


async def test_operations_that_the_api_does_not_have_are_dropped_silently(client: Any) -> None:
    found = await create(client, operations=[tool(), tool("/nowhere")])

    assert [one["target"] for one in found["operations"]] == ["getSolarStatus"]
    await read_error(
        await client.post(MADE_HERE, headers=ADMIN, json=server(name="X", context="/x", operations=[tool("/nowhere")])),
        400,
    )


async def test_unknown_fields_of_an_mcp_server_are_ignored(client: Any) -> None:
    found = await create(client, operations=[tool(id="1", uriMapping="")], scopes=[scope("s") | {"usageCount": 3}], x=1)

    assert "x" not in found
    assert "uriMapping" not in found["operations"][0]


async def test_the_underlying_api_is_found_by_its_id_and_must_be_deployed(client: Any, state: GatewayState) -> None:
    unknown = server(operations=[tool(api_id="SolarAPI")])

    await read_error(await client.post(MADE_HERE, headers=ADMIN, json=unknown), 500, 900967)
    state.apis["api-1"].revisions[0].environments = []
    await read_error(await client.post(MADE_HERE, headers=ADMIN, json=server()), 400)
    assert state.mcp_servers == {}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"name": "SolarAPI"}, 409, 900300),
        ({"context": "/solar"}, 409, 900251),
        ({"policies": ["Platinum"]}, 400, 900305),
        ({"throttlingPolicy": "Tiny"}, 400, 900305),
        ({"operations": [tool(throttlingPolicy="Tiny")]}, 400, 900305),
        ({"operations": [tool(scopes=["nobody's"])]}, 400, None),
        ({"scopes": [scope("solar:read")]}, 400, None),
        ({"scopes": [scope("solar:tools", "Internal/nobody")]}, 400, None),
        ({"operations": []}, 400, None),
        ({"operations": "all"}, 400, None),
        ({"context": "no slash"}, 400, None),
    ],
)
async def test_a_server_that_cannot_be_is_refused_with_the_code_of_its_fault(
    client: Any, state: GatewayState, changes: dict[str, Any], status: int, code: int | None
) -> None:
    await read_error(await client.post(MADE_HERE, headers=ADMIN, json=server(**changes)), status, code)

    assert state.mcp_servers == {}


async def test_names_contexts_and_scopes_are_taken_once_by_apis_and_servers_together(
    client: Any, project: Callable[..., ApiProject]
) -> None:
    await create(client, scopes=[scope("solar:tools")])

    await read_error(await client.post(MADE_HERE, headers=ADMIN, json=server()), 409, 900300)
    other: dict[str, Any] = {"context": "/other", "scopes": [], "operations": [{"target": "/o", "verb": "GET"}]}
    await read_error(await upload(client, project(name="SolarMCP", **other)), 409, 900300)
    await read_error(await upload(client, project(name="X", **other | {"context": "/solar-mcp"})), 409, 900251)
    taken = [{"scope": {"name": "solar:tools", "bindings": ["Internal/reader"]}}]
    await read_error(await upload(client, project(name="X", **other | {"scopes": taken})), 400)


async def upload(client: Any, project: ApiProject) -> ClientResponse:
    form = FormData()
    form.add_field("file", write_api_archive(project), filename="api.zip")
    return await client.post(f"{PUBLISHER}/apis/import?overwrite=true", data=form, headers=ADMIN)


async def test_a_change_keeps_tools_that_come_whole_and_makes_those_that_are_new(client: Any) -> None:
    found = await create(client, scopes=[scope("solar:tools")])
    operation = found["operations"][0] | {"description": "as approved", "scopes": ["solar:tools"]}

    body = found | {"operations": [operation, tool("/days/{day}")], "displayName": "Sun"}
    answer = await client.put(f"{SERVERS}/{found['id']}", headers=ADMIN, json=body)

    changed = await answer.json()
    assert answer.status == 200
    assert changed == await get(client, f"{SERVERS}/{found['id']}")
    assert changed["displayName"] == "Sun"
    assert [(one["target"], one["description"]) for one in changed["operations"]] == [
        ("getSolarStatus", "as approved"),
        ("get_days_by_day", "What it gave on a day."),
    ]


async def test_a_change_leaves_name_context_state_and_what_is_deployed_as_they_were(client: Any) -> None:
    found = await create(client)
    path = f"{SERVERS}/{found['id']}"
    await publish(client, found["id"])
    revision = await (await client.post(f"{path}/revisions", headers=ADMIN, json={"description": "first"})).json()
    await client.post(f"{path}/deploy-revision?revisionId={revision['id']}", headers=ADMIN, json=DEFAULT)

    for name in ("name", "version", "context"):
        await read_error(await client.put(path, headers=ADMIN, json=found | {name: "/9.9.9"}), 400)
    changed = await client.put(path, headers=ADMIN, json=server(operations=[tool("/days/{day}")]))

    assert (await changed.json())["lifeCycleStatus"] == "PUBLISHED"
    [deployed] = (await get(client, f"{path}/deployments"))["list"]
    assert deployed["revisionUuid"] == revision["id"]


async def test_revisions_of_a_server_follow_the_rules_of_those_of_an_api(client: Any) -> None:
    path = f"{SERVERS}/{(await create(client))['id']}"
    ids = [(await (await client.post(f"{path}/revisions", headers=ADMIN, json={})).json())["id"] for _ in range(5)]

    await read_error(await client.post(f"{path}/revisions", headers=ADMIN, json={}), 400, 900351)
    for revision in ids[:2]:
        deployed = await client.post(f"{path}/deploy-revision?revisionId={revision}", headers=ADMIN, json=DEFAULT)
        assert deployed.status == 201
    assert [one["id"] for one in (await get(client, f"{path}/revisions", query="deployed:true"))["list"]] == [ids[1]]
    await read_error(await client.delete(f"{path}/revisions/{ids[1]}", headers=ADMIN), 400, 900352)
    undeployed = await client.post(f"{path}/undeploy-revision?revisionId={ids[1]}", headers=ADMIN, json=DEFAULT)
    assert undeployed.status == 201
    assert (await (await client.delete(f"{path}/revisions/{ids[1]}", headers=ADMIN)).json())["count"] == 4


async def test_a_server_is_found_by_name_and_version_and_stands_in_no_list_of_apis(client: Any) -> None:
    found = await create(client)

    [listed] = (await get(client, SERVERS, query="name:SolarMCP version:1.0.0"))["list"]
    assert (listed["id"], listed["type"], listed["subtype"]) == (found["id"], "MCP", "EXISTING_API")
    assert (await get(client, SERVERS, query="version:2.0.0"))["count"] == 0
    assert [one["name"] for one in (await get(client, f"{PUBLISHER}/apis"))["list"]] == ["SolarAPI"]
    await read_error(await client.get(f"{PUBLISHER}/apis/{found['id']}", headers=ADMIN), 404)


async def test_a_published_server_is_subscribed_to_like_an_api_and_then_not_deleted(client: Any) -> None:
    server_id = (await create(client))["id"]
    await read_error(await subscribe(client, server_id), 400)
    await publish(client, server_id)

    await read_error(await subscribe(client, server_id, "Gold"), 403)
    subscription = await (await subscribe(client, server_id)).json()

    assert (subscription["apiInfo"]["name"], subscription["apiInfo"]["type"]) == ("SolarMCP", "MCP")
    assert [one["id"] for one in (await get(client, f"{DEVPORTAL}/mcp-servers", EVAPP))["list"]] == [server_id]
    await read_error(await client.delete(f"{SERVERS}/{server_id}", headers=ADMIN), 409)
    await client.delete(f"{DEVPORTAL}/subscriptions/{subscription['subscriptionId']}", headers=EVAPP)
    assert (await client.delete(f"{SERVERS}/{server_id}", headers=ADMIN)).status == 200
    await read_error(await client.get(f"{SERVERS}/{server_id}", headers=ADMIN), 404)


async def test_a_subscription_to_a_server_is_listed_blocked_and_unblocked(client: Any, state: GatewayState) -> None:
    server_id = (await create(client))["id"]
    await publish(client, server_id)
    await subscribe(client, server_id)

    [subscription] = (await get(client, f"{PUBLISHER}/subscriptions", apiId=server_id))["list"]
    query = {"subscriptionId": subscription["subscriptionId"], "blockState": "BLOCKED"}
    await client.post(f"{PUBLISHER}/subscriptions/block-subscription", params=query, headers=ADMIN)
    assert state.subscriptions[subscription["subscriptionId"]].status == "BLOCKED"
    await client.post(f"{PUBLISHER}/subscriptions/unblock-subscription", params=query, headers=ADMIN)
    assert state.subscriptions[subscription["subscriptionId"]].status == "UNBLOCKED"


async def test_a_server_is_denied_by_its_context_with_the_version(client: Any) -> None:
    await create(client)
    denied = {"conditionType": "API", "conditionValue": "/solar-mcp/1.0.0", "conditionStatus": True}

    path = f"{ADMIN_API}/throttling/deny-policies"
    assert (await client.post(path, headers=ADMIN, json=denied)).status == 201
    await read_error(
        await client.post(path, headers=ADMIN, json=denied | {"conditionValue": "/solar-mcp"}), 500, 900967
    )


async def test_a_policy_that_a_server_or_tool_uses_is_not_deleted(client: Any) -> None:
    policies = f"{ADMIN_API}/throttling/policies/advanced"
    limit = {"type": "REQUESTCOUNTLIMIT", "requestCount": {"timeUnit": "min", "unitTime": 1, "requestCount": 5}}
    for name in ("OfTools", "OfServer"):
        answer = await client.post(policies, headers=ADMIN, json={"policyName": name, "defaultLimit": limit})
        assert answer.status == 201
    found = await create(client, throttlingPolicy="OfServer", operations=[tool(throttlingPolicy="OfTools")])

    listed = {one["policyName"]: one["policyId"] for one in (await get(client, policies))["list"]}
    for name in ("OfTools", "OfServer"):
        await read_error(await client.delete(f"{policies}/{listed[name]}", headers=ADMIN), 409)
    assert (await client.delete(f"{SERVERS}/{found['id']}", headers=ADMIN)).status == 200
    for name in ("OfTools", "OfServer"):
        assert (await client.delete(f"{policies}/{listed[name]}", headers=ADMIN)).status == 200


async def test_an_api_that_a_server_is_made_from_keeps_its_operations_and_stays(
    client: Any, state: GatewayState, project: Callable[..., ApiProject]
) -> None:
    found = await create(client)
    state.subscriptions.clear()
    smaller = project(operations=[{"target": "/other", "verb": "GET"}])

    usage = await get(client, f"{PUBLISHER}/apis/api-1/mcp-servers-usage")
    assert usage["list"] == [{"id": found["id"], "name": "SolarMCP", "version": "1.0.0", "provider": "admin"}]
    assert "/solar-status" in await read_error(await upload(client, smaller), 409)
    await read_error(await client.delete(f"{PUBLISHER}/apis/api-1", headers=ADMIN), 409)
    await client.delete(f"{SERVERS}/{found['id']}", headers=ADMIN)
    assert (await upload(client, smaller)).status == 200
    assert (await client.delete(f"{PUBLISHER}/apis/api-1", headers=ADMIN)).status == 200


async def test_managing_servers_requires_a_scope_for_servers(
    client: Any, context: ManagementContext, state: GatewayState
) -> None:
    body = server()
    for scope_name, status in (
        ("apim:api_manage", 401),
        ("apim:mcp_server_view", 401),
        ("apim:mcp_server_create", 201),
    ):
        token = context.tokens.issue(state.clients["key-EVApp"], "admin", (scope_name,), for_application=False)
        answer = await client.post(MADE_HERE, headers={"Authorization": f"Bearer {token}"}, json=body)
        assert answer.status == status
    await read_error(await client.get(SERVERS, headers=EVAPP), 401)


async def test_a_deployed_server_is_found_by_the_gateways_own_api(client: Any) -> None:
    path = f"{SERVERS}/{(await create(client))['id']}"
    artifact = "/api/am/gateway/v2/api-artifact"

    await read_error(await client.get(artifact, params={"apiName": "SolarMCP", "version": "1.0.0"}, headers=ADMIN), 404)
    revision = await (await client.post(f"{path}/revisions", headers=ADMIN, json={})).json()
    await client.post(f"{path}/deploy-revision?revisionId={revision['id']}", headers=ADMIN, json=DEFAULT)
    assert await get(client, artifact, apiName="SolarMCP", version="1.0.0") == {"api": ["/solar-mcp/1.0.0"]}
