"""How many calls a second pass through the local gateway, beside a proxy that only passes through.

Both stand before the same backend in the same run, in rounds that alternate, each as a process of its own. The
gateway checks everything it ever checks: token, subscription, scope, deny policies, quotas (large ones), assertion,
metrics log. Run it: `python tests/bench/gateway_throughput.py`.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from local_stack.environment import find_free_ports
from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import Api, ApiProject, Deployment

CONNECTIONS = 32
ROUNDS = 3
ROUND_S = 2.0
PASSWORD = "bench-password"
PLAN = {"type": "REQUESTCOUNTLIMIT", "requestCount": {"timeUnit": "min", "unitTime": 1, "requestCount": 2_000_000_000}}
DEPLOYMENT = """
[server]
hostname = "localhost"
[super_admin]
username = "admin"
password = "$env{WSO2_ADMIN_PASSWORD}"
[apim.jwt]
enable = true
encoding = "base64url"
[apim.analytics]
enable = true
type = "elk"
"""
BACKEND = """
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"80")]
BODY = b'{"site_id":"bench","timestamp":"2026-06-21T12:00:00Z","source":"bench","kw":1.0}'
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
"""
BARE_PROXY = """
import contextlib, os
import aiohttp
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
TARGET = os.environ["BENCH_BACKEND"]
@contextlib.asynccontextmanager
async def lifespan(app):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:
        app.state.session = session
        yield
async def passed(request):
    headers = {k: v for k, v in request.headers.items() if k not in ("host", "connection")}
    async with app.state.session.request(request.method, TARGET + "/status", headers=headers) as answer:
        body = await answer.read()
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
        return Response(body, answer.status, kept)
