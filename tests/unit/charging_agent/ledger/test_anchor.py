"""The head is told elsewhere, in the background and at the end, and no decision waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.unit.charging_agent.conftest import NOON, AgentApplication

from charging_agent.ledger.anchor import AnchorPublisher, FileAnchor, UrlAnchor, create_anchor
from charging_agent.ledger.keys import PUBLIC_FILES, generate_key, read_trusted_keys
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.record_signing import ChainHead
from charging_agent.ledger.store import DATABASE_FILE
from charging_agent.ledger.verification import read_heads, verify
from charging_agent.settings import AgentSettings
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError

pytestmark = pytest.mark.anyio

KEY = generate_key()
TRUSTED = {KEY.key_id: KEY.public}


async def test_a_stopped_agents_ledger_agrees_with_its_anchor(tmp_path: Path) -> None:
    state, anchor = tmp_path / "state", tmp_path / "heads.jsonl"
    served = AgentApplication(state_dir=state, ledger_anchor=str(anchor), period_s=3600)
    async with served.client() as client:
        await client.get("/optimize-charging")
        served.clock.advance(11)
        await client.get("/optimize-charging")

    trusted = read_trusted_keys(state.glob(PUBLIC_FILES))
    heads = read_heads(anchor.read_bytes(), trusted)
    verified = verify(read_records(state / DATABASE_FILE), trusted, heads)
    assert verified.broken is None
    assert heads[-1].sequence == len(verified.records) >= 2


async def test_heads_are_posted_to_an_address() -> None:
    posted: list[bytes] = []

    async def take(request: httpx.Request) -> httpx.Response:
        posted.append(request.content)
        return httpx.Response(201)

    async with httpx.AsyncClient(transport=httpx.MockTransport(take)) as http:
        anchoring = AnchorPublisher(UrlAnchor(http, "https://anchor.test/heads"), SteppedClock(NOON))
        anchoring.update_head(ChainHead(3, "ab" * 32), KEY)
        await anchoring.stop()
        await anchoring.stop()

    [head] = read_heads(b"".join(posted), TRUSTED)
    assert (head.sequence, head.at) == (3, "2026-06-21T12:00:20Z")


async def test_a_failing_anchor_is_counted_and_tried_again_and_its_age_grows(tmp_path: Path) -> None:
    clock, failures = SteppedClock(NOON), list[int]()
    folder = tmp_path / "later"
    anchoring = AnchorPublisher(FileAnchor(folder / "heads.jsonl"), clock, lambda: failures.append(1), pause_s=0.001)
    living = asyncio.create_task(anchoring.run())
    anchoring.update_head(ChainHead(1, "ab" * 32), KEY)
    clock.advance(30)

    async with asyncio.timeout(5):
        while len(failures) < 2:
            await asyncio.sleep(0.001)
        assert anchoring.age_s == 30
        folder.mkdir()
        while anchoring.age_s:
            await asyncio.sleep(0.001)

    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    assert read_heads((folder / "heads.jsonl").read_bytes(), TRUSTED)[-1].sequence == 1


async def test_an_anchor_beside_the_ledger_is_refused(tmp_path: Path) -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(ConfigurationError, match="outside AGENT_STATE_DIR"):
            create_anchor(str(tmp_path / "state" / "heads"), tmp_path / "state", http)
        with pytest.raises(ConfigurationError, match="folder is not there"):
            create_anchor(str(tmp_path / "none" / "heads"), tmp_path / "state", http)


def test_an_address_without_tls_is_refused() -> None:
    with pytest.raises(ValueError, match="https://"):
        AgentSettings(ledger_anchor="http://anchor.example/heads")
