"""Token endpoint in process: client authentication."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from local_gateway.keys import SigningKey
from local_gateway.management.app import create_management_app
from local_gateway.management.rest import ManagementContext
from local_gateway.state import GatewayState
from wso2_terms.basic_credentials import encode_client

pytestmark = pytest.mark.anyio

FORM = {"grant_type": "client_credentials"}
ODD = [("a:b", "c:d"), ("50%", "1 + 1"), ("\u00fc", "\u5b57\u2713"), ("a&b=c", "/?#%41")]


@pytest.fixture
async def client(context: ManagementContext, key: SigningKey) -> AsyncIterator[Any]:
    async with TestClient(TestServer(create_management_app(context, key, 1 << 20))) as made:
        yield made


async def status_of(client: Any, authorization: str, path: str = "/oauth2/token", **form: str) -> int:
    answer = await client.post(path, data=FORM | form, headers={"Authorization": authorization})
    return int(answer.status)


@pytest.mark.parametrize(("client_id", "secret"), ODD)
async def test_key_and_secret_of_any_characters_are_read_as_they_were_encoded(
    client: Any, state: GatewayState, client_id: str, secret: str
) -> None:
    known = state.clients["key-EVApp"].model_copy(update={"client_id": client_id, "client_secret": secret})
    state.clients[client_id] = known

    assert await status_of(client, encode_client(client_id, secret)) == 200
    assert await status_of(client, encode_client(client_id, secret + "x")) == 401
    assert await status_of(client, encode_client(client_id, secret), "/oauth2/revoke", token="x") == 200


@pytest.mark.parametrize("joined", [b"", b"nobody", b"nobody:x", b"key-EVApp:", b":x", b"\xff:\xff", b"key-EVApp:%FF"])
async def test_other_credentials_are_an_invalid_client(client: Any, joined: bytes) -> None:
    answer = await client.post(
        "/oauth2/token", data=FORM, headers={"Authorization": "Basic " + base64.b64encode(joined).decode()}
    )

    assert (answer.status, (await answer.json())["error"]) == (401, "invalid_client")


async def test_a_client_can_authenticate_in_the_form(client: Any, state: GatewayState) -> None:
    known = state.clients["key-EVApp"]
    form = FORM | {"client_id": known.client_id, "client_secret": known.client_secret}

    assert (await client.post("/oauth2/token", data=form)).status == 200
