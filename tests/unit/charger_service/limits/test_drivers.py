"""Who may charge, and the pseudonyms by which the rest of the site knows drivers."""

import json
from pathlib import Path

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.drivers import KEY_FILE, Drivers
from charger_service.ports import TransactionStarted, TransactionUpdated
from ev_service.charging import EvseState
from ev_service.errors import ConfigurationError

pytestmark = pytest.mark.anyio

KEY = ("CP-1", 1)


def write_tokens(folder: Path, **names: str) -> Path:
    file = folder / "tokens.json"
    tokens = [{"id_token": token, "name": name} for token, name in names.items()]
    draft = folder / "draft.json"
    draft.write_text(json.dumps({"tokens": tokens}), encoding="utf-8")
    draft.replace(file)
    return file


def test_every_token_may_charge_where_there_is_no_list() -> None:
    drivers = Drivers()

    assert drivers.may_charge("ANY")
    assert drivers.name_of("ANY") is None


def test_the_list_is_read_again_when_it_changes_and_kept_while_it_is_damaged(tmp_path: Path) -> None:
    drivers = Drivers(write_tokens(tmp_path, ABC="Anna"))
    assert (drivers.may_charge("abc"), drivers.may_charge("DEF"), drivers.name_of("aBC")) == (True, False, "Anna")

    write_tokens(tmp_path, DEF="Dora")
    assert (drivers.may_charge("abc"), drivers.may_charge("DEF")) == (False, True)

    write_tokens(tmp_path, SECRET="x" * 200)
    assert drivers.may_charge("DEF")
    obstacle = drivers.read_error() or ""
    assert "tokens.0.name" in obstacle
    assert "SECRET" not in obstacle
    assert "xxx" not in obstacle


def test_a_list_that_names_a_token_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        Drivers(write_tokens(tmp_path, ABC="Anna", abc="Anna"))


def test_a_pseudonym_lasts_as_long_as_the_key_and_is_not_the_token(tmp_path: Path) -> None:
    first, second = (Drivers(None, tmp_path).driver_of(token) for token in ("ABC", "abc"))
    other = Drivers(None, tmp_path / "elsewhere").driver_of("ABC")

    assert first is not None
    assert second is not None
    assert other is not None
    assert first.driver_id == second.driver_id != other.driver_id
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600

    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="damaged"):
        Drivers(None, tmp_path)


async def test_a_session_of_a_token_that_is_not_listed_gets_nothing_and_is_stopped(tmp_path: Path) -> None:
    house = House(["CP-1"], drivers=Drivers(write_tokens(tmp_path, ABC="Anna")))
    await house.connect("CP-1")
    await house.limits.events.on_transaction_started(TransactionStarted("CP-1", 1, "T", NOON, 100.0, "STRANGER"))
    await house.settled()

    limit = house.points.at("CP-1").limit
    assert limit is not None
    assert limit.limit_a == 0.0
    assert house.points.stopped == [("CP-1", "T")]
    (result,) = await house.set(CP_1=16.0)
    assert (result.outcome, result.limit_a, result.limited_by) == ("partly_applied", 0.0, "not_allowed")
    await house.pass_time(5)
    assert house.points.sent[-1] == ("CP-1", 0.0)
    await house.limits.queue.stop()
    house.store.close()


async def test_a_token_that_is_presented_later_counts_too(tmp_path: Path) -> None:
    house = House(["CP-1"], drivers=Drivers(write_tokens(tmp_path, ABC="Anna")))
    await house.connect("CP-1")
    await house.limits.events.on_transaction_started(TransactionStarted("CP-1", 1, "T", NOON, 100.0))
    house.limits.events.on_transaction_updated(
        TransactionUpdated("CP-1", 1, "T", NOON, False, EvseState.OCCUPIED, "ABC")
    )
    house.limits.events.on_transaction_updated(
        TransactionUpdated("CP-1", 1, "T", NOON, False, EvseState.OCCUPIED, "STRANGER")
    )
    await house.settled()

    session = house.evse("CP-1").session
    assert session is not None
    assert session.driver_id
    assert house.points.stopped == []
    await house.limits.queue.stop()
    house.store.close()
