"""REST APIs in process: authorization, error codes, and state that a rejected request leaves unchanged."""

import io
import json
import zipfile
from base64 import b64decode
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
Project = Callable[..., ApiProject]
Call = Callable[..., Any]


@pytest.fixture
async def client(context: ManagementContext, key: SigningKey) -> AsyncIterator[Any]:
    context.users.add("evapp", "evapp-password", ["Internal/subscriber", "Internal/reader"])
    async with TestClient(TestServer(create_management_app(context, key, 1 << 20))) as client:
        yield client


async def read_error(answer: ClientResponse, status: int, code: int | None = None) -> str:
    body = await answer.json()
    assert (answer.status, body["code"]) == (status, status if code is None else code), body
    assert body.keys() == {"code", "message", "description", "moreInfo", "error"}
    return body["description"]


async def upload(client: Any, project: ApiProject, **query: str) -> ClientResponse:
    form = FormData()
    form.add_field("file", write_api_archive(project), filename="api.zip")
    path, accept = f"{PUBLISHER}/apis/import", {"Accept": "application/json"}
    return await client.post(path, params=query, data=form, headers=ADMIN | accept)


async def test_nobody_gets_in_without_right_credentials(client: Any) -> None:
    path = f"{PUBLISHER}/apis"

    await read_error(await client.get(path), 401)
    await read_error(await client.get(path, headers={"Authorization": encode_basic_auth("admin", "wrong")}), 401)
    await read_error(await client.get(path, headers={"Authorization": "Bearer no-token"}), 401)
    await read_error(await client.get(path, headers={"Authorization": "Basic !!!"}), 401)


async def test_roles_decide_what_a_user_may_do(client: Any) -> None:
    assert (await client.get(f"{DEVPORTAL}/applications", headers=EVAPP)).status == 200
    await read_error(await client.get(f"{PUBLISHER}/apis", headers=EVAPP), 401)
    await read_error(await client.get(f"{ADMIN_API}/throttling/deny-policies", headers=EVAPP), 401)


async def test_an_applications_token_cannot_call_the_rest_apis(
    client: Any, context: ManagementContext, state: GatewayState
) -> None:
    token = context.tokens.issue(state.clients["key-EVApp"], "evapp", ("solar:read",), for_application=True)

    await read_error(await client.get(f"{DEVPORTAL}/applications", headers={"Authorization": f"Bearer {token}"}), 401)


async def test_what_is_not_offered_is_not_found(client: Any) -> None:
    await read_error(await client.get("/scim2/Users", headers=ADMIN), 404)
    await read_error(await client.patch(f"{PUBLISHER}/apis/import", headers=ADMIN), 405)


async def test_an_imported_api_is_published_and_deployed(client: Any, project: Project) -> None:
    wind = project(name="WindAPI", context="/wind", scopes=[], operations=[{"target": "/wind", "verb": "GET"}])

    imported = await (await upload(client, wind, preserveProvider="false")).json()

    path = f"{PUBLISHER}/apis/{imported['id']}"
    assert (await (await client.get(f"{path}/lifecycle-state", headers=ADMIN)).json())["state"] == "Published"
    deployments = await (await client.get(f"{path}/deployments", headers=ADMIN)).json()
    assert [found["revisionUuid"] for found in deployments["list"]] == [imported["revision"]]
    assert (await (await client.get(path, headers=ADMIN)).json())["context"] == "/wind"
    assert (await (await client.get(f"{path}/swagger", headers=ADMIN)).json())["openapi"] == "3.0.3"


async def test_importing_again_keeps_the_id_and_at_most_five_revisions(client: Any, project: Project) -> None:
    ids = {
        (await (await upload(client, project(), overwrite="true", rotateRevision="true")).json())["id"]
        for _ in range(7)
    }

    revisions = await (await client.get(f"{PUBLISHER}/apis/api-1/revisions", headers=ADMIN)).json()
    deployed = await (await client.get(f"{PUBLISHER}/apis/api-1/revisions?query=deployed:true", headers=ADMIN)).json()
    assert ids == {"api-1"}
    assert revisions["count"] == 5
    assert [revision["displayName"] for revision in deployed["list"]] == ["Revision 7"]