app = Starlette(routes=[Route("/{path:path}", passed)], lifespan=lifespan)
"""


@dataclass(frozen=True)
class Target:
    """Where a round is fired at."""

    host: str
    port: int
    path: str
    headers: dict[str, str]
    ca_file: Path | None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.host}:{self.port}{self.path}"


def measure(rounds: int = ROUNDS, round_s: float = ROUND_S) -> dict[str, dict[str, float]]:
    """Calls a second through the gateway and through the bare proxy, plain and over TLS.

    Args:
        rounds: how often each is fired at, alternating; the median counts.
        round_s: length of a round [s].

    Returns:
        For `plain` and `tls` each `gateway_per_s`, `bare_per_s` [1/s] and `ratio` of the two.
    """
    with ExitStack() as running, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backend_port = running.enter_context(_uvicorn(folder, "backend", BACKEND))
        backend_url = f"http://127.0.0.1:{backend_port}"
        ports = running.enter_context(_gateway(folder))
        token = _provision(folder, ports, backend_url)
        certificates = folder / "state/certificates"
        environment = {"BENCH_BACKEND": backend_url}
        plain = running.enter_context(_uvicorn(folder, "bare", BARE_PROXY, environment))
        tls = running.enter_context(_uvicorn(folder, "bare_tls", BARE_PROXY, environment, certificates))
        headers, path = {"Authorization": f"Bearer {token}"}, "/bench/1.0.0/status"
        ca = certificates / "ca.pem"
        return {
            "plain": _compare(
                Target("127.0.0.1", ports["http_port"], path, headers, None),
                Target("127.0.0.1", plain, path, headers, None),
                rounds,
                round_s,
            ),
            "tls": _compare(
                Target("127.0.0.1", ports["https_port"], path, headers, ca),
                Target("127.0.0.1", tls, path, headers, ca),
                rounds,
                round_s,
            ),
        }


def _compare(gateway: Target, bare: Target, rounds: int, round_s: float) -> dict[str, float]:
    rates: dict[str, list[float]] = {"gateway": [], "bare": []}
    for target in (gateway, bare):
        fire(target, 0.5)  # caches, connections, the adaptive interpreter
    for _ in range(rounds):
        rates["gateway"].append(fire(gateway, round_s))
        rates["bare"].append(fire(bare, round_s))
    gateway_per_s, bare_per_s = statistics.median(rates["gateway"]), statistics.median(rates["bare"])
    return {
        "gateway_per_s": round(gateway_per_s),
        "bare_per_s": round(bare_per_s),
        "ratio": round(gateway_per_s / bare_per_s, 3),
    }


def fire(target: Target, duration_s: float) -> float:
    """Answered calls a second, each of them with status 200.

    Uses wrk where it is installed, because it takes less of the processor from those that are measured.

    Raises:
        RuntimeError: an answer was not 200.
    """
    if shutil.which("wrk"):
        return _fire_with_wrk(target, duration_s)
    return asyncio.run(_fire(target, duration_s))


def _fire_with_wrk(target: Target, duration_s: float) -> float:
    headers = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(duration_s))}s", *headers, target.url]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in report:
        raise RuntimeError(f"{target.path} was refused: {report}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if found is None:
        raise RuntimeError(f"wrk said no rate: {report}")
    return float(found.group(1))


async def _fire(target: Target, duration_s: float) -> float:
    lines = [f"GET {target.path} HTTP/1.1", f"Host: {target.host}", *(f"{k}: {v}" for k, v in target.headers.items())]
    message = ("\r\n".join(lines) + "\r\n\r\n").encode()
    ends_s = time.perf_counter() + duration_s
    started_s = time.perf_counter()
    counts = await asyncio.gather(*(_keep_calling(target, message, ends_s) for _ in range(CONNECTIONS)))
    return sum(counts) / (time.perf_counter() - started_s)


async def _keep_calling(target: Target, message: bytes, ends_s: float) -> int:
    tls = ssl.create_default_context(cafile=target.ca_file) if target.ca_file else None
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=tls)
    count = 0
    while time.perf_counter() < ends_s:
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{target.path} was refused: {head.decode()}")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(found.group(1)) if found else 0)
        count += 1
    writer.close()
    return count


@contextmanager
def _process(command: list[str], folder: Path, environment: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    whole = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), **environment}
    process = subprocess.Popen(command, cwd=folder, env=whole, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def _uvicorn(
    folder: Path, name: str, source: str, environment: dict[str, str] | None = None, certificates: Path | None = None
) -> Generator[int]:
    (folder / f"{name}.py").write_text(source)
    port = next(find_free_ports())
    command = [sys.executable, "-m", "uvicorn", f"{name}:app", "--port", str(port), "--no-access-log"]
    command += ["--log-level", "warning"]
    if certificates is not None:
        command += ["--ssl-certfile", str(certificates / "server.pem")]
        command += ["--ssl-keyfile", str(certificates / "server-key.pem")]
    with _process(command, folder, environment or {}):
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port


@contextmanager
def _gateway(folder: Path) -> Generator[dict[str, int]]:
    (folder / "deployment.toml").write_text(DEPLOYMENT)
    environment = {
        "LOG_LEVEL": "WARNING",
        "WSO2_ADMIN_PASSWORD": PASSWORD,
        "LOCAL_GATEWAY_STATE_DIR": str(folder / "state"),
        "LOCAL_GATEWAY_DEPLOYMENT_FILE": str(folder / "deployment.toml"),
        **{f"LOCAL_GATEWAY_{name}_PORT": "0" for name in ("HTTPS", "HTTP", "MANAGEMENT")},
    }
    with _process([sys.executable, "-m", "local_gateway"], folder, environment) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


def _provision(folder: Path, ports: dict[str, int], backend_url: str) -> str:
    tls = ssl.create_default_context(cafile=folder / "state/certificates/ca.pem")
    base = f"https://localhost:{ports['management_port']}"
    with httpx.Client(base_url=f"{base}/api/am", verify=tls, auth=("admin", PASSWORD)) as rest:
        plan = {"policyName": "Bench", "defaultLimit": PLAN, "stopOnQuotaReach": True}
        _ok(rest.post("/admin/v4/throttling/policies/subscription", json=plan))
        _ok(rest.post("/admin/v4/throttling/policies/advanced", json={"policyName": "BenchAll", "defaultLimit": PLAN}))
        archive = write_api_archive(_project(backend_url))
        query = {"overwrite": "true", "rotateRevision": "true"}
        accept = {"Accept": "application/json"}
        api = _ok(rest.post("/publisher/v4/apis/import", params=query, files={"file": archive}, headers=accept))
        application = _ok(
            rest.post("/devportal/v3/applications", json={"name": "Bench", "throttlingPolicy": "Unlimited"})
        )
        application_id = application["applicationId"]
        wanted = {"applicationId": application_id, "apiId": api["id"], "throttlingPolicy": "Bench"}
        _ok(rest.post("/devportal/v3/subscriptions", json=wanted))
        asked = {"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"], "validityTime": "3600"}
        keys = _ok(rest.post(f"/devportal/v3/applications/{application_id}/generate-keys", json=asked))
        client = keys["consumerKey"], keys["consumerSecret"]
        form = {"grant_type": "client_credentials", "scope": "bench:read"}
        token = _ok(rest.post(f"{base}/oauth2/token", auth=client, data=form))
        # A deny policy for somebody else: so that the look-up is made, too.
        other = {"conditionType": "USER", "conditionValue": "nobody"}
        _ok(rest.post("/admin/v4/throttling/deny-policies", json=other))
        return token["access_token"]


def _project(backend_url: str) -> ApiProject:
    operation = {"target": "/status", "verb": "GET", "scopes": ["bench:read"]}
    data = {
        "name": "Bench",
        "context": "/bench",
        "version": "1.0.0",
        "lifeCycleStatus": "PUBLISHED",
        "policies": ["Bench"],
        "apiThrottlingPolicy": "BenchAll",
        "securityScheme": ["oauth2"],
        "endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": backend_url}},
        "scopes": [{"scope": {"name": "bench:read", "bindings": ["admin"]}}],
        "operations": [operation],
    }
    described = {"get": {"operationId": "getStatus", "responses": {"200": {"description": "status"}}}}
    info = {"title": "Bench", "version": "1.0.0"}
    definition: dict[str, object] = {"openapi": "3.0.3", "info": info, "paths": {"/status": described}}
    deployments = (Deployment.model_validate({"deploymentEnvironment": "Default"}),)
    return ApiProject(Api.model_validate_json(json.dumps(data)), deployments, definition)


def _ok(answer: httpx.Response) -> dict[str, str]:
    if answer.status_code not in (200, 201):
        raise RuntimeError(f"{answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer.json()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
