"""Readers of the ledger against the agent's own records, tried on an agent of this checkout in one process.

No agent of the stack is touched. Its gateway answers everything, and its readers are slow, as on a slow disk: only
where they wait in a queue of their own, decisions are recorded in time.
"""

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from pydantic import SecretStr
from tests.attacks.ground import Ground
from tests.attacks.impostor import everything
from tests.attacks.rows import Group, Row, Seen
from tests.attacks.told import table

from charging_agent.app import create_app
from charging_agent.ledger.readers import Records
from charging_agent.settings import AgentSettings, GatewaySettings
from ev_service.clock import SystemClock

_READERS, _DECISIONS = 8, 4
_SLOW_READ_S = 0.3
"""Eight of them in the writer's queue take longer than a record is waited for."""
_URL = "https://gateway.test"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.AGENT,
        (
            "flood-of-readers",
            "eight readers of /decisions?limit=100 without end, while decisions are asked for",
            "every decision recorded, every reader answered",
            _flood_of_readers,
        ),
    )


def _flood_of_readers(_: Ground) -> Seen:
    # What the agent says of itself is not what is looked at, and its log is not this run's.
    root, disabled = logging.getLogger(), logging.root.manager.disable
    handlers, level = root.handlers[:], root.level
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="ev-prove-agent-") as folder, patch.object(Records, "summaries", _slow):
            return asyncio.run(_decide_beside_readers(Path(folder)))
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)


_summaries = Records.summaries


def _slow(records: Records, limit: int, before: int | None) -> Any:
    time.sleep(_SLOW_READ_S)
    return _summaries(records, limit, before)


async def _decide_beside_readers(folder: Path) -> Seen:
    async with _standing(folder) as agent:
        codes: set[int] = set()

        async def read() -> None:
            while True:
                codes.add((await agent.get("/decisions", params={"limit": 100})).status_code)

        await agent.get("/optimize-charging")
        readers = [asyncio.create_task(read()) for _ in range(_READERS)]
        await asyncio.sleep(_SLOW_READ_S)
        decided = [(await agent.get("/optimize-charging")).json() for _ in range(_DECISIONS)]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    lost = sum(one["charging_power_kw"] == 0 for one in decided)
    recorded = f"{lost} of {len(decided)} decisions not recorded" if lost else "every decision recorded"
    return Seen(f"{recorded}, {'every reader answered' if codes <= {200, 503} else f'readers: {codes}'}")


@contextlib.asynccontextmanager
async def _standing(folder: Path) -> AsyncGenerator[httpx.AsyncClient]:
    # Each decision has readings of its own, and so a record of its own.
    settings = _as_shipped(state_dir=folder, chargers=False, max_age_s=0.0, period_s=3600.0)
    gateway = GatewaySettings(
        client_id=SecretStr("attacked"),
        client_secret=SecretStr("not-a-secret"),
        gateway_url=_URL,
        token_url=f"{_URL}/oauth2/token",
    )
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=everything()))
    app = create_app(settings, gateway, SystemClock(), transport)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent.test", timeout=30) as agent,
    ):
        yield agent


def _as_shipped(**changes: Any) -> AgentSettings:
    """Settings that no variable of this process changes."""
    shipped: dict[str, Any] = {name: field.default for name, field in AgentSettings.model_fields.items()}
    return AgentSettings(**(shipped | changes))
