"""What the devices' side needs, made by the twin's image, and the broker of compose.yaml on a folder with it.

The folder stands for that of a site with devices of its own: no volume and no twin.
"""

import asyncio
import json
import os
import secrets
import ssl
import subprocess
from collections.abc import Generator
from pathlib import Path

import aiomqtt
import pytest

from local_stack.environment import find_free_ports

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
COMMAND_S = 120
INIT = "python -m site_twin --init"
MADE = {
    *("ca.pem", "broker.pem", "broker-key.pem", "chargers.pem", "chargers-key.pem"),
    *("chargers.json", "charge-points.json"),
}


def docker(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_twins_image_makes_up_a_field_and_keeps_it_the_next_time(images: dict[str, str]) -> None:
    listed = f"{INIT} /tmp/field >/dev/null && md5sum /tmp/field/*"
    twice = f"{listed} && echo again && {listed} && stat -c '%a %n' /tmp/field/*"
    confined = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]

    told = docker("run", *confined, "--entrypoint", "sh", images["twin"], "-c", twice)

    first, second = told.split("again\n")
    sums = first.splitlines()
    assert {line.rsplit("/", 1)[1] for line in sums} == MADE
    assert second.splitlines()[: len(sums)] == sums
    modes = {line.rsplit("/", 1)[1]: line.split()[0] for line in second.splitlines()[len(sums) :]}
    assert {name for name, mode in modes.items() if mode == "600"} == {
        *("broker-key.pem", "chargers-key.pem", "charge-points.json"),
    }


@pytest.fixture
def field(images: dict[str, str], tmp_path: Path) -> Generator[Path]:
    """A folder that belongs to the user of the containers."""
    folder = tmp_path / "field"
    folder.mkdir()
    as_root = ["--rm", "--user", "0:0", "--volume", f"{folder}:/field", "--entrypoint", "sh", images["twin"], "-c"]
    docker("run", *as_root, f"{INIT} /field && chown -R 10001:10001 /field && chmod 755 /field")
    yield folder
    docker("run", *as_root, "rm -rf /field/*")


@pytest.fixture
def broker(broker_image: str, field: Path) -> Generator[tuple[str, ...]]:
    """The command that reaches the broker's project, whose broker is healthy; `port` is where it is published."""
    assert broker_image
    project, port = f"ev-test-{secrets.token_hex(4)}", next(find_free_ports())
    variables = {"FIELD_DIR": str(field), "MQTT_TLS_PORT": str(port), "MQTT_USERS": "pv-7"}
    command = ("compose", "-p", project, "--env-file", ".env.example")
    try:
        docker(*command, "up", "--detach", "--wait", "--no-deps", "broker", **variables)
        yield (*command, str(port))
    finally:
        docker(*command, "down", "--timeout", "5", "--volumes")


def test_the_broker_of_a_site_with_its_own_devices_makes_their_passwords_and_lets_them_in_over_tls(
    broker: tuple[str, ...], field: Path
) -> None:
    *command, port = broker
    trusted = ssl.create_default_context(cadata=(field / "ca.pem").read_text(encoding="utf-8"))

    def read(name: str) -> str:
        return docker(*command, "exec", "-T", "broker", "cat", f"/mosquitto/secrets/{name}").strip()

    heard = asyncio.run(said_and_heard(int(port), trusted, read("pv-7.password"), read("solar-service.password")))

    assert heard == [("site/any/solar/pv-7/telemetry", {"its": "word"})]
    log = docker(*command, "logs", "broker")
    assert [word for word in ("pv-7", "solar-service") if read(f"{word}.password") in log] == []


async def said_and_heard(
    port: int, trusted: ssl.SSLContext, device: str, service: str
) -> list[tuple[str, dict[str, str]]]:
    """What a service hears while a device speaks as itself, and as another; both over the published port."""
    topic = "site/any/solar/{}/telemetry"
    async with (
        aiomqtt.Client("localhost", port, username="pv-7", password=device, tls_context=trusted, timeout=10) as says,
        aiomqtt.Client(
            "localhost", port, username="solar-service", password=service, tls_context=trusted, timeout=10
        ) as hears,
    ):
        await hears.subscribe(topic.format("+"), qos=1)
        # In another's name it is not passed on.
        await says.publish(topic.format("pv-8"), json.dumps({"not its": "word"}), qos=1)
        await says.publish(topic.format("pv-7"), json.dumps({"its": "word"}), qos=1)
        async with asyncio.timeout(10):
            message = await anext(aiter(hears.messages))
        assert isinstance(message.payload, bytes)
        return [(message.topic.value, json.loads(message.payload))]
