"""An agent whose disk fails at its start starts all the same, charges nobody, says why, and recovers by itself."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charging_agent.ledger import keys
from charging_agent.ledger.keys import PUBLIC_FILES, read_trusted_keys
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.store import DATABASE_FILE
from charging_agent.ledger.verification import verify
from ev_service.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


async def unwell_then_well(served: AgentApplication, state: Path, words: str, repair: object) -> None:
    served.settings["state_dir"] = state
    async with served.client() as client:
        without = (await client.get("/optimize-charging")).json()
        unwell = await client.get("/health")
        page = await client.get("/")
        listed = await client.get("/decisions")
        assert callable(repair)
        repair()
        served.clock.advance(11)
        decided = (await client.get("/optimize-charging")).json()
        well = await client.get("/health")

    assert (without["rule"], without["charging_power_kw"]) == ("fail_safe", 0.0)
    assert "could not be recorded" in without["reason"]
    assert (unwell.status_code, list(unwell.json()["failing"])) == (503, ["ledger"])
    assert words in unwell.json()["failing"]["ledger"]
    assert (page.status_code, listed.status_code) == (200, 503)
    assert (decided["action"], well.status_code) == ("fast", 200)
    verified = verify(read_records(state / DATABASE_FILE), read_trusted_keys(state.glob(PUBLIC_FILES)))
    assert verified.broken is None
    # The calls that were made before there was a disk stand in the first record.
    assert len(verified.records[0]["calls"]) >= 3


async def test_a_folder_that_can_not_be_made_at_the_start(served: AgentApplication, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.touch()

    await unwell_then_well(served, place / "state", "AGENT_STATE_DIR", place.unlink)


async def test_a_disk_that_is_full_at_the_start(
    served: AgentApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = keys.__dict__["_write"]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keys, "_write", full)

    await unwell_then_well(
        served, tmp_path / "state", "No space left on device", lambda: monkeypatch.setattr(keys, "_write", write)
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root")
async def test_a_folder_that_is_read_only_at_the_start(served: AgentApplication, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o500)

    await unwell_then_well(served, state, "cannot be written", lambda: state.chmod(0o700))


async def test_a_damaged_ledger_still_keeps_the_agent_from_starting(served: AgentApplication, tmp_path: Path) -> None:
    served.settings["state_dir"] = tmp_path
    (tmp_path / DATABASE_FILE).write_bytes(b"no database" * 100)

    with pytest.raises(ConfigurationError, match="is damaged"):
        async with served.client():
            pass


@pytest.mark.slow
def test_what_the_database_needs_is_loaded_only_where_one_is_opened() -> None:
    code = "import sys, charging_agent.app; sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'alembic')))"

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
