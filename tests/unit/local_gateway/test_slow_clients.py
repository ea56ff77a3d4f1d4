"""Listeners with clients that are slow, silent, numerous, disconnected, or use wrong passwords."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ev_service.clock import SteppedClock
from ev_service.connections import ListenerSettings
from local_gateway.app import LocalGateway, build_gateway, serve
from local_gateway.management.rest import LoginDelays
from local_gateway.settings import LocalGatewaySettings
from local_gateway.state import GatewayState
from wso2_terms.codes import UNCLASSIFIED

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
NOON = datetime(2026, 6, 21, 12, 0, 30, tzinfo=UTC)
EVAPP = ("key-EVApp", "secret-of-EVApp")
TOKEN_HEAD = (
    b"POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)


class RunningGateway:
    def __init__(self, local: LocalGateway, ports: dict[str, int]) -> None:
        self.local = local
        self.ports = ports
        self.tls = ssl.create_default_context(cafile=local.key_files.ca)
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, port: str, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = None if port == "http_port" else self.tls
        name = None if tls is None else "localhost"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port], ssl=tls, server_hostname=name)
        self.writers.append(writer)
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return reader, writer

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(10):
            return await reader.read()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"https://localhost:{self.ports['management_port']}", verify=self.tls)

    async def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self.writers), return_exceptions=True)


@asynccontextmanager
async def serving(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str], **listeners: Any
) -> AsyncGenerator[RunningGateway]:
    folder.mkdir(exist_ok=True)
    (folder / "deployment.toml").write_text(DEPLOYMENT)
    settings = LocalGatewaySettings(
        https_port=0,
        http_port=0,
        management_port=0,
        deployment_file=folder / "deployment.toml",
        state_dir=folder / "state",
    )
    local = build_gateway(
        settings,
        SteppedClock(NOON),
        {"WSO2_ADMIN_PASSWORD": "admin-password"},
        ListenerSettings(**listeners),
    )
    for name in ("clients", "applications", "subscriptions", "apis", "policies"):
        getattr(local.context.state, name).update(getattr(state, name))
    stop = asyncio.Event()
    running = asyncio.create_task(serve(local, stop))
    said = ""
    while not said and not running.done():
        await asyncio.sleep(0.01)
        said = capsys.readouterr().out
    served = RunningGateway(local, json.loads(said))
    try:
        yield served
    finally:
        await served.close()
        stop.set()
        await running


@pytest.mark.parametrize("port", ["https_port", "http_port", "management_port"])
async def test_a_head_that_does_not_end_is_answered_with_408(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    async with serving(folder, state, capsys, header_s=0.1) as served:
        reader, _ = await served.connect(port, b"GET / HTTP/1.1\r\nHost:")

        assert (await served.read(reader)).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_does_not_end_is_answered_with_408_and_no_traceback(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(folder, state, capsys, body_s=0.1) as served:
        reader, _ = await served.connect("management_port", TOKEN_HEAD + b"\r\ngrant_type=")

        assert (await served.read(reader)).startswith(b"HTTP/1.1 408 ")

    assert [record for record in caplog.records if record.exc_info] == []


async def test_an_idle_connection_is_closed(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(folder, state, capsys, idle_s=0.1) as served:
        reader, _ = await served.connect("https_port", b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n")

        answer = await served.read(reader)

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b" 408 " not in answer


@pytest.mark.parametrize("sent", [b"", TOKEN_HEAD, TOKEN_HEAD + b"\r\ngrant"], ids=["silent", "half a head", "body"])
async def test_a_token_is_issued_while_other_clients_hold_connections(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str], sent: bytes
) -> None:
    async with serving(folder, state, capsys, max_connections=16, max_connections_per_address=8) as served:
        for _ in range(40):
            await served.connect("management_port", sent)

        async with served.client() as client:
            answer = await client.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=EVAPP)

    assert answer.status_code == 200


async def test_a_full_disk_at_the_renewal_does_not_revoke_the_live_token(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(folder, state, capsys) as served, served.client() as client:
        form = {"grant_type": "client_credentials"}
        live = (await client.post("/oauth2/token", data=form, auth=EVAPP)).json()["access_token"]
        tokens, now = served.local.context.tokens, served.local.context.clock.now()
        verified = tokens.verify(live)
        assert verified is not None

        def is_full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as full:
            full.setattr("local_gateway.state.GatewayState.model_dump_json", is_full)
            failed = await client.post("/oauth2/token", data=form, auth=EVAPP)

        assert failed.status_code == 500
        assert tokens.is_valid(verified, now)
        again = await client.post("/oauth2/token", data=form, auth=EVAPP)
        assert again.status_code == 200
        assert not tokens.is_valid(verified, now)


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str]
) -> None:
    state.apis["api-1"].revisions[0].data["operations"] = [
        {"target": "/solar-status", "verb": "PUT", "authType": "None"}
    ]
    async with serving(folder, state, capsys) as served:
        head = b"PUT /solar/1.0.0/solar-status HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        reader, _ = await served.connect("https_port", head + b"Content-Length: 4\r\n\r\n")

        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_a_client_that_leaves_in_its_body_is_no_failure(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    state.apis["api-1"].revisions[0].data["operations"] = [
        {"target": "/solar-status", "verb": "PUT", "authType": "None"}
    ]
    async with serving(folder, state, capsys) as served:
        head = b"PUT /solar/1.0.0/solar-status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        for port, sent in (("https_port", head), ("http_port", head), ("management_port", TOKEN_HEAD + b"\r\ng")):
            _, writer = await served.connect(port, sent)
            await asyncio.sleep(0.05)
            writer.transport.abort()
        chunked = head.replace(b"Content-Length: 99", b"Transfer-Encoding: chunked") + b"\r\nno chunk\r\n"
        await served.connect("https_port", chunked)
        await asyncio.sleep(0.1)
        served.local.metrics.flush()

    metrics = folder / "state" / "apim_metrics.log"
    log = metrics.read_text() if metrics.exists() else ""
    assert [record for record in caplog.records if record.exc_info] == []
    assert UNCLASSIFIED.code not in log
    assert ":500" not in log.replace(" ", "")


def test_failures_of_an_address_wait_for_each_other_and_memory_is_bounded() -> None:
    failures = LoginDelays(step_s=0.5, longest_s=3.0)

    delays = [failures.record_failure("192.0.2.1", 100.0) for _ in range(20)]

    assert delays[:6] == [0, 0, 0, 0, 0, 0.5]
    assert delays[6:8] == [1.0, 1.5]
    assert max(delays) == 3.0
    assert failures.record_failure("192.0.2.2", 100.0) == 0
    assert failures.record_failure("192.0.2.1", 300.0) == 0
    for number in range(3000):
        failures.record_failure(str(number), 300.0)
    assert len(failures) <= 1024


async def test_only_wrong_credentials_of_an_address_are_delayed(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(folder, state, capsys) as served, served.client() as client:
        form = {"grant_type": "client_credentials"}
        for _ in range(5):
            assert (await client.post("/oauth2/token", data=form, auth=("key-EVApp", "wrong"))).status_code == 401
        wrong = [
            asyncio.create_task(client.post("/oauth2/token", data=form, auth=("key-EVApp", "wrong"))),
            asyncio.create_task(client.get("/api/am/publisher/v4/apis", auth=("admin", "wrong"))),
        ]
        await asyncio.sleep(0.1)

        right = await client.post("/oauth2/token", data=form, auth=EVAPP)
        listed = await client.get("/api/am/publisher/v4/apis", auth=("admin", "admin-password"))
        assert (right.status_code, listed.status_code) == (200, 200)
        assert not any(task.done() for task in wrong)
        assert [(await task).status_code for task in wrong] == [401, 401]


async def test_correct_credentials_without_rights_are_not_delayed(
    folder: Path, state: GatewayState, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(folder, state, capsys) as served, served.client() as client:
        form = {"grant_type": "client_credentials"}
        token = (await client.post("/oauth2/token", data=form, auth=EVAPP)).json()["access_token"]
        started_s = time.monotonic()
        for _ in range(12):
            answer = await client.get("/api/am/publisher/v4/apis", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401

    # Seven delayed answers would take 14 s.
    assert time.monotonic() - started_s < 10
