"""What survives a restart, and what a disk that takes nothing does to limits."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.charger_service.limits.conftest import NOON, WRITTEN, House, fill, free
from tests.unit.charger_service.limits.test_operators_word import WHO, stop

from charger_service import store
from charger_service.ports import MeterReading, Reply, TransactionEnded, TransactionLimit, TransactionStarted
from charger_service.store import FILE
from ev_service.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def charging(folder: Path, *cars: str) -> House:
    house = House(folder=folder)
    await house.connect()
    await house.plug(*cars)
    return house


def restart(before: House, folder: Path) -> House:
    before.close()
    return House(folder=folder, clock=before.clock, points=before.points)


async def test_sessions_and_limits_survive_a_restart(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1", "CP-2")
    before.limits.events.on_meter_values("CP-1", 1, MeterReading(NOON, energy_kwh=104.0, power_kw=4.0))
    await before.set(CP_1=20.0)
    sessions = before.limits.views.sessions().sessions
    assert sessions[0].energy_kwh == 4.0

    after = restart(before, tmp_path)
    after.clock.advance(5)
    assert after.limits.views.sessions().sessions == sessions
    assert not after.evse("CP-1").is_confirmed
    await after.connect()

    assert (after.evse("CP-1").limit_a, after.evse("CP-1").is_confirmed) == (20.0, True)
    assert after.really_a("CP-2") == 6.0
    after.close()


async def test_a_limit_that_lapsed_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1")
    await before.set(CP_1=20.0)
    after = restart(before, tmp_path)
    after.clock.advance(65)

    await after.connect()
    await after.pass_time(1)

    assert after.really_a("CP-1") == 6.0
    after.close()


async def test_until_chargers_are_heard_again_they_count_with_what_they_may_draw(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1", "CP-2")
    await before.set(CP_1=32.0, CP_2=10.0)

    after = restart(before, tmp_path)

    assert [max(after.site.max_currents((one, 1))) for one in after.site.chargers] == [32.0, 10.0, 6.0]
    after.close()


async def test_a_raise_is_written_down_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await charging(tmp_path, "CP-1")
    seen: list[float] = []
    really = before.points.set_limit

    async def watched(charger_id: str, limit: TransactionLimit) -> Reply:
        # What another process would find at this moment.
        with closing(sqlite3.connect(tmp_path / FILE)) as connection:
            seen.extend(row[0] for row in connection.execute("SELECT ceiling_a FROM standings WHERE ceiling_a > 6"))
        return await really(charger_id, limit)

    monkeypatch.setattr(before.points, "set_limit", watched)
    await before.set(CP_1=20.0)

    assert seen == [20.0]
    before.close()


async def test_an_ended_session_stays_ended_after_a_restart(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1")
    await before.unplug("CP-1")
    after = restart(before, tmp_path)

    await after.limits.events.on_transaction_started(TransactionStarted("CP-1", 1, "CP-1-1", NOON, 100.0))

    assert after.limits.views.sessions().sessions == ()
    after.close()


async def test_a_session_that_ended_while_the_service_was_away_ends_when_it_is_told(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1")
    after = restart(before, tmp_path)

    await after.limits.events.on_transaction_ended(TransactionEnded("CP-1", "CP-1-1", NOON, 109.0))

    assert after.limits.views.sessions().sessions == ()
    after.close()


async def test_numbers_of_transactions_survive_a_restart(tmp_path: Path) -> None:
    before = House(folder=tmp_path)
    first = await before.limits.numbers.number_of("CP-1", "12:00 tag")
    after = restart(before, tmp_path)

    assert await after.limits.numbers.number_of("CP-1", "12:00 tag") == first
    assert await after.limits.numbers.number_of("CP-1", "13:00 tag") > first
    after.close()


async def test_a_full_disk_never_stops_a_reduction_and_raises_nothing(tmp_path: Path) -> None:
    house = await charging(tmp_path, "CP-1", "CP-2")
    await house.set(CP_1=20.0, CP_2=20.0)
    fill(tmp_path)

    lowered, raised = await house.set(CP_1=10.0, CP_2=32.0)

    assert (lowered.outcome, house.really_a("CP-1")) == ("applied", 10.0)
    assert (raised.outcome, raised.limit_a, raised.limited_by) == ("partly_applied", 20.0, "state_not_kept")
    assert house.really_a("CP-2") == 20.0
    assert "database or disk is full" in (house.store.write_error() or "")
    house.close()


async def test_a_full_disk_stops_neither_sessions_nor_lapses_nor_a_stop(tmp_path: Path) -> None:
    house = await charging(tmp_path, "CP-1")
    await house.set(CP_1=20.0)
    fill(tmp_path)

    await house.plug("CP-2")
    first = await house.limits.numbers.number_of("CP-3", "12:00")
    await house.pass_time(61)

    assert [house.really_a(one) for one in ("CP-1", "CP-2")] == [6.0, 6.0]
    assert await house.limits.numbers.number_of("CP-3", "12:00") == first
    house.close()


async def test_what_could_not_be_written_is_written_once_the_disk_takes_it_again(tmp_path: Path) -> None:
    house = await charging(tmp_path)
    fill(tmp_path)
    await house.plug("CP-1")
    await house.pass_time(1)
    assert house.store.write_error() is not None

    free(tmp_path)
    await house.pass_time(1)
    assert house.store.write_error() is None

    after = restart(house, tmp_path)
    assert [one.charger_id for one in after.limits.views.sessions().sessions] == ["CP-1"]
    (result,) = await after.set(CP_1=32.0)
    assert result.limited_by == "not_connected"
    after.close()


async def test_a_charger_that_no_longer_belongs_to_the_site_is_forgotten(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1", "CP-2")
    before.close()

    after = House(("CP-2",), folder=tmp_path, clock=before.clock)

    assert [one.charger_id for one in after.limits.views.sessions().sessions] == ["CP-2"]
    after.close()


def spoil(folder: Path, *, table: str | None) -> None:
    """Overwrite the root page of a table, or all of the file."""
    file = folder / FILE
    if table is None:
        file.write_bytes(b"this is no database at all, whatever its name says" * 400)
        return
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = b"\xa5" * size
    file.write_bytes(content)


@pytest.mark.parametrize("table", [None, *WRITTEN])
async def test_a_damaged_state_stops_neither_the_start_nor_a_stop_nor_fallbacks(
    tmp_path: Path, table: str | None
) -> None:
    before = await charging(tmp_path, "CP-1")
    await before.set(CP_1=20.0)
    before.close()
    spoil(tmp_path, table=table)

    after = House(folder=tmp_path, clock=before.clock, points=before.points)
    await after.connect()
    await after.plug("CP-1", "CP-2")
    assert after.really_a("CP-1") == 6.0
    (raised,) = await after.set(CP_2=20.0)
    assert (raised.limit_a, raised.limited_by) == (6.0, "state_not_kept")
    obstacle = after.store.write_error() or ""
    assert "chargers.sqlite is damaged" in obstacle
    assert "move chargers.sqlite* out of CHARGERS_STATE_DIR" in obstacle

    stopped = await after.operator_service.set_override(stop(), WHO)
    assert (stopped.override is not None, stopped.is_kept_on_disk) == (True, False)
    assert [after.really_a(one) for one in ("CP-1", "CP-2")] == [0.0, 0.0]
    assert await after.limits.numbers.number_of("CP-1", "12:00") > 0
    await after.pass_time(61)
    assert after.store.write_error() == obstacle
    after.close()


async def test_a_stop_is_read_from_a_state_that_is_damaged_elsewhere(tmp_path: Path) -> None:
    before = await charging(tmp_path, "CP-1")
    await before.operator_service.set_override(stop(), WHO)
    before.close()
    spoil(tmp_path, table="standings")

    after = House(folder=tmp_path, clock=before.clock, points=before.points)
    await after.connect()
    await after.plug("CP-1")

    assert after.operator_service.override_state().override is not None
    assert after.really_a("CP-1") == 0.0
    after.close()


async def test_damage_that_comes_about_later_is_found_and_stays(tmp_path: Path) -> None:
    house = await charging(tmp_path, "CP-1", "CP-2")
    await house.set(CP_1=20.0)
    assert house.store.write_error() is None

    spoil(tmp_path, table="sessions")
    await house.pass_time(61)
    for _ in range(3):
        assert "chargers.sqlite is damaged" in (house.store.write_error() or "")
        (raised,) = await house.set(CP_2=20.0)
        assert (house.really_a("CP-2"), raised.limited_by) == (6.0, "state_not_kept")
    house.close()


async def test_a_disk_that_hangs_holds_up_neither_the_watch_nor_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await charging(tmp_path, "CP-1")
    await house.set(CP_1=20.0)
    goes_on = threading.Event()
    monkeypatch.setattr(store, "_LONGEST_WRITE_S", 0.05)

    def hang(*_: object) -> None:
        goes_on.wait(10)

    monkeypatch.setattr(store, "_write", hang)

    await house.pass_time(61)
    assert house.really_a("CP-1") == 6.0
    await house.operator_service.set_override(stop(), WHO)
    assert house.really_a("CP-1") == 0.0
    assert "the disk takes longer" in (house.store.write_error() or "")

    monkeypatch.undo()
    goes_on.set()
    await house.until(lambda: house.store._late is None or house.store._late.done())  # pyright: ignore[reportPrivateUsage]
    await house.pass_time(61)
    assert house.store.write_error() is None
    house.close()


def test_a_state_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()

    with pytest.raises(ConfigurationError, match=r"chargers\.sqlite cannot be used: unable to open"):
        House(folder=tmp_path)
