"""Sessions that are over are kept for a time, by pseudonym for agents and by token for operators."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.drivers import Drivers
from charger_service.ports import TransactionEnded, TransactionStarted

pytestmark = pytest.mark.anyio


async def charge_once_each(house: House, *tokens: str) -> None:
    """One session after another at CP-1, each of a minute and 2 kWh."""
    await house.connect("CP-1")
    for number, token in enumerate(tokens):
        now = house.clock.now()
        await house.limits.events.on_transaction_started(TransactionStarted("CP-1", 1, f"T-{number}", now, 10.0, token))
        house.clock.advance(60)
        await house.limits.events.on_transaction_ended(TransactionEnded("CP-1", f"T-{number}", house.clock.now(), 12.0))
    await house.settled()


async def test_operators_see_token_and_name_and_agents_a_pseudonym(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"tokens": [{"id_token": "ABC", "name": "Anna"}]}), encoding="utf-8")
    house = House(["CP-1"], folder=tmp_path / "state", drivers=Drivers(tokens))
    await charge_once_each(house, "abc")

    records = await house.limits.history.records(NOON, 10)
    (record,) = records.sessions
    assert (record.id_token, record.name, record.energy_kwh) == ("abc", "Anna", 2.0)
    assert (record.started_at, record.ended_at) == (NOON, NOON + timedelta(seconds=60))
    assert records.next_since is None

    (session,) = (await house.limits.history.sessions(NOON)).sessions
    assert (session.driver_id, session.ended_at) == (record.driver_id, record.ended_at)
    assert "abc" not in session.model_dump_json()
    assert "Anna" not in session.model_dump_json()
    assert (await house.limits.history.sessions(None)).sessions == ()
    await house.limits.queue.stop()
    house.store.close()


async def test_pages_follow_each_other_by_the_end(house: House) -> None:
    await charge_once_each(house, "A", "B", "C")

    first = await house.limits.history.records(NOON, 2)
    assert [one.id_token for one in first.sessions] == ["A", "B"]
    assert first.next_since is not None
    second = await house.limits.history.records(first.next_since, 2)
    assert [one.id_token for one in second.sessions] == ["B", "C"]
    assert second.next_since is None


async def test_what_ended_before_the_time_asked_for_is_left_out(house: House) -> None:
    await charge_once_each(house, "A", "B")

    found = await house.limits.history.records(NOON + timedelta(seconds=60, microseconds=1), 10)
    assert [one.id_token for one in found.sessions] == ["B"]


async def test_a_session_is_forgotten_after_the_time_it_is_kept_for(house: House) -> None:
    await charge_once_each(house, "A")

    house.store.prune(NOON + timedelta(days=89))
    assert len((await house.limits.history.records(NOON, 10)).sessions) == 1
    house.store.prune(NOON + timedelta(days=91))
    assert (await house.limits.history.records(NOON, 10)).sessions == []