async def test_an_import_is_refused_with_the_code_of_its_fault(client: Any, project: Project) -> None:
    other = {"name": "OtherAPI", "context": "/other", "scopes": [], "operations": [{"target": "/o", "verb": "GET"}]}
    elsewhere = {"openapi": "3.0.3", "info": {"title": "x", "version": "1"}, "paths": {"/o": {"$ref": "http://x/y"}}}

    await read_error(await upload(client, project()), 409, 900300)
    await read_error(
        await upload(client, project(name="OtherAPI", scopes=[], operations=other["operations"])), 409, 900251
    )
    await read_error(await upload(client, project(**other, policies=["Platinum"])), 400, 900305)
    await read_error(await upload(client, project(**other, apiThrottlingPolicy="Tiny")), 400, 900305)
    await read_error(await upload(client, project(**other, definition=elsewhere)), 400, 900754)
    await read_error(await upload(client, project(name="OtherAPI", context="/other")), 400)
    roles = [{"scope": {"name": "other:read", "bindings": ["Internal/nobody"]}}]
    assert "Internal/nobody" in await read_error(await upload(client, project(**other | {"scopes": roles})), 400)
    garbage = FormData()
    garbage.add_field("file", b"no zip", filename="api.zip")
    await read_error(await client.post(f"{PUBLISHER}/apis/import", data=garbage, headers=ADMIN), 500, 900967)
    assert (await (await client.get(f"{PUBLISHER}/apis", headers=ADMIN)).json())["count"] == 1


async def test_a_sixth_revision_is_rejected_unless_revisions_rotate(client: Any, project: Project) -> None:
    for _ in range(4):
        assert (await upload(client, project(), overwrite="true")).status == 200

    await read_error(await upload(client, project(), overwrite="true"), 400, 900351)


async def test_an_action_that_the_state_does_not_allow_is_refused(client: Any) -> None:
    path = f"{PUBLISHER}/apis/change-lifecycle?apiId=api-1&action="

    await read_error(await client.post(path + "Publish", headers=ADMIN), 400, 900381)
    blocked = await (await client.post(path + "Block", headers=ADMIN)).json()
    assert blocked["lifecycleState"]["state"] == "Blocked"


async def test_an_application_belongs_to_its_owner_alone(client: Any) -> None:
    path = f"{DEVPORTAL}/applications"

    await read_error(await client.get(f"{path}/EVApp", headers=ADMIN), 403)
    await read_error(await client.get(f"{path}/nothing", headers=ADMIN), 404)
    assert (await (await client.get(path, headers=EVAPP)).json())["count"] == 1
    duplicate = {"name": "EVApp", "throttlingPolicy": "Unlimited"}
    await read_error(await client.post(path, json=duplicate, headers=EVAPP), 409)


async def test_a_subscription_needs_a_plan_that_the_api_offers(client: Any) -> None:
    wanted = {"applicationId": "Stranger", "apiId": "api-1"}
    path = f"{DEVPORTAL}/subscriptions"

    await read_error(await client.post(path, json=wanted | {"throttlingPolicy": "Silver"}, headers=ADMIN), 403)
    created = await client.post(path, json=wanted | {"throttlingPolicy": "Gold"}, headers=ADMIN)
    again = await client.post(path, json=wanted | {"throttlingPolicy": "Gold"}, headers=ADMIN)

    assert created.status == 201
    assert "already exists" in await read_error(again, 409)


async def test_a_plan_is_changed_by_asking_for_another(client: Any, state: GatewayState) -> None:
    body = {"applicationId": "EVApp", "apiId": "api-1", "throttlingPolicy": "Ten", "requestedThrottlingPolicy": "Gold"}

    changed = await client.put(f"{DEVPORTAL}/subscriptions/sub-1", json=body, headers=EVAPP)

    assert changed.status == 200
    assert state.subscriptions["sub-1"].throttling_policy == "Gold"


