"""What the agent is told and asked, tried on an agent of this checkout in one process; none of the stack is touched.

- Readers of the ledger against the agent's own records. Its gateway answers everything, and its readers are slow, as on
  a slow disk: only where they wait in a queue of their own, decisions are recorded in time.
- Chargers that report more than their cars draw, on a site of its own.
"""

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from pydantic import SecretStr
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import table
from tests.attacks.impostor import everything
from tests.attacks.own_site import LIMIT_KW, liars_draw_later
from tests.attacks.rows import Group, Observation, Row

from charging_agent.app import create_app
from charging_agent.ledger.readers import RecordQueries
from charging_agent.settings import AgentSettings, GatewaySettings
from ev_service.clock import SystemClock

_READERS, _DECISIONS = 8, 4
_SLOW_READ_S = 0.3
"""Eight of them in the writer's queue take longer than a record is waited for."""
_HEADROOM_KW = 0.85 * LIMIT_KW
_URL = "https://gateway.test"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.AGENT,
        (
            "flood-of-readers",
            "decisions beside eight endless readers of /decisions?limit=100",
            "every decision recorded, every reader answered",
            _flood_of_readers,
        ),
        (
            "over-reporting",
            "two of six chargers report 22 kW, drawing nothing, then draw",
            f"the connection carries at most {_HEADROOM_KW:g} kW",
            _over_reporting,
        ),
    )


def _flood_of_readers(_: AttackRun) -> Observation:
    with (
        _in_silence(),
        tempfile.TemporaryDirectory(prefix="ev-prove-agent-") as folder,
        patch.object(RecordQueries, "summaries", _slow),
    ):
        return asyncio.run(_decide_beside_readers(Path(folder)))


def _over_reporting(_: AttackRun) -> Observation:
    with _in_silence():
        load_kw = liars_draw_later(liars=2, honest=4, rounds=12)
    # Steps of the limits are rounded down.
    most_kw = _HEADROOM_KW if load_kw <= _HEADROOM_KW else load_kw
    return Observation(f"the connection carries at most {most_kw:g} kW", f"{load_kw:.1f} kW")


@contextlib.contextmanager
def _in_silence() -> Generator[None]:
    """What the agent says of itself is not what is looked at, and its log is not this run's."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    handlers, level = root.handlers[:], root.level
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)


_summaries = RecordQueries.summaries


def _slow(records: RecordQueries, limit: int, before: int | None) -> Any:
    time.sleep(_SLOW_READ_S)
    return _summaries(records, limit, before)


async def _decide_beside_readers(folder: Path) -> Observation:
    async with _standing(folder) as agent:
        codes: set[int] = set()

        async def read() -> None:
            while True:
                codes.add((await agent.get("/decisions", params={"limit": 100})).status_code)
                # An answer that costs nothing must not keep the others from their turn.
                await asyncio.sleep(0)

        await agent.get("/optimize-charging")
        readers = [asyncio.create_task(read()) for _ in range(_READERS)]
        await asyncio.sleep(_SLOW_READ_S)
        decided = [(await agent.get("/optimize-charging")).json() for _ in range(_DECISIONS)]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    lost = sum(one["charging_power_kw"] == 0 for one in decided)
    recorded = f"{lost} of {len(decided)} decisions not recorded" if lost else "every decision recorded"
    return Observation(f"{recorded}, {'every reader answered' if codes <= {200, 503} else f'readers: {codes}'}")


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
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=30) as agent,
    ):
        yield agent


def _as_shipped(**changes: Any) -> AgentSettings:
    """Settings that no variable of this process changes."""
    shipped: dict[str, Any] = {name: field.default for name, field in AgentSettings.model_fields.items()}
    return AgentSettings(**(shipped | changes))
