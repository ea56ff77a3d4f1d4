"""The local gateway as a process of its own, driven over the wire as bootstrap, agent and operator drive WSO2."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from ev_service.assertion import GatewayAssertion
from ev_service.clock import SteppedClock, write_clock_file
from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import Api, ApiProject, Deployment

PASSWORD = "Admin-password-1"
OWNER_PASSWORD = "Owner-password-1"
ADMIN = ("admin", PASSWORD)
OWNER = ("owner", OWNER_PASSWORD)
NOON = datetime(2026, 6, 21, 12, 0, 30, tzinfo=UTC)
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
[system.parameter]
"restrict.unassigned.scopes" = true
"""
POLICY = """
type: throttling policy
subtype: {kind} policy
version: v4.6.0
data:
  policyName: {name}
  displayName: {name}
  description: for tests
  defaultLimit:
    type: REQUESTCOUNTLIMIT
    requestCount: {{timeUnit: min, unitTime: 1, requestCount: {count}}}
  {more}
"""
STEADY = {"actionDuration": 10_000, "suspendDuration": 0}
REST_SCOPES = (
    "apim:api_view apim:api_publish apim:api_manage apim:api_import_export apim:admin apim:tier_view apim:tier_manage "
    "apim:bl_manage apim:subscribe apim:app_manage apim:sub_manage apim:subscription_block"
)