async def test_keys_are_generated_once_and_shown_again(client: Any) -> None:
    path = f"{DEVPORTAL}/applications/EVApp"
    asked = {"keyType": "SANDBOX", "grantTypesToBeSupported": ["client_credentials"], "validityTime": "600"}

    created = await (await client.post(f"{path}/generate-keys", json=asked, headers=EVAPP)).json()
    await read_error(await client.post(f"{path}/generate-keys", json=asked, headers=EVAPP), 409, 901409)
    listed = await (await client.get(f"{path}/oauth-keys", headers=EVAPP)).json()
    renewed = await client.post(f"{path}/oauth-keys/{created['keyMappingId']}/regenerate-secret", headers=EVAPP)

    assert created["token"]["validityTime"] == 600
    shown = {key["consumerKey"]: key["consumerSecret"] for key in listed["list"]}
    assert shown[created["consumerKey"]] == created["consumerSecret"]
    assert (await renewed.json())["consumerSecret"] != created["consumerSecret"]


async def test_a_new_owner_changes_whose_roles_count(client: Any, state: GatewayState) -> None:
    path = f"{ADMIN_API}/applications/Stranger/change-owner"

    assert (await client.post(f"{path}?owner=evapp", headers=ADMIN)).status == 200
    await read_error(await client.post(f"{path}?owner=nobody", headers=ADMIN), 500, 900967)

    assert state.clients["key-Stranger"].owner == state.applications["Stranger"].owner == "evapp"
    found = await (await client.get(f"{ADMIN_API}/applications?user=evapp&name=Stranger", headers=ADMIN)).json()
    assert found["count"] == 1


async def test_deny_policies_are_validated_before_they_are_stored(client: Any) -> None:
    path = f"{ADMIN_API}/throttling/deny-policies"

    async def deny(kind: str, value: Any) -> ClientResponse:
        return await client.post(path, json={"conditionType": kind, "conditionValue": value}, headers=ADMIN)

    await read_error(await deny("APPLICATION", "evapp:Nothing"), 500, 900967)
    await read_error(await deny("API", "/solar"), 500, 900967)
    await read_error(await deny("IP", {"fixedIp": "everywhere"}), 400)
    await read_error(await deny("PLANET", "earth"), 400)
    created = await (await deny("USER", "evapp")).json()
    assert created["conditionValue"] == "evapp@carbon.super"
    await read_error(await deny("USER", "evapp"), 409)
    one = f"{ADMIN_API}/throttling/deny-policy/{created['conditionId']}"
    changed = await client.patch(one, json={"conditionStatus": False}, headers=ADMIN)
    assert (await changed.json())["conditionStatus"] is False
    assert (await client.delete(one, headers=ADMIN)).status == 200
    await read_error(await client.get(one, headers=ADMIN), 404)


async def test_policies_are_added_once_and_then_changed(client: Any) -> None:
    path = f"{ADMIN_API}/throttling/policies/subscription"
    limit = {"type": "REQUESTCOUNTLIMIT", "requestCount": {"timeUnit": "min", "unitTime": 1, "requestCount": 7}}
    policy = {"policyName": "Seven", "defaultLimit": limit, "stopOnQuotaReach": True}

    created = await client.post(path, json=policy, headers=ADMIN)
    await read_error(await client.post(path, json=policy, headers=ADMIN), 409)
    one = f"{path}/{(await created.json())['policyId']}"
    changed = await client.put(one, json=await created.json() | {"stopOnQuotaReach": False}, headers=ADMIN)

    assert (created.status, changed.status) == (201, 200)
    assert (await (await client.get(one, headers=ADMIN)).json())["stopOnQuotaReach"] is False
    names = {found["policyName"] for found in (await (await client.get(path, headers=ADMIN)).json())["list"]}
    assert {"Seven", "Gold", "Unlimited"} <= names
    await read_error(await client.post(path, json=policy | {"policyName": "x", "defaultLimit": {}}, headers=ADMIN), 400)


async def test_lists_come_in_pages(client: Any) -> None:
    path = f"{DEVPORTAL}/applications"
    second = {"name": "Second", "throttlingPolicy": "Unlimited"}
    assert (await client.post(path, json=second, headers=ADMIN)).status == 201

    first = await (await client.get(f"{path}?limit=1", headers=ADMIN)).json()
    second = await (await client.get(f"{path}?limit=1&offset=1", headers=ADMIN)).json()

    assert (first["count"], first["pagination"]["total"]) == (1, 2)
    assert first["list"] != second["list"]
    await read_error(await client.get(f"{path}?limit=many", headers=ADMIN), 400)


