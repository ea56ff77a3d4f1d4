"""Child processes are watched, and always ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from local_stack import attached
from local_stack.processes import Child, ProcessError, Processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_every_process_has_ended_when_the_block_is_left(tmp_path: Path) -> None:
    children: list[Child] = []

    def interrupt() -> None:
        with Processes(tmp_path, {}) as processes:
            children.extend(processes.start(name, SLEEP, {}) for name in ("first", "second"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    assert [child.process.returncode for child in children] == [-15, -15]


def test_a_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.processes._GRACE_S", 0.2)
    with Processes(tmp_path, {}) as processes:
        child = processes.start("stubborn", [sys.executable, "-c", STUBBORN], {})
        processes.wait_until_ready("stubborn", lambda: None if child.log.read_text() else "silent", 10)

    assert child.process.returncode == -9


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path, {}) as processes:
        processes.start("brief", [sys.executable, "-c", "raise SystemExit('no more')"], {})

        with pytest.raises(ProcessError, match="brief ended with 1: no more"):
            processes.wait_until_ready("other", lambda: "not there", 10)


def test_what_stands_in_the_way_is_told_when_time_is_over(tmp_path: Path) -> None:
    with (
        Processes(tmp_path, {}) as processes,
        pytest.raises(ProcessError, match=r"0.05 s: 503 no reading.*solar.log.*STACK_READY_S"),
    ):
        processes.wait_until_ready("solar", lambda: "503 no reading", 0.05)


def test_nothing_of_the_own_environment_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_SECRET", "x")
    with Processes(tmp_path, {"GIVEN": "1"}) as processes:
        child = processes.start("env", [sys.executable, "-c", "import os; print(sorted(os.environ))"], {"OWN": "2"})
        child.process.wait(10)
        told = child.log.read_text()

    assert "GIVEN" in told
    assert "OWN" in told
    assert "SOMETHING_SECRET" not in told


def test_a_process_ends_when_its_starter_was_killed(tmp_path: Path) -> None:
    """The starter is a process of its own, because it has to die without a chance to tidy up."""
    (tmp_path / "lasting.py").write_text("import time; print('up', flush=True); time.sleep(60)\n")
    (tmp_path / "starter.py").write_text(
        "import subprocess, sys, time\n"
        "from local_stack import attached\n"
        f"child = subprocess.Popen(attached.build_command({str(tmp_path / 'lasting.py')!r}), stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, str(tmp_path / "starter.py")], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        lines = [starter.stdout.readline().strip() for _ in range(2)]
        starter.kill()
        # The end of its output is the end of the last process that holds it.
        rest = starter.stdout.read()

    assert "up" in lines
    assert rest == ""


def test_a_process_that_ignores_the_end_of_its_starter_ends_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    code = (
        f"import sys; from local_stack import attached; attached.GRACE_S = 0.1; "
        f"sys.argv = ['', {str(tmp_path / 'stubborn.py')!r}]; attached.main()"
    )

    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "up\n"
        child.stdin.close()

        assert child.wait(30) == 1


def test_a_module_and_a_script_get_their_arguments(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys; print(sys.argv[1:])\n")
    for target in (str(tmp_path / "script.py"), "script"):
        with subprocess.Popen(
            attached.build_command(target, "--one", "2"),
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "['--one', '2']\n"