class Backend(BaseHTTPRequestHandler):
    """A service behind the gateway; says what reached it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/hang":
            time.sleep(1.0)
        if self.path == "/cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        size = 5_000_000 if self.path == "/big" else 0
        self._answer({"path": self.path, "headers": dict(self.headers.items()), "padding": "x" * size})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"path": self.path, "body": body.decode()})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Backend", "yes")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def definition(targets: list[tuple[str, str]]) -> dict[str, object]:
    paths: dict[str, dict[str, object]] = {}
    for target, verb in targets:
        inputs = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}] if "{" in target else []
        operation = {
            "operationId": f"{verb}{target}",
            "parameters": inputs,
            "responses": {"200": {"description": "ok"}},
        }
        paths.setdefault(target, {})[verb.lower()] = operation
    return {"openapi": "3.0.3", "info": {"title": "Test", "version": "1.0.0"}, "paths": paths}


def project(
    name: str,
    url: str,
    *,
    plans: tuple[str, ...] = ("Plenty",),
    scope: str | None = None,
    policy: str | None = None,
    config: Mapping[str, object] = STEADY,
) -> ApiProject:
    targets = [
        ("/status", "GET"),
        ("/hang", "GET"),
        ("/cut", "GET"),
        ("/big", "GET"),
        ("/items/{id}", "GET"),
        ("/orders", "POST"),
    ]
    data = {
        "name": name,
        "context": f"/{name.lower()}",
        "version": "1.0.0",
        "lifeCycleStatus": "PUBLISHED",
        "policies": list(plans),
        "securityScheme": ["oauth2"],
        "endpointConfig": {
            "endpoint_type": "http",
            "production_endpoints": {"url": url, "config": config},
        },
        "scopes": [{"scope": {"name": scope, "bindings": ["Internal/reader"]}}] if scope else [],
        "operations": [{"target": t, "verb": v, "scopes": [scope] if scope else []} for t, v in targets],
    } | ({"apiThrottlingPolicy": policy} if policy else {})
    api = Api.model_validate_json(json.dumps(data))
    return ApiProject(api, (Deployment.model_validate({"deploymentEnvironment": "Default"}),), definition(targets))


class World:
    """One gateway process, its backend, its clock, and clients that speak to it."""

    def __init__(self, folder: Path, backend_url: str) -> None:
        self.folder = folder
        self.backend_url = backend_url
        self.clock_file = folder / "clock.json"
        self.now = NOON
        self.set_clock(NOON)
        (folder / "deployment.toml").write_text(DEPLOYMENT)
        self.keys: dict[str, tuple[str, str]] = {}
        self.ids: dict[str, str] = {}

    def set_clock(self, moment: datetime) -> None:
        self.now = moment
        write_clock_file(self.clock_file, moment, speed=0.0)

    def next_minute(self) -> None:
        self.set_clock(self.now.replace(second=10) + timedelta(minutes=1))

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "WSO2_ADMIN_PASSWORD": PASSWORD,
            "SIM_CLOCK_FILE": str(self.clock_file),
            "LOCAL_GATEWAY_STATE_DIR": str(self.folder / "state"),
            "LOCAL_GATEWAY_DEPLOYMENT_FILE": str(self.folder / "deployment.toml"),
            **{f"LOCAL_GATEWAY_{name}_PORT": "0" for name in ("HTTPS", "HTTP", "MANAGEMENT")},
        }
        command = [sys.executable, "-m", "local_gateway"]
        with (self.folder / "stderr").open("a") as said:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.folder / "stderr").read_text()
        listening = json.loads(line)
        ca = ssl.create_default_context(cafile=self.folder / "state/certificates/ca.pem")
        self.management = httpx.Client(base_url=f"https://localhost:{listening['management_port']}", verify=ca)
        self.gateway = httpx.Client(base_url=f"https://localhost:{listening['https_port']}", verify=ca)
        self.plain = httpx.Client(base_url=f"http://localhost:{listening['http_port']}")

    def stop(self) -> int:
        for client in (self.management, self.gateway, self.plain):
            client.close()
        self.process.terminate()
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def token(self, application: str, scope: str = "") -> str:
        answer = self.management.post(
            "/oauth2/token", auth=self.keys[application], data={"grant_type": "client_credentials", "scope": scope}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def call(self, path: str, token: str | None = None, **content: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.gateway.get(path, headers=headers | content.pop("headers", {}), **content)

    def rest(
        self, method: str, path: str, *, user: tuple[str, str] = ("admin", PASSWORD), **content: Any
    ) -> httpx.Response:
        return self.management.request(method, f"/api/am{path}", auth=user, **content)

    def soap(self, operation: str, **arguments: str) -> httpx.Response:
        inner = "".join(f"<u:{name.rstrip('_')}>{value}</u:{name.rstrip('_')}>" for name, value in arguments.items())
        return self.management.post(
            "/services/RemoteUserStoreManagerService",
            auth=("admin", PASSWORD),
            headers={"Content-Type": "text/xml", "SOAPAction": f"urn:{operation}"},
            content='<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            f'xmlns:u="http://service.ws.um.carbon.wso2.org"><s:Body><u:{operation}>{inner}</u:{operation}></s:Body></s:Envelope>',
        )

    def import_policy(self, kind: str, name: str, count: int, more: str = "") -> httpx.Response:
        text = POLICY.format(kind=kind, name=name, count=count, more=more)
        return self.rest(
            "POST", "/admin/v4/throttling/policies/import?overwrite=true", files={"file": (f"{name}.yaml", text)}
        )

    def import_api(self, imported: ApiProject, **query: str) -> httpx.Response:
        return self.rest(
            "POST",
            "/publisher/v4/apis/import",
            params={"overwrite": "true", "rotateRevision": "true", "preserveProvider": "false", **query},
            headers={"Accept": "application/json"},
            files={"file": ("api.zip", write_api_archive(imported), "application/zip")},
        )

    def make_application(self, name: str, user: tuple[str, str], subscriptions: dict[str, str]) -> None:
        made = self.rest(
            "POST", "/devportal/v3/applications", user=user, json={"name": name, "throttlingPolicy": "Unlimited"}
        )
        assert made.status_code == 201, made.text
        application_id = self.ids[name] = made.json()["applicationId"]
        for api, plan in subscriptions.items():
            body = {"applicationId": application_id, "apiId": self.ids[api], "throttlingPolicy": plan}
            subscribed = self.rest("POST", "/devportal/v3/subscriptions", user=user, json=body)
            assert subscribed.status_code == 201, subscribed.text
            self.ids[f"{name}/{api}"] = subscribed.json()["subscriptionId"]
        wanted = {"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"], "validityTime": "3600"}
        path = f"/devportal/v3/applications/{application_id}/generate-keys"
        keys = self.rest("POST", path, user=user, json=wanted)
        assert keys.status_code == 200, keys.text
        self.keys[name] = keys.json()["consumerKey"], keys.json()["consumerSecret"]

    def metrics(self) -> str:
        time.sleep(0.2)
        deadline = time.monotonic() + 5
        file = self.folder / "state/apim_metrics.log"
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return file.read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = World(tmp_path_factory.mktemp("gateway"), f"http://127.0.0.1:{server.server_port}")
    made.start()
    try:
        provision(made)
        yield made
    finally:
        made.stop()
        server.shutdown()
        server.server_close()


def provision(world: World) -> None:
    assert world.soap("addRole", roleName="Internal/reader").status_code == 202
    added = world.soap("addUser", userName="owner", credential=OWNER_PASSWORD, roleList="Internal/subscriber")
    assert added.status_code == 202
    world.soap("updateRoleListOfUser", userName="owner", newRoles="Internal/reader")
    plan = "stopOnQuotaReach: true"
    assert world.import_policy("subscription", "Ten", 10, plan).status_code == 201
    assert world.import_policy("subscription", "Plenty", 100_000, plan).status_code == 201
    assert world.import_policy("advanced", "Three", 3).status_code == 201
    for name, policy in (("Echo", None), ("Other", None), ("Small", "Three")):
        scope = f"{name.lower()}:read"
        imported = world.import_api(
            project(name, world.backend_url, plans=("Ten", "Plenty"), scope=scope, policy=policy)
        )
        assert imported.status_code == 200, imported.text
        world.ids[name] = imported.json()["id"]
    world.make_application("Busy", OWNER, {"Echo": "Plenty", "Small": "Plenty"})
    world.make_application("Limited", OWNER, {"Echo": "Ten"})


@pytest.fixture
def busy(world: World) -> str:
    return world.token("Busy", "echo:read small:read")


def assert_fault(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["activityid"]
    return answer.json()


def test_a_call_reaches_the_backend_with_an_assertion_and_without_the_token(world: World, busy: str) -> None:
    answer = world.call("/echo/1.0.0/status?a=1&b=%2F", busy, headers={"X-JWT-Assertion": "forged", "X-Mine": "kept"})

    assert answer.status_code == 200
    assert answer.headers["X-Backend"] == "yes"
    seen = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert answer.json()["path"] == "/status?a=1&b=%2F"
    assert seen["x-mine"] == "kept"
    assert "authorization" not in seen
    assert seen["activityid"] == answer.headers["activityid"]
    certificate = (world.folder / "state/certificates/gateway-signing.pem").read_bytes()
    GatewayAssertion(certificate, SteppedClock(world.now)).verify(seen["x-jwt-assertion"], "/echo/1.0.0")


def test_plain_and_tls_listeners_serve_the_same_apis(world: World, busy: str) -> None:
    answer = world.plain.get("/echo/1.0.0/items/a%20b", headers={"Authorization": f"Bearer {busy}"})

    assert answer.json()["path"] == "/items/a%20b"


def test_a_posted_body_arrives_and_one_too_large_does_not(world: World, busy: str) -> None:
    headers = {"Authorization": f"Bearer {busy}"}

    small = world.gateway.post("/echo/1.0.0/orders", content=b"x" * 1000, headers=headers)
    large = world.gateway.post("/echo/1.0.0/orders", content=b"x" * (2 << 20), headers=headers)

    assert small.json()["body"] == "x" * 1000
    assert_fault(large, 413, "413")


def test_a_large_answer_comes_whole(world: World, busy: str) -> None:
    assert len(world.call("/echo/1.0.0/big", busy).json()["padding"]) == 5_000_000


def test_no_token_is_refused_with_a_challenge(world: World) -> None:
    answer = world.call("/echo/1.0.0/status")

    assert_fault(answer, 401, "900902")
    assert answer.headers["WWW-Authenticate"].endswith('error_description="The provided token is invalid"')


def test_forged_and_unsigned_tokens_are_refused(world: World, busy: str) -> None:
    header, claims, signature = busy.split(".")
    unsigned = b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")

    for forged in (
        f"{header}.{claims}.{signature[::-1]}",
        f"{unsigned}.{claims}.",
        "no-token",
        f"{header}..{signature}",
    ):
        assert_fault(world.call("/echo/1.0.0/status", forged), 401, "900901")


def test_an_assertion_is_no_access_token(world: World, busy: str) -> None:
    seen = world.call("/echo/1.0.0/status", busy).json()["headers"]

    assert_fault(world.call("/echo/1.0.0/status", seen["X-JWT-Assertion"]), 401, "900901")


def test_an_api_without_subscription_is_forbidden(world: World, busy: str) -> None:
    assert_fault(world.call("/other/1.0.0/status", busy), 403, "900908")


def test_a_token_without_the_scope_is_forbidden(world: World) -> None:
    fault = assert_fault(world.call("/echo/1.0.0/status", world.token("Busy", "device_plain")), 403, "900910")

    assert "/status" in fault["description"]


def test_unknown_paths_and_verbs_are_told_apart(world: World, busy: str) -> None:
    assert_fault(world.call("/nothing/1.0.0/status", busy), 404, "404")
    assert world.call("/echo/1.0.0/nothing", busy).json()["message"] == "Runtime Error"
    assert_fault(world.gateway.delete("/echo/1.0.0/status"), 405, "405")


def test_no_spelling_of_a_path_gets_past_the_resources(world: World, busy: str) -> None:
    host, port = world.plain.base_url.host, world.plain.base_url.port
    for rest in ("items/../../../x", "items/..%2f..%2fx", "/status", "./status", "items/a%00"):
        connection = HTTPConnection(host, port)
        connection.request("GET", f"/echo/1.0.0/{rest}", headers={"Authorization": f"Bearer {busy}"})

        assert connection.getresponse().status == 404
        connection.close()


def test_headers_of_one_hop_stay_on_it(world: World, busy: str) -> None:
    own = {"Connection": "keep-alive, X-Mine", "X-Mine": "1", "Keep-Alive": "9", "Proxy-Authorization": "Basic x"}

    seen = world.call("/echo/1.0.0/status", busy, headers=own).json()["headers"]

    assert not {"x-mine", "keep-alive", "proxy-authorization", "te"} & {name.lower() for name in seen}


def test_the_eleventh_call_of_a_minute_waits_for_the_next(world: World) -> None:
    token = world.token("Limited", "echo:read")
    world.next_minute()
    minute_ends = world.now.replace(second=0) + timedelta(minutes=1)

    answers = [world.call("/echo/1.0.0/status", token) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    fault = assert_fault(answers[-1], 429, "900804")
    assert fault["nextAccessTime"] == f"{minute_ends:%Y}-Jun-{minute_ends:%d %H:%M:%S}+0000 UTC"
    assert answers[-1].headers["Retry-After"] == f"Sun, 21 Jun 2026 {minute_ends:%H:%M:%S} GMT"
    world.next_minute()
    assert world.call("/echo/1.0.0/status", token).status_code == 200


def test_the_limit_of_an_api_answers_before_that_of_a_plan(world: World, busy: str) -> None:
    world.next_minute()

    answers = [world.call("/small/1.0.0/status", busy) for _ in range(4)]

    assert_fault(answers[-1], 429, "900800")


def test_a_token_expires_by_the_clock_of_the_run(world: World) -> None:
    token = world.token("Busy", "echo:read device_old")
    world.set_clock(world.now + timedelta(seconds=3601))

    assert_fault(world.call("/echo/1.0.0/status", token), 401, "900901")


def test_asking_again_revokes_the_former_token_of_the_same_scopes_only(world: World) -> None:
    first, own = world.token("Busy", "echo:read"), world.token("Busy", "echo:read device_own")
    second = world.token("Busy", "echo:read")

    assert_fault(world.call("/echo/1.0.0/status", first), 401, "900901")
    assert world.call("/echo/1.0.0/status", own).status_code == 200
    assert world.call("/echo/1.0.0/status", second).status_code == 200


def test_a_revoked_token_is_refused(world: World) -> None:
    token = world.token("Busy", "echo:read device_revoked")
    assert world.call("/echo/1.0.0/status", token).status_code == 200

    assert world.management.post("/oauth2/revoke", auth=world.keys["Busy"], data={"token": token}).status_code == 200

    fault = assert_fault(world.call("/echo/1.0.0/status", token), 401, "900901")
    assert fault["description"].startswith("Invalid JWT token.")


def test_a_blocked_subscription_is_refused_until_it_is_unblocked(world: World, busy: str) -> None:
    query = f"subscriptionId={world.ids['Busy/Echo']}"

    world.rest("POST", f"/publisher/v4/subscriptions/block-subscription?{query}&blockState=BLOCKED")
    blocked = world.call("/echo/1.0.0/status", busy)
    world.rest("POST", f"/publisher/v4/subscriptions/unblock-subscription?{query}")

    assert_fault(blocked, 401, "900907")
    assert world.call("/echo/1.0.0/status", busy).status_code == 200


def test_a_deny_policy_stops_an_application_until_it_is_deleted(world: World, busy: str) -> None:
    condition = {"conditionType": "APPLICATION", "conditionValue": "owner:Busy", "conditionStatus": True}

    made = world.rest("POST", "/admin/v4/throttling/deny-policies", json=condition)
    again = world.rest("POST", "/admin/v4/throttling/deny-policies", json=condition)
    denied = world.call("/echo/1.0.0/status", busy)
    world.rest("DELETE", f"/admin/v4/throttling/deny-policy/{made.json()['conditionId']}")

    assert (made.status_code, again.status_code) == (201, 409)
    assert_fault(denied, 403, "900805")
    assert world.call("/echo/1.0.0/status", busy).status_code == 200


def test_a_blocked_api_answers_503_until_it_is_published_again(world: World, busy: str) -> None:
    query = f"apiId={world.ids['Echo']}"

    world.rest("POST", f"/publisher/v4/apis/change-lifecycle?{query}&action=Block")
    blocked = world.call("/echo/1.0.0/status", busy)
    back = world.rest("POST", f"/publisher/v4/apis/change-lifecycle?{query}&action=Re-Publish")

    assert_fault(blocked, 503, "700700")
    assert back.json()["lifecycleState"]["state"] == "Published"
    assert world.call("/echo/1.0.0/status", busy).status_code == 200


def test_a_backend_that_hangs_or_breaks_off_is_reported_with_its_code(world: World) -> None:
    impatient = project("Impatient", world.backend_url, config=STEADY | {"actionDuration": 200})
    world.ids["Impatient"] = world.import_api(impatient).json()["id"]
    world.make_application("Patient", OWNER, {"Impatient": "Plenty"})
    token = world.token("Patient")

    assert_fault(world.call("/impatient/1.0.0/hang", token), 500, "101504")
    assert_fault(world.call("/impatient/1.0.0/cut", token), 500, "101505")


def test_a_backend_that_is_down_is_reported_and_then_suspended(world: World) -> None:
    # Nothing listens on port 9 (discard).
    gone = project("Gone", "http://127.0.0.1:9", config={"actionDuration": 500})
    world.ids["Gone"] = world.import_api(gone).json()["id"]
    world.make_application("Lonely", OWNER, {"Gone": "Plenty"})
    token = world.token("Lonely")

    assert_fault(world.call("/gone/1.0.0/status", token), 500, "101503")
    suspended = assert_fault(world.call("/gone/1.0.0/status", token), 500, "303001")
    assert "SUSPENDED" in suspended["description"]


def test_an_undeployed_api_is_not_found(world: World) -> None:
    imported = world.import_api(project("Brief", world.backend_url)).json()
    path = f"/publisher/v4/apis/{imported['id']}"
    assert_fault(world.call("/brief/1.0.0/status"), 401, "900902")

    gone = world.rest("POST", f"{path}/undeploy-revision?revisionId={imported['revision']}", json=[{"name": "Default"}])

    assert gone.status_code == 201
    assert_fault(world.call("/brief/1.0.0/status"), 404, "404")


def test_every_finished_call_leaves_a_metrics_line(world: World, busy: str) -> None:
    passed = world.call("/echo/1.0.0/status", busy).headers["activityid"]
    refused = world.call("/other/1.0.0/status", busy).headers["activityid"]
    time.sleep(0.2)
    deadline = time.monotonic() + 5
    while refused not in (text := world.metrics()) and time.monotonic() < deadline:
        time.sleep(0.05)

    lines = {
        entry["correlationId"]: entry
        for entry in (json.loads(line.split("properties :")[1]) for line in text.splitlines())
    }
    assert (lines[passed]["apiName"], lines[passed]["applicationName"]) == ("Echo", "Busy")
    assert (lines[refused]["errorType"], lines[refused]["errorCode"]) == ("AUTH", 900908)


def test_client_registration_and_a_password_token_open_the_rest_apis(world: World) -> None:
    registration = {"clientName": "bootstrap", "owner": "admin", "grantType": "client_credentials password"}
    first = world.management.post("/client-registration/v0.17/register", auth=("admin", PASSWORD), json=registration)
    again = world.management.post("/client-registration/v0.17/register", auth=("admin", PASSWORD), json=registration)
    client = first.json()["clientId"], first.json()["clientSecret"]
    form = {"grant_type": "password", "username": "admin", "password": PASSWORD, "scope": f"{REST_SCOPES} apim:nothing"}
    token = world.management.post("/oauth2/token", auth=client, data=form)
    wrong = world.management.post("/oauth2/token", auth=client, data=form | {"password": "wrong"})

    assert first.json() == again.json()
    assert token.json()["scope"] == REST_SCOPES
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
    listed = world.management.get("/api/am/publisher/v4/apis?query=name:Echo version:1.0.0", headers=bearer)
    assert [api["name"] for api in listed.json()["list"]] == ["Echo"]


def test_a_restart_keeps_state_and_tokens(world: World) -> None:
    token = world.token("Busy", "echo:read device_kept")
    revoked = world.token("Busy", "echo:read device_gone")
    world.management.post("/oauth2/revoke", auth=world.keys["Busy"], data={"token": revoked})

    assert world.stop() == 0
    world.start()

    assert world.call("/echo/1.0.0/status", token).status_code == 200
    assert_fault(world.call("/echo/1.0.0/status", revoked), 401, "900901")
    assert (world.folder / "state/state.json").stat().st_mode & 0o077 == 0


def test_nothing_that_was_logged_holds_a_secret(world: World, busy: str) -> None:
    said = (world.folder / "stderr").read_text() + world.metrics()

    for secret in (PASSWORD, OWNER_PASSWORD, busy, *(secret for _, secret in world.keys.values())):
        assert secret not in said
    assert "Traceback" not in said


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    started = [sys.executable, "-m", "local_gateway", *arguments]
    whole = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(started, env=whole, capture_output=True, text=True, timeout=30, check=False)


def test_init_writes_the_files_and_a_second_time_keeps_them(tmp_path: Path) -> None:
    first = command("--init", str(tmp_path))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    second = command("--init", str(tmp_path))

    assert (first.returncode, second.returncode) == (0, 0)
    assert {"ca.pem", "server.pem", "gateway-signing.pem"} <= before.keys()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path) -> None:
    deployment = tmp_path / "deployment.toml"
    deployment.write_text(DEPLOYMENT)

    refused = command(LOCAL_GATEWAY_DEPLOYMENT_FILE=str(deployment), LOCAL_GATEWAY_STATE_DIR=str(tmp_path))

    assert refused.returncode == 2
    assert "WSO2_ADMIN_PASSWORD" in json.loads(refused.stderr)["reason"]


def test_the_password_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "deployment.toml").write_text(DEPLOYMENT)
    (tmp_path / "password").write_text("change-me\n")

    refused = command(
        LOCAL_GATEWAY_DEPLOYMENT_FILE=str(tmp_path / "deployment.toml"),
        WSO2_ADMIN_PASSWORD_FILE=str(tmp_path / "password"),
    )

    assert refused.returncode == 2
    assert "placeholder" in json.loads(refused.stderr)["reason"]
