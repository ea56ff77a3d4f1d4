"""Messages of transactions of earlier change nothing; a transaction that really runs is taken up again."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.evse_facts import ChargingSession
from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    CommandStatus,
    MeterReading,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio

KEY = ("CP-1", 1)
LONG_AGO = NOON - timedelta(days=30)


@pytest.fixture
async def charging(house: House) -> House:
    """CP-1 charges; its transaction began at noon and its meter shows 10 A."""
    await house.connect("CP-1")
    await house.plug("CP-1")
    house.meter("CP-1", 10.0, transaction_id=running(house).transaction_id)
    return house


def running(house: House) -> ChargingSession:
    session = house.site.get_session(KEY)
    assert session is not None
    return session


def read_evse(house: House) -> tuple[Any, ...]:
    evse = house.evse("CP-1")
    return evse.state, evse.session, evse.measured, evse.is_overdrawing


def see(house: House, transaction_id: str, at: datetime, **more: Any) -> bool:
    seen = TransactionUpdated("CP-1", 1, transaction_id, at, **more)
    house.limits.events.on_meter_values(
        "CP-1", 1, MeterReading(at, transaction_id, current_a=(11.0, 11.0, 11.0), energy_kwh=900.0)
    )
    return house.limits.events.on_transaction_updated(seen)


async def power_loss(house: House) -> str:
    """CP-1 loses its power: it boots, and says that nobody is there. Returns the transaction that ran."""
    transaction_id = running(house).transaction_id
    house.clock.advance(60)
    house.limits.events.on_connect("CP-1", "1.6")
    house.limits.events.on_boot("CP-1", ChargerModel("V", "M"))
    house.limits.events.on_ready("CP-1", ChargerCapabilities())
    house.limits.events.on_evse_state("CP-1", 1, EvseState.AVAILABLE)
    await house.settled()
    return transaction_id


@pytest.mark.parametrize("alone_s", [0, 60])
@pytest.mark.parametrize("age", [timedelta(days=30), timedelta(minutes=10)])
async def test_stored_values_of_an_old_transaction_change_nothing(
    charging: House, alone_s: float, age: timedelta
) -> None:
    before = read_evse(charging)
    charging.clock.advance(alone_s)

    assert not see(charging, "4711", NOON - age)
    await charging.limits.events.on_transaction_ended(TransactionEnded("CP-1", "4711", NOON - age, 5.0))

    assert read_evse(charging) == before
    assert (await charging.set(CP_1=8.0))[0].outcome == "applied"
    limit = charging.points.at("CP-1").limit
    assert limit is not None
    assert limit.transaction_id == running(charging).transaction_id


async def test_values_of_another_transaction_that_tell_of_now_replace_none_that_is_heard(charging: House) -> None:
    transaction_id = running(charging).transaction_id

    assert not see(charging, "4711", charging.clock.now(), state=EvseState.CHARGING)
    assert running(charging).transaction_id == transaction_id
    assert running(charging).energy_kwh == 0


@pytest.mark.parametrize("is_stored", [False, True])
async def test_an_old_begin_and_end_are_recorded_beside_the_session_that_runs(charging: House, is_stored: bool) -> None:
    before = read_evse(charging)
    events = charging.limits.events

    assert not await events.on_transaction_started(
        TransactionStarted("CP-1", 1, "old", LONG_AGO, 50.0, is_stored=is_stored)
    )
    assert not see(charging, "old", LONG_AGO, is_stored=is_stored)
    assert not await events.on_transaction_ended(TransactionEnded("CP-1", "old", LONG_AGO + timedelta(hours=1), 57.5))

    assert read_evse(charging) == before
    (row,) = [row for row in charging.store.load().sessions if row["transaction_id"] == "old"]
    assert row["ended_at"] == "2026-05-22T13:00:00Z"
    assert '"energy_kwh":7.5' in row["content"]


@pytest.mark.parametrize("transaction_id", [str(2**63 - 1), "0", "-1", "4711"])
async def test_nobody_comes_by_what_a_meter_says_while_nobody_is_there(house: House, transaction_id: str) -> None:
    await house.connect("CP-1")

    assert not see(house, transaction_id, house.clock.now())
    assert not await house.limits.events.on_transaction_ended(
        TransactionEnded("CP-1", transaction_id, house.clock.now(), 1.0)
    )

    assert house.evse("CP-1").session is None
    assert house.evse("CP-1").state is EvseState.AVAILABLE


async def test_a_stored_begin_makes_a_session_once_its_transaction_proves_to_run(house: House) -> None:
    await house.connect("CP-1")
    begun_at = NOON - timedelta(hours=1)

    assert not await house.limits.events.on_transaction_started(
        TransactionStarted("CP-1", 1, "T", begun_at, 100.0, is_stored=True)
    )
    assert house.evse("CP-1").session is None
    assert see(house, "T", house.clock.now())

    assert running(house).started_at == begun_at


async def test_a_transaction_is_taken_up_again_after_a_loss_of_power(charging: House) -> None:
    session_id = running(charging).session_id
    transaction_id = await power_loss(charging)
    assert charging.evse("CP-1").session is None

    assert see(charging, transaction_id, charging.clock.now())
    await charging.settled()

    assert running(charging).session_id == session_id
    assert (await charging.set(CP_1=8.0))[0].outcome == "applied"
    limit = charging.points.at("CP-1").limit
    assert limit is not None
    assert (limit.transaction_id, limit.limit_a) == (transaction_id, 8.0)


async def test_stored_values_after_a_loss_of_power_take_nothing_up(charging: House) -> None:
    transaction_id = await power_loss(charging)
    charging.clock.advance(600)

    assert not see(charging, transaction_id, NOON + timedelta(seconds=50))
    assert charging.evse("CP-1").session is None

    ended = TransactionEnded("CP-1", transaction_id, NOON + timedelta(seconds=55), 103.0)
    await charging.limits.events.on_transaction_ended(ended)
    assert not see(charging, transaction_id, charging.clock.now())
    (row,) = [row for row in charging.store.load().sessions if row["transaction_id"] == transaction_id]
    assert row["ended_at"] == "2026-06-21T12:00:55Z"
    assert '"energy_kwh":3.0' in row["content"]


async def test_a_transaction_is_taken_up_again_after_a_restart_of_the_service(tmp_path: Path) -> None:
    before = House(["CP-1"], folder=tmp_path)
    await before.connect("CP-1")
    await before.plug("CP-1")
    session_id = running(before).session_id
    transaction_id = await power_loss(before)
    await before.limits.writer.write()
    before.store.close()

    after = House(["CP-1"], folder=tmp_path, clock=before.clock)
    await after.connect("CP-1")
    assert see(after, transaction_id, after.clock.now())
    assert running(after).session_id == session_id
    await after.limits.queue.stop()
    after.store.close()


async def test_another_transaction_takes_the_place_of_one_that_nobody_hears_of_any_more(charging: House) -> None:
    charging.clock.advance(60)
    charging.limits.events.on_connect("CP-1", "2.0.1")
    charging.limits.events.on_ready("CP-1", ChargerCapabilities())
    assert not see(charging, "new", charging.clock.now(), state=EvseState.CHARGING)

    charging.clock.advance(60)
    assert see(charging, "new", charging.clock.now(), state=EvseState.CHARGING)
    await charging.settled()

    assert running(charging).transaction_id == "new"


async def test_what_draws_without_a_session_is_told_and_held_to_the_default(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.connect("CP-1")
    house.points.at("CP-1").default_a = None

    house.meter("CP-1", 16.0)
    house.meter("CP-1", 16.0)
    await house.pass_time(1)

    evse = house.evse("CP-1")
    assert (evse.session, evse.draws_without_session, evse.is_overdrawing) == (None, True, True)
    assert house.points.at("CP-1").default_a == 6.0
    assert house.site.max_currents(KEY) == (16.0, 16.0, 16.0)
    assert [record.message for record in caplog.records].count("power is drawn without a session") == 1
    (result,) = await house.set(CP_1=8.0)
    assert (result.outcome, result.limited_by) == ("rejected", "no_session")
    assert (result.limit_a, result.valid_until) == (6.0, None)
    assert house.evse("CP-1").limit_a is None

    house.meter("CP-1", 0.0)
    evse = house.evse("CP-1")
    assert (evse.draws_without_session, evse.is_overdrawing) == (False, False)


async def test_where_no_default_holds_what_is_drawn_without_a_session_no_limit_is_named(house: House) -> None:
    house.points.at("CP-1").default_answer = CommandStatus.REJECTED
    await house.connect("CP-1")
    assert (await house.set(CP_1=8.0))[0].limit_a == 8.0
    house.meter("CP-1", 16.0)

    (result,) = await house.set(CP_1=8.0)
    (unfit,) = await house.set(CP_1=3.0)

    assert (result.limited_by, result.limit_a, result.valid_until) == ("no_session", None, None)
    assert (unfit.limited_by, unfit.limit_a) == ("least_current", None)


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_session_that_was_replaced_takes_its_energy_from_its_own_late_end(
    tmp_path: Path, is_restarted: bool
) -> None:
    house = House(["CP-1"], folder=tmp_path)
    await house.connect("CP-1")
    await house.plug("CP-1")
    first = running(house).transaction_id
    house.meter("CP-1", 16.0, energy_kwh=103.0)
    house.clock.advance(60)
    await house.plug("CP-1")
    second = running(house).transaction_id
    if is_restarted:
        await house.limits.writer.write()
        await house.limits.queue.stop()
        house.store.close()
        house = House(["CP-1"], folder=tmp_path, clock=house.clock)
        await house.connect("CP-1")
    ended_at = house.clock.now() - timedelta(seconds=30)

    for _ in range(2):
        assert not await house.limits.events.on_transaction_ended(TransactionEnded("CP-1", first, ended_at, 107.5))
    assert not see(house, first, house.clock.now())

    assert running(house).transaction_id == second
    assert running(house).energy_kwh == 0
    (row,) = [row for row in house.store.load().sessions if row["transaction_id"] == first]
    assert '"energy_kwh":7.5' in row["content"]
    assert row["ended_at"] == "2026-06-21T12:00:30Z"
    await house.limits.queue.stop()
    house.store.close()