async def test_readiness_needs_no_credentials(client: Any) -> None:
    answer = await client.get("/api/am/gateway/v2/server-startup-healthcheck")

    assert (answer.status, await answer.read()) == (200, b"")


async def test_a_client_is_registered_once_for_its_owner(client: Any) -> None:
    path, wanted = (
        "/client-registration/v0.17/register",
        {"clientName": "boot", "owner": "admin", "grantType": "password"},
    )

    first = await (await client.post(path, json=wanted, headers=ADMIN)).json()
    again = await (await client.post(path, json=wanted, headers=ADMIN)).json()

    assert first == again
    await read_error(await client.post(path, json=wanted | {"owner": "evapp"}, headers=ADMIN), 400)
    await read_error(await client.post(path, json=wanted | {"owner": "evapp"}, headers=EVAPP), 403)
    await read_error(await client.post(path, json=wanted), 401)


async def test_an_application_is_changed_and_removed_with_all_it_has(client: Any, state: GatewayState) -> None:
    path = f"{DEVPORTAL}/applications/EVApp"
    wanted = {"name": "EVApp", "throttlingPolicy": "10PerMin", "description": "limited"}

    changed = await client.put(path, json=wanted, headers=EVAPP)
    await read_error(await client.put(path, json=wanted | {"throttlingPolicy": "Tiny"}, headers=EVAPP), 400)
    assert (await changed.json())["throttlingPolicy"] == "10PerMin"
    assert (await client.delete(path, headers=EVAPP)).status == 200

    assert "EVApp" not in state.applications
    assert "key-EVApp" not in state.clients
    assert state.subscriptions == {}


async def test_an_administrator_lists_exports_and_removes_applications_of_anybody(
    client: Any, context: ManagementContext, state: GatewayState
) -> None:
    token = context.tokens.issue(state.clients["key-EVApp"], "evapp", ("apim:subscribe",), for_application=True)
    listed, own = f"{ADMIN_API}/applications", {"Authorization": f"Bearer {token}"}
    assert (await client.get(f"{DEVPORTAL}/applications", headers=own)).status == 200

    owned = await (await client.get(listed, params={"user": "evapp"}, headers=ADMIN)).json()
    mine = await (await client.get(listed, headers=ADMIN)).json()
    assert [[one["name"] for one in found["list"]] for found in (owned, mine)] == [["EVApp"], ["Stranger"]]
    query = {"appOwner": "evapp", "appName": "EVApp", "withKeys": "true", "format": "JSON"}
    export = await client.get(f"{DEVPORTAL}/applications/export", params=query, headers=ADMIN)
    with zipfile.ZipFile(io.BytesIO(await export.read())) as archive:
        document = json.loads(archive.read("evapp-EVApp/application.json"))
    (key,) = document["data"]["applicationInfo"]["keys"]
    assert (key["consumerKey"], b64decode(key["consumerSecret"])) == ("key-EVApp", b"secret-of-EVApp")
    assert [subscription["apiId"]["apiName"] for subscription in document["data"]["subscribedAPIs"]] == ["SolarAPI"]
    for headers in (EVAPP, own):
        assert (await client.get(f"{DEVPORTAL}/applications/export", params=query, headers=headers)).status == 401
        assert (await client.delete(f"{listed}/EVApp", headers=headers)).status == 401

    assert (await client.delete(f"{listed}/EVApp", headers=ADMIN)).status == 200

    await read_error(await client.delete(f"{listed}/EVApp", headers=ADMIN), 404)
    await read_error(await client.get(f"{DEVPORTAL}/applications/export", params=query, headers=ADMIN), 404)
    # Deleting a key revokes its tokens.
    assert (await client.get(f"{DEVPORTAL}/applications", headers=own)).status == 401


