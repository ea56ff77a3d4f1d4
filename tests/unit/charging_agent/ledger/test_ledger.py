"""Records are kept before they are acknowledged, by one writer, and nothing damaged is replaced."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.unit.charging_agent.ledger.conftest import NOON, call, made_from, maker, observation

from charging_agent.ledger.errors import LedgerUnavailableError, UnknownDecisionError
from charging_agent.ledger.keys import PRIVATE_FILE, PUBLIC_FILE, PUBLIC_FILES, read_trusted_keys
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.store import DATABASE_FILE, METADATA, create_alembic_config
from charging_agent.ledger.verification import verify
from ev_service.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def fill_ledger(folder: Path, count: int) -> None:
    ledger = Ledger(folder, maker())
    await ledger.open()
    for number in range(count):
        await ledger.append(made_from(observation(NOON + timedelta(minutes=number))), [call()])
    await ledger.close()


async def test_a_recorded_decision_is_found_again_by_its_id_and_as_the_newest(ledger: Ledger) -> None:
    made = made_from(observation())

    sealed = await ledger.append(made, [call(status=429, code="900804")])

    assert await ledger.find(made.decision_id) == sealed == (await ledger.recent(1))[0]
    record = sealed.entry.record
    assert (record.sequence, record.calls[0].status, record.calls[0].code) == (1, 429, "900804")


async def test_a_decision_that_nobody_recorded_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(UnknownDecisionError):
        await ledger.find(uuid4())


async def test_a_restart_continues_the_chain_with_the_same_key_and_a_run_of_its_own(tmp_path: Path) -> None:
    await fill_ledger(tmp_path, 2)
    await fill_ledger(tmp_path, 2)

    verified = verify(read_records(tmp_path / DATABASE_FILE), read_trusted_keys(tmp_path.glob(PUBLIC_FILES)))
    assert verified.broken is None
    assert [record["sequence"] for record in verified.records] == [1, 2, 3, 4]
    assert len({record["run_id"] for record in verified.records}) == 2
    assert len(verified.key_ids) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file modes")
async def test_the_private_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    await fill_ledger(tmp_path, 1)

    assert stat.S_IMODE((tmp_path / PRIVATE_FILE).stat().st_mode) == 0o600


async def test_a_lost_key_shows_as_a_new_key_id_and_the_old_records_still_verify(tmp_path: Path) -> None:
    await fill_ledger(tmp_path, 1)
    (tmp_path / PRIVATE_FILE).unlink()
    await fill_ledger(tmp_path, 1)

    verified = verify(read_records(tmp_path / DATABASE_FILE), read_trusted_keys(tmp_path.glob(PUBLIC_FILES)))
    newest_only = verify(read_records(tmp_path / DATABASE_FILE), read_trusted_keys([tmp_path / PUBLIC_FILE]))
    assert verified.broken is None
    assert len(verified.key_ids) == 2
    assert newest_only.broken is not None
    assert newest_only.broken.place.startswith("record 1 ")


async def test_a_key_that_is_none_is_refused_without_its_content(tmp_path: Path) -> None:
    (tmp_path / PRIVATE_FILE).write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")

    with pytest.raises(ConfigurationError, match="no private key in PEM") as refused:
        await Ledger(tmp_path, maker()).open()

    assert "c2VjcmV0" not in refused.value.message


async def test_a_second_agent_in_the_same_folder_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    second = Ledger(tmp_path / "state", maker())

    with pytest.raises(ConfigurationError, match="another agent keeps its ledger in"):
        await second.open()

    await ledger.append(made_from(observation()), [])


@pytest.mark.parametrize("damage", ["header", "middle", "record"])
async def test_a_damaged_database_is_refused_with_what_to_do_and_stays_as_it_is(tmp_path: Path, damage: str) -> None:
    await fill_ledger(tmp_path, 3)
    file = tmp_path / DATABASE_FILE
    if damage == "record":
        with sqlite3.connect(file) as database:
            database.execute("UPDATE records SET record = replace(record, 'greens', 'else') WHERE sequence = 3")
        database.close()
    else:
        content = bytearray(file.read_bytes())
        start = 0 if damage == "header" else 4096
        content[start : start + 4096] = b"\xff" * 4096
        file.write_bytes(content)
    before = file.read_bytes()

    with pytest.raises(ConfigurationError, match=r"is damaged .* Nothing was changed"):
        await Ledger(tmp_path, maker()).open()

    assert file.read_bytes() == before


async def test_a_database_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    await fill_ledger(tmp_path, 1)
    with sqlite3.connect(tmp_path / DATABASE_FILE) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()

    with pytest.raises(ConfigurationError, match="newer agent"):
        await Ledger(tmp_path, maker()).open()


def test_the_migrations_make_the_table_that_the_code_knows() -> None:
    engine = create_engine("sqlite://")
    config = create_alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


async def test_a_ledger_of_the_first_revision_is_brought_to_the_newest_with_its_records(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / DATABASE_FILE}")
    config = create_alembic_config()
    first = ScriptDirectory.from_config(config).get_base()
    assert first is not None
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, first)
    engine.dispose()

    await fill_ledger(tmp_path, 2)

    assert len(list(read_records(tmp_path / DATABASE_FILE))) == 2


async def test_calls_that_could_not_be_written_stand_in_the_next_record_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, maker())
    await ledger.open()
    with sqlite3.connect(tmp_path / DATABASE_FILE) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailableError, match="locked"):
            await ledger.append(made_from(observation()), [call(correlation_id="lost")])
        other.rollback()
    other.close()

    assert ledger.has_calls
    sealed = await ledger.append(made_from(observation()), [call(correlation_id="found")])
    await ledger.close()

    assert [one["correlation_id"] for one in json.loads(sealed.record)["calls"]] == ["lost", "found"]
    assert not ledger.has_calls


async def test_without_a_folder_records_are_kept_in_memory() -> None:
    ledger = Ledger(None, maker())
    await ledger.open()
    made = made_from(observation())
    sealed = await ledger.append(made, [])

    assert not ledger.is_persistent
    assert await ledger.find(made.decision_id) == sealed
    await ledger.close()
