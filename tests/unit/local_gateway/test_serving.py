"""The whole gateway in process: it listens, prints its ports, issues tokens over TLS, and stops."""

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from local_gateway.app import LocalGateway, build_gateway, serve
from local_gateway.settings import LocalGatewaySettings
from local_gateway.state import GatewayState

pytestmark = pytest.mark.anyio

DEPLOYMENT = """
[server]
hostname = "localhost"
[super_admin]
username = "admin"
password = "$env{WSO2_ADMIN_PASSWORD}"
[apim.analytics]
enable = true
type = "elk"
"""
EVAPP = ("key-EVApp", "secret-of-EVApp")


def build(folder: Path, clock: SteppedClock, http_port: int = 0) -> LocalGateway:
    folder.mkdir(exist_ok=True)
    (folder / "deployment.toml").write_text(DEPLOYMENT)
    settings = LocalGatewaySettings(
        https_port=0,
        http_port=http_port,
        management_port=0,
        deployment_file=folder / "deployment.toml",
        state_dir=folder / "state",
    )
    return build_gateway(settings, clock, {"WSO2_ADMIN_PASSWORD": "admin-password"})


@pytest.fixture
async def management(
    folder: Path, clock: SteppedClock, state: GatewayState, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[httpx.AsyncClient]:
    local = build(folder, clock)
    local.context.state.clients.update(state.clients)
    local.context.state.apis.update(state.apis)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(local, stop))
    said = ""
    while not said and not serving.done():
        await asyncio.sleep(0.01)
        said = capsys.readouterr().out
    port = json.loads(said)["management_port"]
    tls = ssl.create_default_context(cafile=local.key_files.ca)
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=tls) as client:
        yield client
    stop.set()
    await serving


async def token(management: httpx.AsyncClient, auth: tuple[str, str] | None = EVAPP, **form: str) -> httpx.Response:
    return await management.post(
        "/oauth2/token", data={"grant_type": "client_credentials"} | form, auth=auth or httpx.USE_CLIENT_DEFAULT
    )


async def test_a_token_verifies_with_the_published_keys(management: httpx.AsyncClient) -> None:
    answer = (await token(management, scope="device_x")).json()
    discovery = (await management.get("/oauth2/token/.well-known/openid-configuration")).json()
    keys: Any = (await management.get(discovery["jwks_uri"])).json()

    claims = jwt.decode(answer["access_token"], KeySet.import_key_set(keys), algorithms=["RS256"]).claims

    assert claims["iss"] == discovery["issuer"]
    assert (answer["scope"], answer["token_type"], answer["expires_in"]) == ("device_x", "Bearer", 3600)
    assert "refresh_token" not in answer


async def test_nothing_granted_is_the_default_scope(management: httpx.AsyncClient) -> None:
    assert (await token(management, scope="solar:read apim:admin")).json()["scope"] == "default"


async def test_client_credentials_are_accepted_in_the_form(management: httpx.AsyncClient) -> None:
    assert (await token(management, None, client_id=EVAPP[0], client_secret=EVAPP[1])).status_code == 200


@pytest.mark.parametrize("auth", [None, ("key-EVApp", "wrong"), ("nobody", "x")])
async def test_a_client_that_is_not_known_is_refused(
    management: httpx.AsyncClient, auth: tuple[str, str] | None
) -> None:
    answer = await token(management, auth)

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_credentials_that_are_no_text_are_refused(management: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Basic {b64encode(bytes([255, 254])).decode()}"}

    answer = await management.post("/oauth2/token", data={"grant_type": "client_credentials"}, headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_grant_that_is_not_served_or_not_allowed_is_refused(management: httpx.AsyncClient) -> None:
    unknown = await token(management, grant_type="refresh_token")
    forbidden = await token(management, grant_type="password", username="admin", password="admin-password")

    assert (unknown.status_code, unknown.json()["error"]) == (400, "unsupported_grant_type")
    assert (forbidden.status_code, forbidden.json()["error"]) == (400, "unauthorized_client")


async def test_nobody_revokes_the_token_of_another(management: httpx.AsyncClient) -> None:
    mine = (await token(management)).json()["access_token"]

    async def revoke(auth: tuple[str, str], text: str) -> int:
        return (await management.post("/oauth2/revoke", data={"token": text}, auth=auth)).status_code

    assert await revoke(("key-Stranger", "secret-of-Stranger"), mine) == 400
    assert await revoke(EVAPP, mine) == 200
    assert await revoke(EVAPP, "no-token") == 200
    assert await revoke(("key-EVApp", "wrong"), mine) == 401


async def test_a_port_that_is_taken_is_named(folder: Path, clock: SteppedClock) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    taken: int = server.sockets[0].getsockname()[1]

    with pytest.raises(ConfigurationError, match=str(taken)):
        await serve(build(folder, clock, http_port=taken), asyncio.Event())
    server.close()
    await server.wait_closed()
