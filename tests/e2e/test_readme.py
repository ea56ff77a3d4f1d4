"""The README's commands, as a stranger runs them in a fresh clone."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from dataclasses import astuple
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import httpx
import pytest

from local_stack.environment import PortSettings, free_ports

ROOT = Path(__file__).resolve().parents[2]
MADE = re.findall(r"`(make [a-z0-9-]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
SHOWN = re.findall(r"(?m)^```sh\n(.+?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
# test-all runs this test and would never end; run and devices have tests of their own; bench measures and promises
# nothing; up and down are run with the local gateway by test_compose_devices.py, and need an image of 2 GB without it;
# kill, revive, operate and assistant need a running stack, and test_kill.py and test_operate.py have one.
ON_A_STACK = {"make kill", "make revive", "make operate", "make assistant", "make verify-wso2"}
# Run by .ci/run itself on a clean checkout; both install what install does.
FIRST_OF_ALL = {"make test", "make check"}
ELSEWHERE = {
    "make test-all", "make run", "make devices", "make bench", "make up", "make down", "make install",
    *FIRST_OF_ALL, *ON_A_STACK,
}  # fmt: skip

RUN_LOCK = "requirements-run.lock"
# As dev.py does once it has installed; it prints the folders of the members.
STAMP = f"""
import dev
members = dev.member_folders()
dev.stamp_path({RUN_LOCK!r}).write_text(dev.stamp_of({RUN_LOCK!r}, members))
print(*members, sep="\\n")
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("make") is None, reason="this machine has no make"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone of the repository"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    link_installed_packages(folder)
    return folder


def test_the_two_commands_are_the_first_things_shown() -> None:
    assert SHOWN == ["make demo", "make test"]


def test_ci_runs_the_tests_and_the_checks_on_a_clean_checkout() -> None:
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert [line.partition("make ")[2] for line in run if "make " in line] == ["test", "check", "test-long"]


@pytest.mark.parametrize("command", ["make demo", *sorted(set(MADE) - {"make demo"} - ELSEWHERE)])
def test_the_command_works_in_a_fresh_clone(clone: Path, command: str) -> None:
    done = subprocess.run(command.split(), cwd=clone, env=outside(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_make_run_stays_up_until_ctrl_c_and_then_leaves_nothing(clone: Path) -> None:
    # Its own ports may be taken on the machine that tests.
    ports = dict(zip(map(str.upper, PortSettings.model_fields), map(str, astuple(free_ports())), strict=True))
    settings = outside() | ports
    running = subprocess.Popen(
        ["make", "run"], cwd=clone, env=settings, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout is not None
    told: list[str] = []
    for line in running.stdout:
        told.append(line)
        if "Ctrl-C stops everything" in line or "stopped:" in line:
            break
    os.killpg(running.pid, signal.SIGINT)
    told += running.communicate(timeout=20)[0]

    assert "first governed decision" in "".join(told)
    assert not re.search(r"local_stack|uvicorn|local_gateway", processes_of(clone))


@pytest.mark.parametrize(("number", "within_s"), [(signal.SIGTERM, 5), (signal.SIGKILL, 10)])
def test_whoever_ends_the_driver_ends_all_that_it_started(clone: Path, number: int, within_s: int) -> None:
    subprocess.run(["make", "demo", "ARGS=--help"], cwd=clone, env=outside(), stdout=subprocess.DEVNULL, check=True)
    ports = dict(zip(map(str.upper, PortSettings.model_fields), map(str, astuple(free_ports())), strict=True))
    running = subprocess.Popen(
        [clone / ".venv" / "bin" / "python", "-m", "local_stack", "run"],
        cwd=clone, env=outside() | ports, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    # By then gateway, services, devices and the bootstrap itself run.
    steps = list(itertools.takewhile(lambda line: "starting: bootstrap" not in line, running.stdout))
    processes = processes_of(clone)
    running.send_signal(number)
    running.communicate(timeout=20)
    deadline = time.monotonic() + within_s
    while processes_of(clone) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert len(processes.splitlines()) >= 7, "".join(steps)
    assert processes_of(clone) == ""


def test_make_devices_shows_a_site_until_ctrl_c_and_then_leaves_nothing(clone: Path) -> None:
    port = free_ports().twin
    settings = outside() | {"TWIN_PORT": str(port)}
    running = subprocess.Popen(
        ["make", "devices"], cwd=clone, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    told: list[str] = []
    for line in running.stdout:
        told.append(line)
        if "Uvicorn running" in line:
            break
    site = httpx.get(f"http://127.0.0.1:{port}/site", trust_env=False) if running.poll() is None else None
    os.killpg(running.pid, signal.SIGINT)
    told += running.communicate(timeout=20)[0]

    assert site is not None, "".join(told)
    assert site.json()["building_kw"] > 0
    assert not re.search(r"site_twin", processes_of(clone))


def link_installed_packages(clone: Path) -> None:
    """Give the clone a `.venv` with what its run lock names, and no more, by links into the one of this test run.

    `.ci/run` installs on a clean checkout before any test; to do so again would show nothing and takes minutes.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")], check=True)
    (site,) = (clone / ".venv").glob("lib/python*/site-packages")
    done = subprocess.run(
        [sys.executable, "-c", STAMP], cwd=clone / "scripts", capture_output=True, text=True, check=True
    )
    members = [Path(line) for line in done.stdout.splitlines()]
    (site / "members.pth").write_text("".join(f"{member / 'src'}\n" for member in members), encoding="utf-8")
    names = re.findall(r"(?m)^([A-Za-z0-9._-]+)==", (clone / RUN_LOCK).read_text(encoding="utf-8"))
    names += [tomllib.loads((member / "pyproject.toml").read_text())["project"]["name"] for member in members]
    for name in names:
        # A lock names what other systems need, too.
        with suppress(PackageNotFoundError):
            link_package(distribution(name), site)


def link_package(package: Distribution, site: Path) -> None:
    for top in {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        if not (site / top).exists() and not top.startswith("_editable_impl"):
            (site / top).symlink_to(str(package.locate_file(top)))


def outside() -> dict[str, str]:
    """What a stranger's shell has: no variable of this test run and not its Python first on the path."""
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    kept = ("HOME", "LANG", "EV_DATA_DIR", "PIP_CERT", "PIP_FIND_LINKS", "SSL_CERT_FILE", "PYENV_ROOT", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PATH": path}


def processes_of(clone: Path) -> str:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in listed.splitlines() if str(clone) in line)
