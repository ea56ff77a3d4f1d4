"""A slow or lost ledger is no emergency stop: nobody gets more, and for a while everybody keeps what was recorded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from charging_agent.ledger import recorder as recording
from charging_agent.ledger.errors import LedgerUnavailableError
from charging_agent.ledger.keys import PUBLIC_FILES, read_trusted_keys
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.store import DATABASE_FILE, Store
from charging_agent.ledger.verification import verify
from charging_agent.readings.apis import BATTERY

if TYPE_CHECKING:
    from tests.unit.charging_agent.charging.conftest import FakeChargers
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    def fail(*_: object) -> None:
        raise LedgerUnavailableError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "append", fail)
        yield


class SlowDisk:
    """A ledger whose writes hang while it is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._goes_on = threading.Event()
        goes_on, write = self._goes_on, Store.append

        def append(*arguments: Any) -> None:
            goes_on.wait(20)
            write(*arguments)

        monkeypatch.setattr(Store, "append", append)

    def hold(self) -> None:
        self._goes_on.clear()
        self._monkeypatch.setattr(recording, "WRITE_S", 0.05)

    def release(self) -> None:
        self._monkeypatch.setattr(recording, "WRITE_S", 10)
        self._goes_on.set()


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Generator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    disk.release()
    yield disk
    disk.release()


def limits_of(command: dict[str, Any]) -> dict[str, float]:
    return {limit["charger_id"]: limit["limit_a"] for limit in command["limits"]}


async def read_record(client: Any, decision_id: str) -> dict[str, Any]:
    return (await client.get(f"/decisions/{decision_id}")).json()["record"]


