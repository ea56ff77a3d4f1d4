"""The audit logs of kills and orders in the state database: import of older files, and databases that fail."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.unit.charger_service.limits.conftest import fill, free
from tests.unit.charger_service.limits.test_restarts import spoil

from charger_service import store as store_module
from charger_service.app import create_app
from charger_service.audit_log import KillAuditLog, OrderAuditLog, RecordNotWrittenError
from charger_service.kill_audit import Act, Acts, RecordedAct
from charger_service.orders import OverrideKind, OverrideOrder, RecordedOrder
from charger_service.settings import ChargerSettings, ServiceSettings
from charger_service.store import FILE, StateStore
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.settings import RunSettings

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
KILLS, ORDERS = "kills.jsonl", "orders.jsonl"
TORN = b'{"act_id": "half a li'


def act(reason: str, act_id: UUID | None = None) -> Act:
    told: dict[str, Any] = {"kind": "kill", "application": "EVApp", "operator": "ops", "started_at": NOON, "steps": []}
    return Act(act_id=act_id or uuid4(), reason=reason, **told)


def old_line(number: int, reason: str, act_id: UUID | None = None) -> bytes:
    """A line of a file, as the version before wrote it."""
    recorded = RecordedAct(**dict(act(reason, act_id)), number=number, recorded_at=NOON, proved=None)
    return recorded.model_dump_json().encode() + b"\n"


@contextmanager
def kills(folder: Path) -> Generator[KillAuditLog]:
    """The log of one process."""
    store = StateStore(folder)
    try:
        yield KillAuditLog(store, lambda: NOON, folder / KILLS)
    finally:
        store.close()


async def page(log: KillAuditLog) -> Acts:
    return await log.page(100, None)


async def reasons(log: KillAuditLog) -> list[tuple[int, str]]:
    return [(one.number, one.reason) for one in (await page(log)).kills]


async def test_an_old_file_is_imported_once_with_its_numbers_and_its_torn_line(tmp_path: Path) -> None:
    known = uuid4()
    content = old_line(1, "first") + TORN + b"\n" + old_line(3, "third", known) + b"\x00\xff" + TORN
    (tmp_path / KILLS).write_bytes(content)

    for _ in range(2):
        with kills(tmp_path) as log:
            assert await reasons(log) == [(3, "third"), (1, "first")]
            assert (await page(log)).damaged_lines == 2
            again, is_new = await log.add(act("sent again", known), None)
            assert (again.number, again.reason, is_new) == (3, "third", False)

    with kills(tmp_path) as log:
        await log.add(act("after"), None)
        assert await reasons(log) == [(5, "after"), (3, "third"), (1, "first")]
    assert not (tmp_path / KILLS).exists()
    assert (tmp_path / f"{KILLS}.imported").read_bytes() == content


async def test_an_import_that_was_interrupted_is_repeated_without_doubling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / KILLS).write_bytes(old_line(1, "first") + TORN)

    def fail(*_: object) -> Path:
        raise OSError("the process ends here")

    # The records are in the database, the file still has its name.
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        with kills(tmp_path) as log:
            await log.add(act("second"), None)
    assert (tmp_path / KILLS).exists()

    for _ in range(2):
        with kills(tmp_path) as log:
            assert await reasons(log) == [(3, "second"), (1, "first")]
            assert (await page(log)).damaged_lines == 1
    assert not (tmp_path / KILLS).exists()


async def test_an_import_that_broke_off_in_the_database_leaves_nothing_of_it(tmp_path: Path) -> None:
    StateStore(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute(
            "CREATE TRIGGER breaks BEFORE INSERT ON kill_audit WHEN new.content LIKE '%second%'"
            " BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
        )
    (tmp_path / KILLS).write_bytes(old_line(1, "first") + old_line(2, "second"))

    with kills(tmp_path) as log:
        assert await reasons(log) == []
        assert "disk I/O error" in (log.write_error() or "")
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("DROP TRIGGER breaks")

    with kills(tmp_path) as log:
        assert await reasons(log) == [(2, "second"), (1, "first")]
        assert log.write_error() is None


async def test_where_the_disk_is_full_at_the_start_the_import_waits_for_the_next_act(tmp_path: Path) -> None:
    StateStore(tmp_path).close()
    fill(tmp_path)
    (tmp_path / KILLS).write_bytes(old_line(1, "first"))

    with kills(tmp_path) as log:
        with pytest.raises(RecordNotWrittenError, match="database or disk is full"):
            await log.add(act("refused"), None)
        assert log.write_error() is not None
        assert (tmp_path / KILLS).exists()

        free(tmp_path)
        recorded, _ = await log.add(act("second"), None)
        assert recorded.number == 2
        assert await reasons(log) == [(2, "second"), (1, "first")]
        assert log.write_error() is None
    assert not (tmp_path / KILLS).exists()


async def test_a_file_that_an_older_version_wrote_meanwhile_is_added(tmp_path: Path) -> None:
    first = old_line(1, "first")
    (tmp_path / KILLS).write_bytes(first)
    with kills(tmp_path) as log:
        await log.add(act("second"), None)
    (tmp_path / KILLS).write_bytes(old_line(1, "by the older version"))

    with kills(tmp_path) as log:
        assert await reasons(log) == [(3, "by the older version"), (2, "second"), (1, "first")]
    assert (tmp_path / f"{KILLS}.imported").read_bytes() == first


async def test_what_was_read_out_of_a_database_can_be_imported(tmp_path: Path) -> None:
    known = uuid4()
    with kills(tmp_path) as log:
        await log.add(act("first", known), None)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        rows = connection.execute("SELECT content FROM kill_audit ORDER BY number").fetchall()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / KILLS).write_text("".join(f"{content}\n" for (content,) in rows), encoding="utf-8")

    with kills(elsewhere) as log:
        assert await reasons(log) == [(1, "first")]
        assert (await log.add(act("again", known), None))[1] is False


async def test_old_orders_are_imported(tmp_path: Path) -> None:
    order = OverrideOrder(kind=OverrideKind.STOP, minutes=5, reason="fire alarm")
    recorded: dict[str, Any] = {"number": 1, "recorded_at": NOON, "kind": "override", "override": order, "proved": None}
    line = RecordedOrder(**recorded).model_dump_json()
    (tmp_path / ORDERS).write_text(f"{line}\n{line[:30]}", encoding="utf-8")

    for _ in range(2):
        store = StateStore(tmp_path)
        log = OrderAuditLog(store, lambda: NOON, tmp_path / ORDERS)
        assert (await log.page(10, None)).orders == (RecordedOrder(**recorded),)
        store.close()
    assert not (tmp_path / ORDERS).exists()


def test_an_old_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / KILLS).mkdir()

    with pytest.raises(ConfigurationError, match="cannot be imported"), kills(tmp_path):
        pass


@pytest.mark.parametrize("table", [None, "standings", "kill_audit"])
async def test_with_a_damaged_database_the_service_starts_and_refuses_acts_with_the_reason(
    tmp_path: Path, table: str | None
) -> None:
    with kills(tmp_path) as log:
        await log.add(act("before"), None)
    spoil(tmp_path, table=table)
    (tmp_path / KILLS).write_bytes(old_line(1, "old"))

    app = create_app(ServiceSettings(ChargerSettings(state_dir=tmp_path), RunSettings()), SteppedClock(NOON))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chargers") as client:
        refused = await client.post("/kills", json=act("new").model_dump(mode="json"))
        stopped = await client.put("/override", json={"kind": "stop", "minutes": 5, "reason": "fire"})
        read = await client.get("/kills")
        health = (await client.get("/health")).json()["failing"]

    assert (refused.status_code, refused.json()["code"]) == (507, "record_not_kept")
    assert "is damaged" in refused.json()["detail"]
    assert (stopped.status_code, stopped.json()["is_kept_on_disk"]) == (200, False)
    assert all("is damaged" in health[part] for part in ("record", "orders", "state"))
    # What is readable is still answered, and what waits for its import is left as it is.
    if table == "standings":
        assert [one["reason"] for one in read.json()["kills"]] == ["before"]
    else:
        assert read.status_code == 507
    assert (tmp_path / KILLS).exists()


async def test_a_database_that_another_process_holds_refuses_an_act_and_takes_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_BUSY_S", 0.05)
    said = act("held")
    with kills(tmp_path) as log:
        with closing(sqlite3.connect(tmp_path / FILE)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RecordNotWrittenError, match="database is locked"):
                await log.add(said, None)
        assert "database is locked" in (log.write_error() or "")

        recorded, is_new = await log.add(said, None)

        assert (recorded.number, is_new) == (1, True)
        assert log.write_error() is None


def test_a_database_that_another_process_holds_at_the_start_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_BUSY_S", 0.05)
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match="database is locked"):
            StateStore(tmp_path)


async def test_an_act_on_a_disk_that_hangs_is_refused_and_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, goes_on = act("slow"), threading.Event()
    with kills(tmp_path) as log:
        monkeypatch.setattr(store_module, "_LONGEST_WRITE_S", 0.05)
        log._store._writer.submit(goes_on.wait, 10)  # pyright: ignore[reportPrivateUsage]
        for _ in range(2):
            with pytest.raises(RecordNotWrittenError, match="the disk takes longer"):
                await log.add(said, None)
        monkeypatch.undo()
        goes_on.set()
        async with asyncio.timeout(5):
            while log._store._is_busy():  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.001)

        # The client sends it again, as it was never acknowledged.
        assert [(await log.add(said, None))[0].number for _ in range(2)] == [1, 1]
        assert await reasons(log) == [(1, "slow")]


async def test_a_failure_is_over_once_the_disk_takes_writes_again(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    log = KillAuditLog(store, lambda: NOON)
    fill(tmp_path)
    with pytest.raises(RecordNotWrittenError):
        await log.add(act("refused"), None)
    free(tmp_path)

    await store.check()

    assert log.write_error() is None
    store.close()


async def test_acts_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("charger_service.audit_log._MAX_IN_MEMORY", 2)
    with caplog.at_level(logging.WARNING):
        log = KillAuditLog(StateStore(None), lambda: NOON)
        for reason in ("first", "second", "third"):
            await log.add(act(reason), None)

    assert await reasons(log) == [(3, "third"), (2, "second")]
    assert "CHARGERS_STATE_DIR is not set" in caplog.text


async def test_a_page_before_any_number_is_answered(tmp_path: Path) -> None:
    with kills(tmp_path) as log:
        await log.add(act("first"), None)
        for before in (10**30, 2**63, 2):
            assert len((await log.page(1, before)).kills) == 1
        assert (await log.page(1, 1)).kills == ()


async def test_what_was_acknowledged_before_the_disk_was_full_outlives_the_process(tmp_path: Path) -> None:
    acknowledged: list[tuple[int, str]] = []
    with kills(tmp_path) as log:
        with log._store._engine.connect() as connection:  # pyright: ignore[reportPrivateUsage]
            # Less than the pages in use is taken as these: the file cannot grow any more.
            connection.exec_driver_sql("PRAGMA max_page_count = 1")

        async def add_until_full() -> None:
            for number in range(1, 100):
                recorded, _ = await log.add(act(f"{number} " + "x" * 490), None)
                acknowledged.append((recorded.number, recorded.reason))

        with pytest.raises(RecordNotWrittenError, match="database or disk is full"):
            await add_until_full()
        assert log.write_error() is not None

    with kills(tmp_path) as log:
        assert acknowledged
        assert (await reasons(log))[::-1] == acknowledged
        assert (await log.add(act("after"), None))[0].number == len(acknowledged) + 1
