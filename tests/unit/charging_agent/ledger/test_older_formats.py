"""A ledger that was written before format 4: it verifies, replays, is read, and goes on in the newest format.

`data/formats_1_to_3.jsonl` was written by the code that came before format 4, with records of all three forms.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, insert
from tests.unit.charging_agent.ledger.conftest import NOON, made_from, maker, observation

from charging_agent.decision.explanations import explain_record
from charging_agent.ledger.keys import read_trusted_keys
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.records import FORMAT, SignedRecord
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.store import DATABASE_FILE, RECORDS, create_alembic_config
from charging_agent.ledger.verification import verify

pytestmark = pytest.mark.anyio
DATA = Path(__file__).parent / "data"
FOUND = list(read_records(DATA / "formats_1_to_3.jsonl"))
PUBLIC_KEY = DATA / "formats_1_to_3.pub.pem"


def old_database(folder: Path) -> None:
    """A database as the code before format 4 left it."""
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder / DATABASE_FILE}")
    config = create_alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for sequence, one in enumerate(FOUND, 1):
            name = json.loads(one.record)["decision_id"]
            row = {"sequence": sequence, "decision_id": name, "record": one.record}
            connection.execute(insert(RECORDS), row | {"sha256": one.sha256, "signature": one.signature})
    engine.dispose()


def test_it_verifies_and_every_record_replays() -> None:
    verified = verify(FOUND, read_trusted_keys([PUBLIC_KEY]))

    assert (verified.broken, len(verified.records)) == (None, len(FOUND))
    assert {record["format"] for record in verified.records} == {1, 2, 3}
    assert [replay_record(one.record) for one in FOUND] == [None] * len(FOUND)


def test_every_record_is_read_and_explained() -> None:
    entries = [SignedRecord(one.record, one.sha256, one.signature).entry for one in FOUND]

    assert all(entry.record.proposal is None for entry in entries)
    assert {explain_record(entry).policy.split(" decided")[0] for entry in entries} >= {
        "Rule fail_safe of policy rules version 1",
        "Rule grid_overload of policy rules version 1",
        "Rule solar_and_battery_high of policy rules version 1",
    }


async def test_its_database_goes_on_in_the_newest_format_and_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    old_database(folder)
    ledger = Ledger(folder, maker())
    await ledger.open()
    assert ledger.key is not None
    made = made_from(observation(NOON))

    await ledger.append(made, [])

    listed = await ledger.summaries(100)
    own = sorted(folder.glob("signing-key*.pub.pem"))
    await ledger.close()
    found = list(read_records(folder / DATABASE_FILE))
    verified = verify(found, read_trusted_keys([PUBLIC_KEY, *own]))
    assert (verified.broken, len(listed)) == (None, len(FOUND) + 1)
    assert [record["format"] for record in verified.records][-2:] == [3, FORMAT]
    assert [replay_record(one.record) for one in found] == [None] * (len(FOUND) + 1)