async def test_a_round_that_is_not_recorded_raises_nobody_and_pauses_nobody(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served.client():
        await chargers.rounds(1)
        before = chargers.in_force
        with full_disk(monkeypatch):
            await chargers.rounds(1)
        sent = chargers.commands[-1]

    # Within the ramp they would have risen.
    assert 6 <= before["CP-1"] < 32
    assert limits_of(sent) == before
    until = datetime.fromisoformat(sent["limits"][0]["valid_until"])
    assert until == served.clock.now() + timedelta(seconds=45)


async def test_a_plan_that_is_lower_is_sent_without_a_record(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served.client():
        await chargers.rounds(4)
        before = chargers.in_force
        served.gateway.gives(BATTERY.path, soc_percent=50.0)
        with full_disk(monkeypatch):
            await chargers.rounds(1)

    # 11 kW for each, by the rule for a battery that is not high.
    assert before["CP-1"] > 20
    assert 15 < chargers.in_force["CP-1"] < 16


async def test_an_overload_pauses_everybody_without_a_record(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    chargers.places["CP-2"].has_car = False
    async with served.client():
        await chargers.rounds(1)
        chargers.building_kw = 90.0
        with full_disk(monkeypatch):
            await chargers.rounds(1)

    assert limits_of(chargers.commands[-1]) == {"CP-1": 0, "CP-2": 0}


async def test_once_what_was_recorded_has_lapsed_there_is_only_0_a(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    powers: list[float] = []
    async with served.client() as client:
        await chargers.rounds(2)
        with full_disk(monkeypatch):
            for _ in range(5):
                await chargers.rounds(1)
                powers.append(limits_of(chargers.commands[-1])["CP-1"])
            status = (await client.get("/site-status")).json()["chargers"]
            asked = (await client.get("/optimize-charging")).json()

    # Limits of the last recorded round live 45 s: two more rounds.
    assert all(power > 0 for power in powers[:2])
    assert powers[2:] == [0, 0, 0]
    assert "decisions are not recorded (the disk is full)" in status["trouble"]
    assert (asked["rule"], asked["charging_power_kw"]) == ("fail_safe", 0.0)


async def test_a_clock_set_back_does_not_lengthen_what_was_recorded(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served.client():
        await chargers.rounds(2)
        with full_disk(monkeypatch):
            served.clock.set_back(3600)
            await chargers.rounds(4)

    assert set(limits_of(chargers.commands[-1]).values()) == {0}


async def test_what_was_sent_is_recorded_late_in_its_order_and_verifies_and_replays(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served.settings["state_dir"] = tmp_path
    async with served.client() as client:
        await chargers.rounds(1)
        with full_disk(monkeypatch):
            await chargers.rounds(2)
        sent = chargers.commands[-2:]
        await chargers.rounds(1)
        late = [await read_record(client, command["decision_id"]) for command in sent]
        after = await read_record(client, chargers.commands[-1]["decision_id"])

    assert [record["late"]["reason"] for record in late] == ["the disk is full"] * 2
    for command, record in zip(sent, late, strict=True):
        assert {one["car"][0]: one["limit_a"] for one in record["late"]["limits"]} == limits_of(command)
        assert record["late"]["valid_until"] == command["limits"][0]["valid_until"]
    assert late[1]["commanded"]["decision_id"] == sent[0]["decision_id"]
    assert (after["late"], after["commanded"]["decision_id"]) == (None, sent[1]["decision_id"])
    found = list(read_records(tmp_path / DATABASE_FILE))
    verified = verify(found, read_trusted_keys(tmp_path.glob(PUBLIC_FILES)))
    assert verified.broken is None
    assert [replay_record(one.record) for one in found] == [None] * len(found)
    decided = [record["decided_at"] for record in verified.records]
    assert decided == sorted(decided)


async def test_while_what_is_sent_is_recorded_late_cars_keep_charging(
    served: AgentApplication, chargers: FakeChargers, slow_disk: SlowDisk
) -> None:
    """A disk that takes every record, and each too late: nothing rises, and nothing ends."""
    async with served.client() as client:
        await chargers.rounds(2)
        before = chargers.in_force
        for _ in range(5):
            slow_disk.hold()
            await chargers.rounds(1)
            slow_disk.release()
            decision_id = chargers.commands[-1]["decision_id"]
            async with asyncio.timeout(5):
                while (await client.get(f"/decisions/{decision_id}")).status_code != 200:
                    await asyncio.sleep(0.005)

    assert chargers.in_force == before
    assert min(before.values()) >= 6


async def test_a_stop_that_is_sent_again_and_again_is_recorded_once(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served.client() as client:
        await chargers.rounds(1)
        with full_disk(monkeypatch):
            await chargers.rounds(8)
        stops = {command["decision_id"] for command in chargers.commands if set(limits_of(command).values()) == {0}}
        await chargers.rounds(1)
        listed = (await client.get("/decisions?limit=100")).json()["decisions"]

    assert len(stops) == 1
    assert len([one for one in listed if one["decision_id"] in stops]) == 1


async def test_a_ledger_that_opens_slowly_lets_no_car_stand_still(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, opening = threading.Event(), threading.Event()
    take = Store.open

    def slowly(folder: Path | None) -> Store:
        opening.set()
        goes_on.wait(20)
        return take(folder)

    for place in chargers.places.values():
        place.limit_a, place.valid_until = 16.0, served.clock.now() + timedelta(seconds=30)
    monkeypatch.setattr(Store, "open", slowly)
    monkeypatch.setattr(recording, "WRITE_S", 0.05)
    asyncio.get_running_loop().call_later(0.2, goes_on.set)
    async with served.client():
        assert opening.is_set()
        monkeypatch.setattr(recording, "WRITE_S", 10)
        await chargers.first_round()

    assert [limit for command in chargers.commands for limit in limits_of(command).values() if limit < 6] == []


async def test_after_the_bound_the_first_round_sends_no_more_than_is_in_force_until_that_lapses(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    take = Store.open

    def never(folder: Path | None) -> Store:
        goes_on.wait(20)
        return take(folder)

    for place in chargers.places.values():
        place.limit_a, place.valid_until = 16.0, served.clock.now() + timedelta(seconds=20)
    monkeypatch.setattr(Store, "open", never)
    monkeypatch.setattr(recording, "WRITE_S", 0.05)
    served.settings["ledger_open_s"] = 0.05
    try:
        async with served.client() as client:
            await chargers.rounds(3)
            sent = [limits_of(command) for command in chargers.commands]
            health = await client.get("/health")
            goes_on.set()
    finally:
        goes_on.set()

    assert sent[:2] == [{"CP-1": 16.0, "CP-2": 16.0}] * 2
    assert set(sent[2].values()) == {0}
    assert (health.status_code, "within" in health.json()["failing"]["ledger"]) == (503, True)


async def test_each_decision_and_each_set_of_limits_is_one_log_line(
    served: AgentApplication, chargers: FakeChargers, caplog: pytest.LogCaptureFixture
) -> None:
    chargers.places["CP-2"].is_connected = False
    async with served.client():
        logging.getLogger().addHandler(caplog.handler)
        await chargers.rounds(2)

    decided = [record.__dict__ for record in caplog.records if record.getMessage() == "decided"]
    limits = [record.__dict__ for record in caplog.records if record.getMessage() == "limits set"]
    assert len(limits) == len(chargers.commands[-len(limits) :]) > 0
    assert (decided[-1]["rule"], decided[-1]["power_kw"], decided[-1]["cars"]) == ("solar_and_battery_high", 22.0, 1)
    assert decided[-1]["reason"].startswith("Solar 41.0 kW")
    assert limits[-1]["decision_id"] == decided[-1]["decision_id"]
    assert (limits[-1]["outcome"], limits[-1]["cars"].startswith("CP-1/1 ")) == ("ok", True)


@pytest.mark.parametrize("error", [OSError("lost"), LedgerUnavailableError("lost")])
async def test_what_the_ledger_meets_does_not_end_the_loop(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object) -> None:
        raise error

    async with served.client():
        await chargers.rounds(1)
        with monkeypatch.context() as broken:
            broken.setattr(Ledger, "append", fail)
            await chargers.rounds(5)
        assert set(limits_of(chargers.commands[-1]).values()) == {0}
        await chargers.rounds(6)

    assert min(chargers.in_force.values()) > 0
