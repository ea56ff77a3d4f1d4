"""What the disk and the operating system do to a ledger: kills, a full disk, and commands over what is left."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.integration.ledger.writer import NOON, decision_at

from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.ledger.keys import PUBLIC_FILES, read_trusted_keys
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.record_signing import RunMetadata, build_policy_record
from charging_agent.ledger.store import DATABASE_FILE
from charging_agent.ledger.verification import verify
from charging_agent.readings.assessment import AgeLimits

ROOT = Path(__file__).resolve().parents[3]
WRITER = Path(__file__).parent / "writer.py"
ROUNDS = 200


def writer_on(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WRITER), str(folder), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def killed_after(writer: subprocess.Popen[bytes], seconds: float) -> list[str]:
    """What a writer acknowledged before kill -9, this long after its start."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(b"again\n")
    writer.stdin.flush()
    process = int(writer.stdout.readline())
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    said: list[str] = []
    while not (line := writer.stdout.readline().decode()).endswith("gone\n"):
        said.append(line)
    return [line.split()[1] for line in said if line.startswith("recorded ")]


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"scripts/{script}.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process for each round takes minutes where none can be forked")
def test_200_kills_at_any_moment_lose_no_acknowledged_decision(tmp_path: Path) -> None:
    drawn, acknowledged, busy = random.Random(7), set[str](), 0
    with writer_on(tmp_path, "--again") as writer:
        for _ in range(ROUNDS):
            # From before the ledger is open to many records later.
            said = killed_after(writer, drawn.uniform(0, 0.2))
            busy += bool(said)
            acknowledged.update(said)
        writer.kill()

    verified = verify(read_records(tmp_path / DATABASE_FILE), read_trusted_keys(tmp_path.glob(PUBLIC_FILES)))
    assert verified.broken is None
    assert acknowledged <= {record["decision_id"] for record in verified.records}
    assert busy > ROUNDS / 10


@pytest.mark.slow
def test_a_late_record_that_is_written_outlives_a_kill_and_only_those_that_wait_are_lost(tmp_path: Path) -> None:
    sent, recorded = list[str](), set[str]()
    with writer_on(tmp_path, "--late") as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            word, _, name = line.decode().strip().partition(" ")
            sent += [name] if word == "sent" else []
            recorded |= {name} if word == "recorded" else set()
            if len(recorded) >= 20:
                break
        os.kill(writer.pid, signal.SIGKILL)

    verified = verify(read_records(tmp_path / DATABASE_FILE), read_trusted_keys(tmp_path.glob(PUBLIC_FILES)))
    late = [record["decision_id"] for record in verified.records if record["late"] is not None]
    assert verified.broken is None
    assert recorded <= set(late) <= set(sent)
    # In the order in which they were sent, without a gap: what is lost is the end.
    assert late == sent[: len(late)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_on_a_full_disk_nothing_is_acknowledged_and_with_room_it_goes_on_by_itself(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 150_000)
    acknowledged: list[str] = []
    with writer_on(small_disk) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            words = line.decode().split()
            if words[0] == "recorded":
                acknowledged.append(words[1])
            if words[0] == "refused":
                assert "full" in line.decode()
                break
        before = len(acknowledged)
        ballast.unlink()
        for line in writer.stdout:
            if line.startswith(b"recorded"):
                acknowledged.append(line.decode().split()[1])
                break
        writer.kill()

    verified = verify(read_records(small_disk / DATABASE_FILE), read_trusted_keys(small_disk.glob(PUBLIC_FILES)))
    assert 0 < before < len(acknowledged)
    assert verified.broken is None
    assert set(acknowledged) <= {record["decision_id"] for record in verified.records}
    calls = [call["correlation_id"] for record in verified.records for call in record["calls"]]
    assert len(calls) == len(set(calls))


@pytest.mark.slow
def test_the_commands_verify_a_live_ledger_export_it_and_replay_it(tmp_path: Path) -> None:
    state, exported = tmp_path / "state", tmp_path / "ledger.jsonl"
    with writer_on(state) as writer:
        assert writer.stdout is not None
        while not writer.stdout.readline().startswith(b"recorded"):
            pass
        live = run_script("verify", str(state / DATABASE_FILE), "--export", str(exported), "--json")
        assert writer.poll() is None
        writer.kill()

    key = next(state.glob(PUBLIC_FILES))
    told = json.loads(live.stdout)
    of_export = run_script("verify", str(exported), "--public-key", str(key))
    replayed = run_script("replay", str(exported))
    assert (live.returncode, told["broken"], told["records"] > 0) == (0, None, True)
    assert (of_export.returncode, of_export.stdout.split()[0]) == (0, str(told["records"]))
    assert (replayed.returncode, replayed.stdout) == (
        0,
        f"{told['records']} of {told['records']} decisions come out the same\n",
    )


@pytest.mark.slow
def test_the_command_names_the_first_broken_record_and_ends_with_1(tmp_path: Path) -> None:
    with writer_on(tmp_path) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(4)]
        writer.kill()
    assert said[-1].startswith(b"recorded")
    database = sqlite3.connect(tmp_path / DATABASE_FILE)
    with database:
        # By its name: the hash of the record before may hold a 22 too.
        other = """replace(record, '"charging_power_kw":22', '"charging_power_kw":11')"""
        database.execute(f"UPDATE records SET record = {other} WHERE sequence = 2")
    database.close()

    broken = run_script("verify", str(tmp_path / DATABASE_FILE))

    assert broken.returncode == 1
    assert "BROKEN record 2 (row 2): its content does not match its hash" in broken.stdout


