"""`make demo` as a newcomer runs it: a day of cars, seven controls, a picture; and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "out" / "demo-day.png"
QUICK = ["--fast", "--step-min", "40"]
DEMO = [sys.executable, "-m", "local_stack", "demo"]

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="process groups and signals are looked at as on POSIX"),
    # A whole stack and a day, which take a busy machine minutes.
    pytest.mark.timeout(300),
]


@dataclass(frozen=True)
class DemoRun:
    """A demo that was run to its end, and the folder that it had for what is temporary."""

    done: subprocess.CompletedProcess[str]
    folder: Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("demo")
    return DemoRun(run([*DEMO, *QUICK], folder), folder)


def test_the_demo_shows_the_day_and_seven_controls_and_leaves_nothing_behind(played: DemoRun) -> None:
    told = played.done.stdout
    assert played.done.returncode == 0, told + played.done.stderr
    assert "36 governed decisions" in told
    assert "0 degraded" in told
    assert "cars took about" in told
    assert told.count("holds") == 7
    assert "FAILS" not in told
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert left_behind(played.folder) == []


def test_no_secret_and_no_token_is_shown(played: DemoRun) -> None:
    told = played.done.stdout + played.done.stderr

    assert not re.search(r"eyJ[\w-]{10,}", told)
    # Passwords of the run are 24 letters and digits.
    assert not re.search(r"(?<![\w/.-])[A-Za-z0-9]{24}(?![\w/.-])", told)


# One signal here; each kind at every moment among the slow ones.
@pytest.mark.parametrize(
    ("stop", "seen"),
    [
        (signal.SIGTERM, "starting: certificates"),
        *(
            pytest.param(stop, seen, marks=pytest.mark.slow)
            for stop, seen in (
                (signal.SIGINT, "starting: certificates"),
                (signal.SIGINT, "starting: bootstrap"),
                (signal.SIGTERM, "starting: bootstrap"),
                (signal.SIGINT, "slow"),
                (signal.SIGTERM, "slow"),
            )
        ),
    ],
    ids=str,
)
def test_a_stopped_demo_leaves_no_process_and_no_folder(tmp_path: Path, stop: signal.Signals, seen: str) -> None:
    demo = subprocess.Popen(DEMO, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if seen in line.lower():
            break
    demo.send_signal(stop)
    told, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, told
    assert "nothing is left running" in told
    assert left_behind(tmp_path) == []


def test_measured_days_say_which_variable_is_missing(tmp_path: Path) -> None:
    done = run([*DEMO, "--measured"], tmp_path, EV_DATA_DIR="")

    assert done.returncode == 1
    assert "EV_DATA_DIR" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EV_DATA_DIR"), reason="EV_DATA_DIR does not name the folder of measured data")
def test_a_measured_day_is_replayed_with_its_overloads(tmp_path: Path) -> None:
    half_hourly = ["--fast", "--step-min", "30", "--measured"]
    done = run([*DEMO, *half_hourly], tmp_path, EV_DATA_DIR=os.environ["EV_DATA_DIR"])

    assert done.returncode == 0, done.stdout + done.stderr
    assert "A measured day" in done.stdout
    assert "grid_overload" in done.stdout
    assert "0 degraded" in done.stdout


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = environment(folder) | variables
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=270, check=False)


def environment(folder: Path) -> dict[str, str]:
    """A setting from outside must change nothing; the temporary folder shows what is left behind."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return kept | {"TMPDIR": str(folder), "AGENT_GRID_OVERLOAD_PERCENT": "1", "SITE_LIMIT_KW": "1", "COLUMNS": "160"}


def left_behind(folder: Path) -> list[str]:
    """Folders of the run, and processes that know its folder or work in the tree without belonging to this test."""
    processes = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [str(path) for path in folder.iterdir()] + [line for line in processes.splitlines() if str(folder) in line]