async def test_an_export_shows_keys_only_when_asked(client: Any) -> None:
    query = {"appOwner": "evapp", "appName": "EVApp"}

    export = await client.get(f"{DEVPORTAL}/applications/export", params=query, headers=ADMIN)

    with zipfile.ZipFile(io.BytesIO(await export.read())) as archive:
        assert b"secret-of-EVApp" not in archive.read("evapp-EVApp/application.yaml")
    await read_error(await client.get(f"{DEVPORTAL}/applications/export", headers=ADMIN), 400)


async def test_an_application_is_made_for_its_caller(client: Any) -> None:
    path, wanted = f"{DEVPORTAL}/applications", {"name": "Second", "throttlingPolicy": "Unlimited"}

    created = await (await client.post(path, json=wanted, headers=EVAPP)).json()

    assert (created["owner"], created["status"], created["tokenType"]) == ("evapp", "APPROVED", "JWT")
    shown = await (await client.get(f"{path}/{created['applicationId']}", headers=EVAPP)).json()
    assert shown["name"] == "Second"
    await read_error(await client.post(path, json={"name": ""}, headers=EVAPP), 400)
    await read_error(await client.post(path, data=b"{", headers=EVAPP), 400)


async def test_many_subscriptions_are_made_in_one_call(client: Any) -> None:
    one = {"applicationId": "Stranger", "apiId": "api-1", "throttlingPolicy": "Gold"}

    created = await (await client.post(f"{DEVPORTAL}/subscriptions/multiple", json=[one], headers=ADMIN)).json()
    await read_error(await client.post(f"{DEVPORTAL}/subscriptions/multiple", json={"no": "list"}, headers=ADMIN), 400)

    listed = await (await client.get(f"{DEVPORTAL}/subscriptions?applicationId=Stranger", headers=ADMIN)).json()
    assert [found["subscriptionId"] for found in listed["list"]] == [created[0]["subscriptionId"]]
    path = f"{DEVPORTAL}/subscriptions/{created[0]['subscriptionId']}"
    assert (await client.delete(path, headers=ADMIN)).status == 200
    await read_error(await client.delete(path, headers=ADMIN), 404)


async def test_only_a_published_api_takes_subscriptions(client: Any, state: GatewayState) -> None:
    state.apis["api-1"].lifecycle = "CREATED"
    wanted = {"applicationId": "Stranger", "apiId": "api-1", "throttlingPolicy": "Gold"}

    await read_error(await client.post(f"{DEVPORTAL}/subscriptions", json=wanted, headers=ADMIN), 400)
    await read_error(await client.post(f"{DEVPORTAL}/subscriptions", json=wanted | {"apiId": "x"}, headers=ADMIN), 404)
    assert (await (await client.get(f"{DEVPORTAL}/apis?query=name:Solar", headers=ADMIN)).json())["count"] == 0


async def test_a_subscription_is_found_and_blocked_by_the_publisher(client: Any, state: GatewayState) -> None:
    path = f"{PUBLISHER}/subscriptions"

    found = (await (await client.get(f"{path}?apiId=api-1", headers=ADMIN)).json())["list"][0]
    query = f"subscriptionId={found['subscriptionId']}"
    blocked = await client.post(f"{path}/block-subscription?{query}&blockState=BLOCKED", headers=ADMIN)

    assert found["applicationInfo"]["name"] == "EVApp"
    assert (blocked.status, state.subscriptions["sub-1"].status) == (200, "BLOCKED")
    await read_error(await client.post(f"{path}/block-subscription?{query}&blockState=MAYBE", headers=ADMIN), 400)
    await read_error(await client.post(f"{path}/unblock-subscription?subscriptionId=x", headers=ADMIN), 404)
    assert (await client.post(f"{path}/unblock-subscription?{query}", headers=ADMIN)).status == 200
    assert state.subscriptions["sub-1"].status == "UNBLOCKED"