def some_records(folder: Path, count: int = 30) -> Path:
    """A ledger with some records more, closed."""

    async def write() -> None:
        ledger = Ledger(
            folder, RunMetadata(uuid4(), "0.1.0", "bench", build_policy_record(DecisionPipeline(), AgeLimits()))
        )
        await ledger.open()
        for number in range(count):
            await ledger.append(decision_at(NOON + timedelta(seconds=number)), [])
        await ledger.close()

    asyncio.run(write())
    return folder / DATABASE_FILE


def index_page(file: Path) -> slice:
    """Where the index by decision stands in the file, as long as it fits on one page."""
    with sqlite3.connect(file) as database:
        wanted = "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'records'"
        number = database.execute(wanted).fetchone()[0]
    database.close()
    return slice((number - 1) * 4096, number * 4096)


def lost_write_of_the_index(file: Path) -> None:
    """Each record is there, and the index by decision does not know the last."""
    where, before = index_page(file), file.read_bytes()
    some_records(file.parent, 1)
    content = bytearray(file.read_bytes())
    content[where] = before[where]
    file.write_bytes(content)


def zeroed_page(file: Path) -> None:
    """One page in the middle of the table is lost."""
    content = bytearray(file.read_bytes())
    content[index_page(file).stop : index_page(file).stop + 4096] = bytes(4096)
    file.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "words"),
    [(lost_write_of_the_index, "missing from index"), (zeroed_page, "BROKEN database: ")],
)
def test_a_database_that_is_damaged_is_not_called_whole(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    file = some_records(tmp_path)
    assert run_script("verify", str(file)).returncode == 0
    damage(file)

    broken = run_script("verify", str(file))

    assert broken.returncode == 1
    assert words in broken.stdout
    assert json.loads(run_script("verify", str(file), "--json").stdout)["state"] == "broken"


@pytest.mark.slow
def test_an_empty_ledger_is_called_empty_and_ends_with_3(tmp_path: Path) -> None:
    file, nothing = some_records(tmp_path), tmp_path / "nothing.jsonl"
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM records")
    database.close()
    nothing.touch()

    for emptied in (file, nothing):
        told = run_script("verify", str(emptied))
        assert (told.returncode, told.stdout.split(":")[0]) == (3, "empty")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["nothing.sqlite"], ["README.md"], []])
def test_what_can_not_be_verified_ends_with_2(arguments: list[str]) -> None:
    assert run_script("verify", *arguments).returncode == 2
