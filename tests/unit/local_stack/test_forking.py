"""Forks behave like the programs that they stand for: own variables, own folder, watched, and always ended."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack import forking
from local_stack.processes import ProcessError, Processes

pytestmark = pytest.mark.skipif(not forking.IS_SUPPORTED, reason="forks are made on Linux alone")

PRELOADED = ["colorsys"]
TELLING = """
import os, sys, threading
print(sys.argv[1:], sorted(os.environ), os.getcwd(), "colorsys" in sys.modules, threading.active_count(), __name__)
print(open("/proc/self/environ").read(), os.listdir("/proc/self/fd"), os.getsid(0) == os.getpid())
"""
LASTING = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def script(folder: Path, code: str, name: str = "script.py") -> str:
    path = folder / name
    path.write_text(code)
    return str(path)


def test_a_fork_runs_with_its_own_arguments_variables_and_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with Processes(tmp_path, {"GIVEN": "1"}, PRELOADED) as processes:
        child = processes.start_module(
            "one",
            script(tmp_path, TELLING),
            "--one",
            "2",
            environment={"OWN_SECRET": "hidden"},
            folder=tmp_path / "elsewhere",
        )
        processes.wait_for_end(child)

    told, of_system = child.log.read_text().splitlines()
    assert told == f"['--one', '2'] ['GIVEN', 'OWN_SECRET'] {tmp_path / 'elsewhere'} True 2 __main__"
    assert "hidden" not in of_system
    # Input, output, errors, and the folder that is being listed.
    assert "['0', '1', '2', '3'] True" in of_system


def test_a_module_runs_like_a_script(tmp_path: Path) -> None:
    script(tmp_path, "import sys; print(sys.argv[1:])")
    with Processes(tmp_path, {"PYTHONPATH": str(tmp_path)}, PRELOADED) as processes:
        child = processes.start_module("one", "script", "--one", environment={})
        processes.wait_for_end(child)

    assert child.log.read_text() == "['--one']\n"


def test_a_fork_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path, {}, PRELOADED) as processes:
        child = processes.start_module("one", script(tmp_path, "raise SystemExit('no more')"), environment={})

        with pytest.raises(ProcessError, match="one failed: no more"):
            processes.wait_for_end(child)


def test_a_fork_that_ends_while_another_is_waited_for_is_told(tmp_path: Path) -> None:
    with Processes(tmp_path, {}, PRELOADED) as processes:
        processes.start_module("brief", script(tmp_path, "raise SystemExit('no more')"), environment={})

        with pytest.raises(ProcessError, match="brief ended with 1: no more"):
            processes.wait_until_ready("other", lambda: "not there", 10)


def test_forks_are_ended_and_the_stubborn_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.processes._GRACE_S", 0.2)
    with Processes(tmp_path, {}, PRELOADED) as processes:
        children = [
            processes.start_module(name, script(tmp_path, code, f"{name}.py"), environment={})
            for name, code in (("polite", LASTING), ("stubborn", STUBBORN))
        ]
        for child in children:
            processes.wait_until_ready(child.name, lambda child=child: None if child.log.read_text() else "silent", 10)

    assert [child.process.returncode for child in children] == [-signal.SIGTERM, -signal.SIGKILL]


def test_one_fork_is_killed_while_the_others_live(tmp_path: Path) -> None:
    with Processes(tmp_path, {}, PRELOADED) as processes:
        killed, other = (
            processes.start_module(name, script(tmp_path, LASTING), environment={}) for name in ("killed", "other")
        )
        processes.kill("killed")

        processes.check()
        assert killed.process.returncode == -signal.SIGKILL
        assert other.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            other.process.wait(0.01)


STARTER = """
import sys, time
from pathlib import Path
from local_stack.processes import Processes
with Processes(Path(sys.argv[1]), {}, ["colorsys"]) as processes:
    child = processes.start_module("one", sys.argv[2], environment={})
    processes.wait_until_ready("one", lambda: None if child.log.read_text() else "silent", 30)
    print(child.log.read_text(), flush=True)
    time.sleep(60)
"""


def test_forks_end_when_their_starter_was_killed(tmp_path: Path) -> None:
    lasting = script(tmp_path, LASTING)
    command = [sys.executable, "-c", STARTER, str(tmp_path / "logs"), lasting]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        watched = [os.pidfd_open(pid) for pid in pids]
        starter.kill()

    for descriptor in watched:
        assert ends(descriptor)


def test_a_lost_server_is_a_lost_stack(tmp_path: Path) -> None:
    lasting = script(tmp_path, LASTING)
    with Processes(tmp_path, {}, PRELOADED) as processes:
        child = processes.start_module("one", lasting, environment={})
        processes.wait_until_ready("one", lambda: None if child.log.read_text() else "silent", 10)
        pid, server = map(int, child.log.read_text().split())
        fork = os.pidfd_open(pid)
        os.kill(server, signal.SIGKILL)

        with pytest.raises(ProcessError, match="one ended"):
            processes.wait_until_ready("other", lambda: "not there", 10)

    assert ends(fork)


def ends(descriptor: int) -> bool:
    """Whether the process behind it ends soon."""
    try:
        return bool(select.select([descriptor], [], [], 20)[0])
    finally:
        os.close(descriptor)
