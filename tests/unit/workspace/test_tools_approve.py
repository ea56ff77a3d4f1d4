"""`make tools-approve`: nothing becomes a tool of the agent's that nobody said yes to."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wso2_terms.tools import Tool, read_tools_lock, write_tools_lock

SCRIPT = Path(__file__).parents[3] / "scripts" / "tools_approve.py"
LOCK = SCRIPT.parents[1] / "wso2" / "mcp-servers" / "tools.lock"


@pytest.fixture(scope="module")
def main() -> Callable[..., int]:
    spec = importlib.util.spec_from_file_location("tools_approve", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    # Read once for all tests of this file: they change none of it.
    artifacts = script.load_artifacts(script.WSO2_DIR, script.DEFAULT_BACKENDS)

    def already_loaded(*_: object) -> object:
        return artifacts

    script.load_artifacts = already_loaded
    return script.main


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A lock in which one description is another, one tool is missing and one is too many."""
    approved = {server: dict(tools) for server, tools in read_tools_lock(LOCK).items()}
    grid = approved["GridMCP-1.0.0"]["getGridLoad"]
    approved["GridMCP-1.0.0"]["getGridLoad"] = Tool(grid.name, "What it was.\x1b[2J", grid.input_schema)
    approved["SolarMCP-1.0.0"].clear()
    approved["BatteryMCP-1.0.0"]["chargeBattery"] = Tool("chargeBattery", "Charge.", {})
    write_tools_lock(tmp_path / "tools.lock", approved)
    return tmp_path / "tools.lock"


def test_the_committed_lock_holds_exactly_the_tools_of_the_committed_files(main: Callable[..., int]) -> None:
    assert main(["--check"]) == 0


def test_each_difference_is_shown_in_words_and_lines(
    main: Callable[..., int], changed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"], lock_file=changed) == 1

    said = capsys.readouterr().out
    assert "GridMCP-1.0.0: getGridLoad: changed (description)" in said
    assert "-What it was." in said
    assert "+Power drawn from the grid" in said
    assert "SolarMCP-1.0.0: getSolarStatus: added" in said
    assert "BatteryMCP-1.0.0: chargeBattery: missing" in said
    assert "\x1b" not in said


def test_a_check_writes_nothing_and_a_yes_writes_what_was_shown(main: Callable[..., int], changed: Path) -> None:
    before = changed.read_bytes()
    assert main(["--check"], lock_file=changed) == 1
    assert changed.read_bytes() == before

    assert main(["--yes"], lock_file=changed) == 0

    assert changed.read_bytes() == LOCK.read_bytes()


@pytest.mark.parametrize(("said", "approves"), [("y", True), ("yes", True), ("", False), ("no", False)])
def test_without_a_yes_nothing_is_approved(
    main: Callable[..., int], changed: Path, monkeypatch: pytest.MonkeyPatch, said: str, approves: bool
) -> None:
    def answer(_question: str) -> str:
        return said

    monkeypatch.setattr("builtins.input", answer)

    assert main([], lock_file=changed) == (0 if approves else 1)
    assert (changed.read_bytes() == LOCK.read_bytes()) is approves


def test_a_lock_that_somebody_changed_by_hand_is_said_so(
    main: Callable[..., int], changed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed.write_text(changed.read_text().replace("Charge.", "Discharge."))

    assert main(["--check"], lock_file=changed) == 1
    assert "digest" in capsys.readouterr().err
