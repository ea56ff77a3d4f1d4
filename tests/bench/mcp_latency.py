"""How long the agent takes for a decision over MCP, beside the same decision over REST.

Two agents that cache nothing, before the same local gateway and backend in the same run, in turns; the list of tools
is read before the first measured decision, as in the agent's life. Run it: `python tests/bench/mcp_latency.py`.
"""

import asyncio
import json
import tempfile
from functools import partial
from pathlib import Path

import httpx
from agent_latency import Bench, decide, medians, running

ROUNDS = 200


def measure() -> dict[str, float]:
    """Medians [ms] and their ratio: `mcp_ms`, `rest_ms` and `ratio`."""
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as bench:
        return asyncio.run(_measure(bench))


async def _measure(bench: Bench) -> dict[str, float]:
    async with httpx.AsyncClient(trust_env=False) as agent:
        mcp_ms, rest_ms = await medians(
            ROUNDS,
            partial(decide, agent, bench.mcp_url, "fresh"),
            partial(decide, agent, bench.uncached_url, "fresh"),
        )
    return {"mcp_ms": round(mcp_ms, 2), "rest_ms": round(rest_ms, 2), "ratio": round(mcp_ms / rest_ms, 3)}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
