"""A damaged database: found at the start or later, it grants nothing, stays as it is, and says what to do."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.charging_agent.ledger.conftest import NOON, call, made_from, maker, observation

from charging_agent.ledger import ledger as ledgers
from charging_agent.ledger.errors import LedgerDamagedError
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.readers import RecordQueries
from charging_agent.ledger.store import DATABASE_FILE, Store
from ev_service.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio

PAGE = 4096


async def fill_ledger(folder: Path, count: int) -> None:
    ledger = Ledger(folder, maker())
    await ledger.open()
    for number in range(count):
        await ledger.append(made_from(observation(NOON + timedelta(minutes=number))), [call()])
    await ledger.close()


def pages_of(file: Path, name: str) -> list[int]:
    """Pages of a table or of its index, the root first; from 1."""
    with sqlite3.connect(file) as database:
        root = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    database.close()
    return [root]


def overwrite(file: Path, page: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek((page - 1) * PAGE)
        opened.write(content)


@pytest.mark.parametrize("junk", [b"\x00", b"\xff", b"\x5a"])
@pytest.mark.parametrize("name", ["records", "sqlite_autoindex_records_1"])
async def test_a_damaged_page_of_table_or_index_is_found_at_the_start(tmp_path: Path, name: str, junk: bytes) -> None:
    await fill_ledger(tmp_path, 60)
    file = tmp_path / DATABASE_FILE
    overwrite(file, pages_of(file, name)[0], junk * PAGE)
    before = file.read_bytes()

    with pytest.raises(ConfigurationError, match=r"is damaged .* move the file with its -wal and -shm"):
        await Ledger(tmp_path, maker()).open()

    assert file.read_bytes() == before


async def test_any_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    await fill_ledger(tmp_path, 40)
    file = tmp_path / DATABASE_FILE
    whole = file.read_bytes()
    missed: list[int] = []
    for page in range(2, len(whole) // PAGE + 1):
        file.write_bytes(whole)
        overwrite(file, page, b"\x00" * PAGE)
        ledger = Ledger(tmp_path, maker())
        try:
            await ledger.open()
            missed.append(page)
        except ConfigurationError:
            pass
        await ledger.close()

    assert missed == []


async def test_an_index_that_lacks_a_record_is_found_at_the_start(tmp_path: Path) -> None:
    await fill_ledger(tmp_path, 5)
    file = tmp_path / DATABASE_FILE
    [page] = pages_of(file, "sqlite_autoindex_records_1")
    before = file.read_bytes()[(page - 1) * PAGE : page * PAGE]
    await fill_ledger(tmp_path, 1)
    overwrite(file, page, before)

    with pytest.raises(ConfigurationError, match=r"is damaged .*missing from index"):
        await Ledger(tmp_path, maker()).open()


async def test_damage_that_is_found_later_is_no_power_until_somebody_acts(
    served: AgentApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.settings |= {"state_dir": tmp_path, "period_s": 3600}
    write, translated = Store.append, Store.__dict__["_translate_errors"]
    answers: list[tuple[float, int]] = []

    def corrupt(store: Store, *_: Any) -> None:
        with translated(store):
            raise sqlite3.DatabaseError("database disk image is malformed")

    async with served.client() as client:
        good = (await client.get("/optimize-charging")).json()
        monkeypatch.setattr(Store, "append", corrupt)
        served.clock.advance(11)
        await client.get("/optimize-charging")
        # The page that was met is read well again, and the next record would go onto another one.
        monkeypatch.setattr(Store, "append", write)
        for _ in range(5):
            decided = (await client.get("/optimize-charging")).json()
            answers.append((decided["charging_power_kw"], (await client.get("/health")).status_code))
            served.clock.advance(11)
        failing = (await client.get("/health")).json()["failing"]["ledger"]
        page = (await client.get("/")).text

    assert good["charging_power_kw"] > 0
    assert answers == [(0.0, 503)] * 5
    for words in ("is damaged", "Stop the agent", "scripts/verify.py", "docs/ledger.md"):
        assert words in failing
    assert "is damaged" in page


async def test_damage_that_a_reader_meets_counts_for_the_writer_too(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupt(*_: Any) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(RecordQueries, "summaries", corrupt)
    with pytest.raises(LedgerDamagedError, match="is damaged"):
        await ledger.summaries(10)

    assert ledger.damage is not None
    with pytest.raises(LedgerDamagedError):
        await ledger.append(made_from(observation()), [])


async def test_a_number_that_stands_there_twice_is_damage(ledger: Ledger) -> None:
    await ledger.append(made_from(observation()), [])
    head = ledger.__dict__["_head"]
    ledger.__dict__["_head"] = type(head)(0, head.sha256)

    with pytest.raises(LedgerDamagedError, match="UNIQUE"):
        await ledger.append(made_from(observation(NOON + timedelta(minutes=1))), [])


async def test_a_check_that_takes_long_does_not_keep_the_agent_from_recording_and_counts_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    def check(_: RecordQueries) -> str:
        goes_on.wait(20)
        return "row 1 missing from index"

    await fill_ledger(tmp_path, 2)
    monkeypatch.setattr(RecordQueries, "find_damage", check)
    monkeypatch.setattr(ledgers, "_CHECK_S", 0.02)
    ledger = Ledger(tmp_path, maker())
    await ledger.open()
    await ledger.append(made_from(observation(NOON + timedelta(hours=1))), [])

    goes_on.set()
    async with asyncio.timeout(5):
        while ledger.damage is None:
            await asyncio.sleep(0.005)
    with pytest.raises(LedgerDamagedError):
        await ledger.append(made_from(observation(NOON + timedelta(hours=2))), [])
    await ledger.close()
