"""Child processes are watched, and always ended."""

import sys
from pathlib import Path

import pytest

from local_stack.processes import Child, Processes, ProcessFailed

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_every_process_has_ended_when_the_block_is_left(tmp_path: Path) -> None:
    children: list[Child] = []

    def interrupted() -> None:
        with Processes(tmp_path, {}) as processes:
            children.extend(processes.start(name, SLEEP, {}) for name in ("first", "second"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

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

        with pytest.raises(ProcessFailed, match="brief ended with 1: no more"):
            processes.wait_until_ready("other", lambda: "not there", 10)


def test_what_stands_in_the_way_is_told_when_time_is_over(tmp_path: Path) -> None:
    with Processes(tmp_path, {}) as processes, pytest.raises(ProcessFailed, match=r"0.05 s: 503 no reading"):
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
