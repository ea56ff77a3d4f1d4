"""A car that waits at a charger which begins no transaction by itself: who is asked, when, and when nobody is."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.charger_service.limits.conftest import House

from charger_service.autostart import AFTER_S, AGAIN_AFTER_S
from charger_service.configuration import Installation
from charger_service.drivers import AUTOSTART_TOKEN, Drivers
from charger_service.orders import OverrideKind, OverrideOrder
from charger_service.ports import ChargerCapabilities, ChargerModel, CommandStatus, TransactionEnded, TransactionStarted
from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio

ASKED = [("CP-1", 1, AUTOSTART_TOKEN)]


def state(house: House, state: EvseState, *, is_over: bool = False) -> None:
    house.limits.events.on_evse_state("CP-1", 1, state, is_over=is_over)


async def waiting(house: House) -> None:
    await house.connect("CP-1")
    state(house, EvseState.OCCUPIED)


async def begin(house: House, id_token: str | None, transaction_id: str = "7") -> None:
    started = TransactionStarted("CP-1", 1, transaction_id, house.clock.now(), 100.0, id_token)
    await house.limits.events.on_transaction_started(started)
    await house.settled()


async def end(house: House, transaction_id: str = "7") -> None:
    await house.limits.events.on_transaction_ended(TransactionEnded("CP-1", transaction_id, house.clock.now()))


@pytest.fixture
def listed(tmp_path: Path, anyio_backend: str) -> Iterator[House]:
    """A site with a list of tokens that names the one of autostart."""
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"tokens": [{"id_token": "CARD"}, {"id_token": "autostart", "name": "Nobody"}]}))
    house = House(["CP-1"], drivers=Drivers(file))
    yield house
    house.close()


def set_quirks(house: House, **quirks: Any) -> None:
    entry = house.installation.model_dump(mode="json")["chargers"][0] | {"quirks": quirks}
    feeders = [{"feeder_id": "main", "limit_a": 500}]
    found = Installation.model_validate({"feeders": feeders, "chargers": [entry]})
    house.site.own_quirks["CP-1"] = found.chargers[0].quirks


async def test_a_charger_is_asked_once_its_car_waited_long_enough(house: House) -> None:
    await waiting(house)
    await house.pass_time(AFTER_S - 0.5)
    assert house.points.started == []

    await house.pass_time(0.5)
    assert house.points.started == ASKED

    await begin(house, AUTOSTART_TOKEN)
    await house.pass_time(3600)
    assert house.points.started == ASKED


async def test_a_first_state_that_is_heard_counts_as_well(house: House) -> None:
    house.limits.events.on_connect("CP-1", "1.6")
    house.limits.events.on_ready("CP-1", ChargerCapabilities())
    state(house, EvseState.OCCUPIED)

    await house.pass_time(AFTER_S)

    assert house.points.started == ASKED


async def test_a_clock_that_is_set_asks_nobody_earlier(house: House) -> None:
    await waiting(house)
    house.clock.set_wall(house.clock.now().replace(year=2030))

    await house.pass_time(AFTER_S - 1)

    assert house.points.started == []


async def test_a_driver_who_presents_a_token_meanwhile_is_left_alone(house: House) -> None:
    await waiting(house)
    await house.pass_time(AFTER_S - 1)
    await begin(house, "CARD")

    await house.pass_time(60)

    assert house.points.started == []


@pytest.mark.parametrize("answer", [CommandStatus.REJECTED, CommandStatus.NO_ANSWER, CommandStatus.ACCEPTED])
async def test_where_no_transaction_follows_it_is_asked_once_more(
    house: House, answer: CommandStatus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.points.start_answer = answer
    await waiting(house)
    await house.pass_time(AFTER_S)
    await house.pass_time(AGAIN_AFTER_S - 1)
    assert house.points.started == ASKED

    for _ in range(100):
        await house.pass_time(10)

    assert house.points.started == ASKED * 2
    told = [one.__dict__["answer"] for one in caplog.records if "asked to begin" in one.message]
    assert told == [answer] * 2


async def test_the_next_car_is_asked_for_again(house: House) -> None:
    await waiting(house)
    await house.pass_time(AFTER_S)
    await begin(house, AUTOSTART_TOKEN)
    await end(house)
    state(house, EvseState.AVAILABLE)
    await house.pass_time(1)

    state(house, EvseState.OCCUPIED)
    await house.pass_time(AFTER_S)

    assert house.points.started == ASKED * 2


async def test_what_was_ended_is_not_begun_again_while_the_car_is_there(house: House) -> None:
    await house.connect("CP-1")
    await begin(house, "CARD")
    state(house, EvseState.CHARGING)
    await end(house)

    state(house, EvseState.OCCUPIED, is_over=True)
    await house.pass_time(60)
    state(house, EvseState.OCCUPIED)
    await house.pass_time(60)

    assert house.points.started == []


async def test_a_session_that_is_over_by_the_charger_alone_is_not_begun_again(house: House) -> None:
    await house.connect("CP-1")
    state(house, EvseState.OCCUPIED, is_over=True)

    await house.pass_time(60)

    assert house.points.started == []


async def test_a_session_stored_while_offline_is_not_begun_again(house: House) -> None:
    await waiting(house)
    await house.disconnect("CP-1")
    house.clock.advance(600)
    house.limits.events.on_connect("CP-1", "1.6")
    house.limits.events.on_ready("CP-1", ChargerCapabilities())
    await house.pass_time(1)
    await house.limits.events.on_transaction_started(
        TransactionStarted("CP-1", 1, "8", house.clock.now(), is_stored=True)
    )
    await house.limits.events.on_transaction_ended(TransactionEnded("CP-1", "8", house.clock.now()))

    await house.pass_time(60)

    assert house.points.started == []


async def test_a_charger_that_is_away_is_asked_once_it_is_back_and_had_time_to_tell(house: House) -> None:
    await waiting(house)
    await house.disconnect("CP-1")
    await house.pass_time(60)
    assert house.points.started == []

    house.limits.events.on_connect("CP-1", "1.6")
    house.limits.events.on_ready("CP-1", ChargerCapabilities())
    await house.pass_time(AFTER_S - 1)
    assert house.points.started == []
    await house.pass_time(1)

    assert house.points.started == ASKED


@pytest.mark.parametrize("is_gone", [False, True])
async def test_after_a_restart_an_ended_session_is_still_known(tmp_path: Path, is_gone: bool) -> None:
    house = House(["CP-1"], folder=tmp_path)
    await house.connect("CP-1")
    await begin(house, "CARD")
    await end(house)
    state(house, EvseState.AVAILABLE if is_gone else EvseState.OCCUPIED, is_over=not is_gone)
    await house.pass_time(1)
    house.close()

    again = House(["CP-1"], folder=tmp_path)
    again.limits.events.on_connect("CP-1", "2.0.1")
    again.limits.events.on_ready("CP-1", ChargerCapabilities())
    state(again, EvseState.OCCUPIED)
    await again.pass_time(AFTER_S)

    assert again.points.started == (ASKED if is_gone else [])
    again.close()


async def test_after_a_restart_a_session_that_runs_is_not_begun_again(tmp_path: Path) -> None:
    house = House(["CP-1"], folder=tmp_path)
    await house.connect("CP-1")
    await begin(house, "CARD")
    house.close()

    again = House(["CP-1"], folder=tmp_path)
    again.limits.events.on_connect("CP-1", "1.6")
    again.limits.events.on_ready("CP-1", ChargerCapabilities())
    state(again, EvseState.OCCUPIED)
    await again.pass_time(60)

    assert again.points.started == []
    again.close()


async def test_the_make_of_a_charger_is_still_known_after_a_restart(tmp_path: Path) -> None:
    house = House(["CP-1"], folder=tmp_path)
    house.limits.events.on_boot("CP-1", ChargerModel("ABB", "CDT_TACW11", "1"))
    await house.pass_time(1)
    house.close()

    again = House(["CP-1"], folder=tmp_path)

    assert again.limits.events.quirks("CP-1").stack_level == 0
    again.close()


async def test_under_a_stop_nobody_is_asked_and_after_it_the_car_that_waits_is(house: House) -> None:
    await waiting(house)
    stop = OverrideOrder(kind=OverrideKind.STOP, minutes=30, reason="fire alarm test")
    await house.operator_service.set_override(stop, None)
    await house.pass_time(60)
    assert house.points.started == []

    await house.operator_service.set_override(OverrideOrder(kind=OverrideKind.NONE, reason="over"), None)
    await house.pass_time(1)

    assert house.points.started == ASKED


async def test_the_session_says_that_nobody_presented_a_token(house: House) -> None:
    await waiting(house)
    await house.pass_time(AFTER_S)
    await begin(house, None)

    assert house.evse("CP-1").session.driver_id == "autostart"  # type: ignore[union-attr]


async def test_a_session_without_a_token_that_nobody_asked_for_has_no_driver(house: House) -> None:
    await waiting(house)
    await begin(house, None)

    assert house.evse("CP-1").session.driver_id is None  # type: ignore[union-attr]


async def test_autostart_is_off_where_a_list_of_tokens_is_set(listed: House) -> None:
    await waiting(listed)
    await listed.pass_time(60)

    assert listed.points.started == []


async def test_an_entry_turns_it_on_where_the_list_names_its_token(listed: House) -> None:
    set_quirks(listed, autostart=True)
    await waiting(listed)
    await listed.pass_time(AFTER_S)
    await begin(listed, AUTOSTART_TOKEN)

    assert listed.points.started == ASKED
    assert listed.points.stopped == []
    assert listed.evse("CP-1").session.driver_id == "autostart"  # type: ignore[union-attr]


async def test_a_list_without_its_token_lets_nobody_begin_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"tokens": [{"id_token": "CARD"}]}))
    house = House(["CP-1"], drivers=Drivers(file))
    set_quirks(house, autostart=True)
    await waiting(house)
    for _ in range(20):
        await house.pass_time(10)

    assert house.points.started == []
    assert sum("lacks the one of autostart" in one.message for one in caplog.records) == 1
    house.close()


async def test_an_entry_turns_it_off(house: House) -> None:
    set_quirks(house, autostart=False)
    await waiting(house)
    await house.pass_time(60)

    assert house.points.started == []
