"""`make prove`: every row holds on a stack of its own, and turns red when its control is switched off."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.attacks.matrix import every_row
from tests.attacks.own_stack import own_stack
from tests.attacks.permissive_servers import SwitchTarget
from tests.attacks.rows import Row, RowState, carry_out
from tests.attacks.run_lifecycle import create_run
from tests.attacks.switch_table import SWITCHES

ROOT = Path(__file__).resolve().parents[2]
ROWS: dict[str, Row] = {row.row_id: row for row in every_row()}
PAGE = ROOT / "docs" / "attack-matrix.md"


def silent(_: str) -> None:
    pass


def prove(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.attacks", *arguments]
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | variables
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[SwitchTarget]:
    with own_stack(silent) as (stack, running), create_run(stack, silent) as run:
        yield SwitchTarget(run, running, tmp_path_factory.mktemp("switches"))


def test_ids_are_unique_and_begin_with_their_group() -> None:
    assert len(ROWS) == len(every_row())
    assert all(row.row_id.startswith(f"{row.group}-") for row in every_row())
    assert len(ROWS) >= 45


def test_every_row_has_a_switch_that_turns_it_red() -> None:
    switched = {row_id for _, row_ids in SWITCHES.values() for row_id in row_ids}

    assert switched == ROWS.keys()


def test_the_page_shows_every_row_and_no_other() -> None:
    shown = re.findall(r"(?m)^\| `([a-z0-9-]+)` \|", PAGE.read_text(encoding="utf-8"))

    assert shown == list(ROWS)


def test_an_unknown_row_is_wrong_usage() -> None:
    done = prove("--only", "nothing-of-the-kind")

    assert done.returncode == 2
    assert "nothing-of-the-kind" in done.stderr


def test_rows_are_listed_with_what_must_happen() -> None:
    done = prove("--list", "--only", "tokens")

    assert done.returncode == 0
    assert done.stdout.count("\n") == sum(row.group == "tokens" for row in ROWS.values())
    assert "401 900902" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_a_row_turns_red_when_its_control_is_switched_off(target: SwitchTarget, switch: str) -> None:
    switch_off, row_ids = SWITCHES[switch]

    with switch_off(target):
        results = [carry_out(ROWS[row_id], target.run) for row_id in row_ids]

    assert {result.row_id: result.observed for result in results if result.state is not RowState.DIFFERS} == {}
    assert [result.observed for result in results if result.observed.startswith("failed:")] == []


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_every_row_holds_on_a_stack_of_its_own_and_the_report_says_so(tmp_path: Path) -> None:
    table, suite = tmp_path / "attacks.json", tmp_path / "attacks.xml"

    done = prove("--own", "--json", str(table), "--junit", str(suite), TMPDIR=str(tmp_path))

    told = json.loads(table.read_text(encoding="utf-8"))
    assert [row for row in told["rows"] if row["state"] != "holds"] == []
    assert done.returncode == 0, done.stdout
    assert [row["row_id"] for row in told["rows"]] == list(ROWS)
    assert "local gateway" in told["label"]
    cases = ElementTree.parse(suite).getroot()
    assert (cases.get("tests"), cases.get("failures"), cases.get("skipped")) == (str(len(ROWS)), "0", "0")
    assert not re.search(r"eyJ[\w-]{10,}", done.stdout + done.stderr + table.read_text(encoding="utf-8"))
    assert {path.name for path in tmp_path.iterdir()} == {"attacks.json", "attacks.xml"}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are sent as on POSIX")
def test_an_interrupt_takes_everything_back(target: SwitchTarget) -> None:
    plan = target.running.plan
    variables = plan.client_environment() | plan.operator_environment()
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-u", "-m", "tests.attacks"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "rights-not-subscribed" in line:
                break
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()

    state = json.loads((plan.state / "gateway" / "state.json").read_text(encoding="utf-8"))
    assert process.returncode == 130
    assert "what was made is removed" in told
    assert "attacker" not in json.dumps(state["users"])
    assert [one for one in state["applications"].values() if one["name"].startswith("Attack")] == []
    assert [one for one in state["apis"].values() if one["data"]["name"] == "AttackAPI"] == []