async def test_a_revision_is_made_deployed_and_taken_back_by_hand(client: Any, state: GatewayState) -> None:
    path = f"{PUBLISHER}/apis/api-1"
    everywhere = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]

    created = await (await client.post(f"{path}/revisions", json={"description": "second"}, headers=ADMIN)).json()
    query = f"revisionId={created['id']}"
    await read_error(
        await client.post(f"{path}/deploy-revision?{query}", json=[{"name": "Mars"}], headers=ADMIN), 404, 900506
    )
    await read_error(await client.post(f"{path}/deploy-revision?{query}", json=[{}], headers=ADMIN), 400)
    deployed = await client.post(f"{path}/deploy-revision?{query}", json=everywhere, headers=ADMIN)
    assert deployed.status == 201
    assert [bool(revision.environments) for revision in state.apis["api-1"].revisions] == [False, True]
    await read_error(await client.delete(f"{path}/revisions/{created['id']}", headers=ADMIN), 400, 900352)
    assert (await client.post(f"{path}/undeploy-revision?{query}", headers=ADMIN)).status == 201
    assert (await client.delete(f"{path}/revisions/{created['id']}", headers=ADMIN)).status == 200
    await read_error(await client.delete(f"{path}/revisions/{created['id']}", headers=ADMIN), 404, 900354)


async def test_a_retired_api_is_not_served(client: Any, state: GatewayState) -> None:
    for action in ("Deprecate", "Retire"):
        await client.post(f"{PUBLISHER}/apis/change-lifecycle?apiId=api-1&action={action}", headers=ADMIN)

    assert state.apis["api-1"].lifecycle == "RETIRED"
    assert state.apis["api-1"].deployed_revision is None


async def test_an_api_has_arrived_at_the_gateway_once_it_is_deployed(client: Any, state: GatewayState) -> None:
    path = "/api/am/gateway/v2/api-artifact?apiName=SolarAPI&version=1.0.0"

    assert (await client.get(path, headers=ADMIN)).status == 200
    state.apis["api-1"].revisions[0].environments = []
    await read_error(await client.get(path, headers=ADMIN), 404)


async def test_a_policy_file_is_imported_and_updated(client: Any, state: GatewayState) -> None:
    text = """
type: throttling policy
subtype: advanced policy
version: v4.6.0
data:
  policyName: Backend
  defaultLimit: {type: REQUESTCOUNTLIMIT, requestCount: {timeUnit: min, unitTime: 1, requestCount: 60}}
"""

    async def import_policy(content: str, name: str = "policy.yaml", query: str = "") -> ClientResponse:
        form = FormData()
        form.add_field("file", content.encode(), filename=name)
        return await client.post(f"{ADMIN_API}/throttling/policies/import{query}", data=form, headers=ADMIN)

    first = await import_policy(text)
    assert (first.status, await first.json()) == (201, "Successfully imported Advanced Throttling Policy : Backend")
    await read_error(await import_policy(text), 409)
    assert (await import_policy(text, query="?overwrite=true")).status == 200
    await read_error(await import_policy(text, name="policy.txt"), 400)
    await read_error(await import_policy(text.replace("advanced", "strange")), 500, 900967)
    assert sum(policy.name == "Backend" for policy in state.policies.values()) == 1


async def test_an_api_is_deleted_when_nobody_is_subscribed(client: Any, state: GatewayState) -> None:
    await read_error(await client.delete(f"{PUBLISHER}/apis/api-1", headers=ADMIN), 409)
    state.subscriptions.clear()

    assert (await client.delete(f"{PUBLISHER}/apis/api-1", headers=ADMIN)).status == 200

    assert state.apis == {}
    await read_error(await client.get(f"{PUBLISHER}/apis/api-1", headers=ADMIN), 404)


async def test_a_policy_is_deleted_if_nothing_uses_it(client: Any, state: GatewayState) -> None:
    path = f"{ADMIN_API}/throttling/policies/subscription"
    listed = (await (await client.get(path, headers=ADMIN)).json())["list"]
    ids = {policy["policyName"]: policy["policyId"] for policy in listed}
    followed = state.apis["api-1"].data["policies"][0]

    await read_error(await client.delete(f"{path}/{ids[followed]}", headers=ADMIN), 409)
    assert (await client.delete(f"{path}/{ids['Bronze']}", headers=ADMIN)).status == 200

    await read_error(await client.get(f"{path}/{ids['Bronze']}", headers=ADMIN), 404)
