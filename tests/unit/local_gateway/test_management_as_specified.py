"""REST APIs in process: authorization and list contents that WSO2's specifications define."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import encode_basic_auth
from aiohttp.test_utils import TestClient, TestServer

from local_gateway.keys import SigningKey
from local_gateway.management.app import create_management_app
from local_gateway.management.rest import ManagementContext
from local_gateway.state import GatewayState

pytestmark = pytest.mark.anyio

ADMIN = {"Authorization": encode_basic_auth("admin", "admin-password")}
EVAPP = {"Authorization": encode_basic_auth("evapp", "evapp-password")}
PUBLISHER, DEVPORTAL, ADMIN_API = "/api/am/publisher/v4", "/api/am/devportal/v3", "/api/am/admin/v4"


@pytest.fixture
async def client(context: ManagementContext, key: SigningKey) -> AsyncIterator[Any]:
    context.users.add("evapp", "evapp-password", ["Internal/subscriber"])
    async with TestClient(TestServer(create_management_app(context, key, 1 << 20))) as client:
        yield client


@pytest.mark.parametrize(
    ("scope", "path", "status"),
    [
        ("apim:api_view", f"{PUBLISHER}/apis", 200),
        ("apim:admin", f"{PUBLISHER}/apis", 401),
        ("apim:api_create", f"{PUBLISHER}/apis", 401),
        ("apim:subscription_view", f"{PUBLISHER}/subscriptions", 200),
        ("apim:admin", f"{PUBLISHER}/subscriptions", 401),
        ("apim:app_manage", f"{DEVPORTAL}/applications", 200),
        ("apim:admin", f"{DEVPORTAL}/applications", 401),
        ("apim:tier_view", f"{ADMIN_API}/throttling/policies/advanced", 200),
        ("apim:tier_manage", f"{ADMIN_API}/throttling/policies/advanced", 401),
        ("apim:bl_manage", f"{ADMIN_API}/throttling/deny-policies", 401),
    ],
)
async def test_a_token_can_call_only_operations_of_its_scope(
    client: Any, context: ManagementContext, state: GatewayState, scope: str, path: str, status: int
) -> None:
    token = context.tokens.issue(state.clients["key-EVApp"], "admin", (scope,), for_application=False)

    assert (await client.get(path, headers={"Authorization": f"Bearer {token}"})).status == status


async def test_an_api_by_itself_says_lastupdatedtime_and_in_a_list_updatedtime(client: Any) -> None:
    listed = (await (await client.get(f"{PUBLISHER}/apis", headers=ADMIN)).json())["list"][0]
    alone = await (await client.get(f"{PUBLISHER}/apis/{listed['id']}", headers=ADMIN)).json()

    assert alone["lastUpdatedTime"] == listed["updatedTime"]
    assert "updatedTime" not in alone
    assert "lastUpdatedTime" not in listed


async def test_details_of_an_application_stand_in_no_list(client: Any) -> None:
    body = {"name": "Shown", "throttlingPolicy": "Unlimited"}
    alone = await (await client.post(f"{DEVPORTAL}/applications", headers=EVAPP, json=body)).json()

    named = {"query": "Shown"}
    [listed] = (await (await client.get(f"{DEVPORTAL}/applications", headers=EVAPP, params=named)).json())["list"]

    assert alone.keys() - listed.keys() == {"keys", "hashEnabled", "subscriptionScopes"}


async def test_conditions_of_an_advanced_policy_stand_in_no_list(client: Any) -> None:
    policies = f"{ADMIN_API}/throttling/policies/advanced"
    limit = {"type": "REQUESTCOUNTLIMIT", "requestCount": {"timeUnit": "min", "unitTime": 1, "requestCount": 5}}
    body: dict[str, Any] = {"policyName": "Narrow", "defaultLimit": limit, "conditionalGroups": []}
    created = await (await client.post(policies, headers=ADMIN, json=body)).json()

    listed = (await (await client.get(policies, headers=ADMIN)).json())["list"]

    assert created["conditionalGroups"] == []
    assert [policy for policy in listed if "conditionalGroups" in policy] == []
