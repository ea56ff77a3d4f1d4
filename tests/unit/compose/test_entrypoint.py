"""What stops WSO2's container: the signal reaches the server below the shells that would keep it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[3] / "wso2" / "conf" / "ev-entrypoint.sh"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the container is Linux; needs its /proc")

# As the shipped one: no exec, and a second shell below.
SHIPPED = """#!/bin/bash
set -e
echo "given: $*"
sh {server}
"""
SERVER = """#!/bin/sh
{java}
exit $?
"""
JAVA = f"""#!{sys.executable}
import signal, sys, time

def close(*_):
    print("closing", flush=True)
    time.sleep(0.1)
    print("closed", flush=True)
    sys.exit(143)

signal.signal(signal.SIGTERM, close)
print("up", flush=True)
while True:
    signal.pause()
"""


def start(tmp_path: Path, java: str, shipped: str = SHIPPED) -> "subprocess.Popen[str]":
    server, program, entrypoint = tmp_path / "api-manager.sh", tmp_path / "java", tmp_path / "docker-entrypoint.sh"
    program.write_text(java, encoding="utf-8")
    server.write_text(SERVER.format(java=program), encoding="utf-8")
    entrypoint.write_text(shipped.format(server=server), encoding="utf-8")
    for path in (program, entrypoint):
        path.chmod(0o755)
    return subprocess.Popen(
        ["bash", str(ENTRYPOINT), "-DportOffset=1"],
        env={"PATH": os.environ["PATH"], "EV_SHIPPED_ENTRYPOINT": str(entrypoint)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_stop_lets_the_server_close_before_the_container_ends(tmp_path: Path) -> None:
    with start(tmp_path, JAVA) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["given: -DportOffset=1\n", "up\n"]

        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()

    assert said == "closing\nclosed\n"
    assert process.returncode == 143


def test_a_stop_before_the_server_is_there_ends_at_once(tmp_path: Path) -> None:
    with start(tmp_path, JAVA, shipped="#!/bin/bash\necho copying\nexec sleep 30\n") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"

        process.send_signal(signal.SIGTERM)
        process.wait(10)

    assert process.returncode == 143


def test_a_server_that_ends_by_itself_ends_the_container_with_its_code(tmp_path: Path) -> None:
    with start(tmp_path, "#!/bin/sh\nexit 7\n") as process:
        process.wait(10)

    assert process.returncode == 7
