"""How long the agent takes for a decision, beside the bare calls that it cannot do without.

With nothing cached: `/optimize-charging` over the slowest of three bare httpx calls made at the same time through the
same gateway. With everything cached: over an empty route of the same application. Gateway, agents and a backend that
takes 20 ms are processes of their own; the plan has no limit that counts.
Run it: `python tests/bench/agent_latency.py`.
"""

import asyncio
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx

from charging_agent.readings.apis import SOURCES
from local_stack.environment import HOST, Ports, free_ports, make_passwords, select_system_variables
from local_stack.processes import Processes
from local_stack.stack import ARTIFACTS, ROOT, StackPlan, start_gateway

ROUNDS_UNCACHED, ROUNDS_CACHED, WARM_UP = 150, 600, 20
_READY_S = 30.0
_NO_LIMIT = "1000000000"
_BACKEND = """
import asyncio, json, os
from datetime import UTC, datetime
VALUES = {
    "/solar-status": {"generation_kw": 41.0, "capacity_kwp": 50.0},
    "/battery-status": {"soc_percent": 83.0, "capacity_kwh": 100.0},
    "/grid-load": {"load_percent": 61.0, "load_kw": 61.0, "limit_kw": 100.0},
}
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await asyncio.sleep(0.02)
    said = {"site_id": "bench", "timestamp": datetime.now(UTC).isoformat(), "source": "bench"}
    body = json.dumps(said | VALUES.get(scope["path"], {})).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
_AGENT = """
from charging_agent.app import create_app
from starlette.responses import Response
app = create_app()
@app.get("/empty")
async def empty() -> Response:
    return Response(b"{}", media_type="application/json")
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything listens, and what a bare call needs."""

    gateway_url: str
    token_url: str
    ca_file: Path
    client_id: str
    client_secret: str
    uncached_url: str
    cached_url: str
    mcp_url: str


def measure() -> dict[str, float]:
    """Medians [ms] and their ratios, of rounds that alternate within one run.

    Returns:
        `uncached_ms`, `bare_ms` and `uncached_ratio`; `cached_ms`, `empty_ms` and `cached_ratio`.
    """
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as bench:
        return asyncio.run(_measure(bench))


async def _measure(bench: Bench) -> dict[str, float]:
    trusted = ssl.create_default_context(cafile=str(bench.ca_file))
    async with (
        httpx.AsyncClient(base_url=bench.gateway_url, verify=trusted, trust_env=False) as gateway,
        httpx.AsyncClient(trust_env=False) as agent,
    ):
        gateway.headers["authorization"] = f"Bearer {await _token(gateway, bench)}"
        uncached_ms, bare_ms = await medians(
            ROUNDS_UNCACHED,
            partial(decide, agent, bench.uncached_url, "fresh"),
            partial(_bare, gateway),
        )
        cached_ms, empty_ms = await medians(
            ROUNDS_CACHED,
            partial(decide, agent, bench.cached_url, "cached"),
            partial(_get, agent, f"{bench.cached_url}/empty"),
        )
    return {
        "uncached_ms": round(uncached_ms, 2),
        "bare_ms": round(bare_ms, 2),
        "uncached_ratio": round(uncached_ms / bare_ms, 3),
        "cached_ms": round(cached_ms, 3),
        "empty_ms": round(empty_ms, 3),
        "cached_ratio": round(cached_ms / empty_ms, 3),
    }


async def medians(
    rounds: int, one: Callable[[], Awaitable[object]], other: Callable[[], Awaitable[object]]
) -> tuple[float, float]:
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + rounds):
        for call, times in zip((one, other), taken, strict=True):
            started = time.perf_counter()
            await call()
            if number >= WARM_UP:
                times.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken[0]), statistics.median(taken[1])


async def _get(client: httpx.AsyncClient, url: str) -> httpx.Response:
    answer = await client.get(url)
    answer.raise_for_status()
    return answer


async def _bare(gateway: httpx.AsyncClient) -> None:
    await asyncio.gather(*(_get(gateway, api.path) for api in SOURCES))


async def decide(agent: httpx.AsyncClient, base_url: str, status: str) -> None:
    answer = await _get(agent, f"{base_url}/optimize-charging")
    # With a maximum age of 0 a reading fetched for this decision is already past it, and no less new for that.
    is_right = answer.json()["action"] == "fast" and (status == "fresh" or f'"{status}"' in answer.text)
    if not is_right:
        raise RuntimeError(f"not the decision that this bench is about: {answer.text}")


async def _token(client: httpx.AsyncClient, bench: Bench) -> str:
    # A scope of its own, so that this token does not revoke those of the agents.
    scopes = " ".join([api.scope for api in SOURCES] + ["device_bench"])
    form = {"grant_type": "client_credentials", "scope": scopes}
    answer = await client.post(bench.token_url, data=form, auth=(bench.client_id, bench.client_secret))
    answer.raise_for_status()
    return answer.json()["access_token"]


@contextmanager
def running(folder: Path) -> Generator[Bench]:
    """Start backend, local gateway and agents: one that caches nothing, over REST and over MCP, one that caches all."""
    plan = StackPlan(_all_on_one_backend(free_ports()), make_passwords(), folder / "state")
    environment = select_system_variables(os.environ) | {"PYTHONPATH": str(folder)}
    (folder / "bench_backend.py").write_text(_BACKEND, encoding="utf-8")
    (folder / "bench_agent.py").write_text(_AGENT, encoding="utf-8")
    with Processes(plan.logs, environment) as processes:
        _run([sys.executable, "-m", "local_gateway", "--init", str(plan.certificates)], environment)
        _start(processes, "backend", "bench_backend:app", plan.ports.solar, {}, "/")
        start_gateway(plan, processes)
        artifacts = _artifacts_without_limit(folder / "wso2")
        bootstrap = [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), "--artifacts", str(artifacts)]
        clients = plan.client_environment()
        _run(
            [*bootstrap, "--credentials-dir", str(plan.credentials)],
            environment | clients | plan.operator_environment(),
        )
        files = {f"WSO2_{name.upper()}_FILE": str(plan.credentials / name) for name in ("client_id", "client_secret")}
        agent = clients | files | {"AGENT_PERIOD_S": "3600"}
        uncached, cached = {"AGENT_MAX_AGE_S": "0"}, {"AGENT_MAX_AGE_S": "600", "AGENT_STALE_LIMIT_S": "3600"}
        spare = free_ports()
        _start(processes, "uncached", "bench_agent:app", spare.agent, agent | uncached | {"AGENT_DEVICE": "one"})
        _start(processes, "cached", "bench_agent:app", spare.grid, agent | cached | {"AGENT_DEVICE": "two"})
        over_mcp = uncached | {"AGENT_PROTOCOL": "mcp", "AGENT_DEVICE": "three"}
        lock = {"AGENT_TOOLS_LOCK_FILE": str(ARTIFACTS / "mcp-servers" / "tools.lock")}
        _start(processes, "mcp", "bench_agent:app", spare.battery, agent | over_mcp | lock)
        yield Bench(
            gateway_url=plan.gateway_url,
            token_url=clients["WSO2_TOKEN_URL"],
            ca_file=plan.ca_file,
            client_id=(plan.credentials / "client_id").read_text(encoding="utf-8").strip(),
            client_secret=(plan.credentials / "client_secret").read_text(encoding="utf-8").strip(),
            uncached_url=f"http://{HOST}:{spare.agent}",
            cached_url=f"http://{HOST}:{spare.grid}",
            mcp_url=f"http://{HOST}:{spare.battery}",
        )


def _all_on_one_backend(ports: Ports) -> Ports:
    return replace(ports, battery=ports.solar, grid=ports.solar)


def _artifacts_without_limit(folder: Path) -> Path:
    for part in ("apis", "mcp-servers", "policies"):
        shutil.copytree(ARTIFACTS / part, folder / part)
    for policy in (folder / "policies").glob("*.yaml"):
        text = policy.read_text(encoding="utf-8")
        for count in ("requestCount: 10}", "requestCount: 60}"):
            text = text.replace(count, f"requestCount: {_NO_LIMIT}}}")
        policy.write_text(text, encoding="utf-8")
    return folder


def _start(
    processes: Processes, name: str, app: str, port: int, environment: dict[str, str], path: str = "/health"
) -> None:
    processes.start(name, [sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port)], environment)
    processes.wait_until_ready(name, partial(_find_error, f"http://{HOST}:{port}{path}"), _READY_S)


def _find_error(url: str) -> str | None:
    try:
        status = httpx.get(url, timeout=2, trust_env=False).status_code
    except httpx.HTTPError as error:
        return type(error).__name__
    return None if status == 200 else str(status)


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, capture_output=True)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
