"""The bootstrap as a command against the local gateway as a process, over TLS."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from wso2_provisioning.applications import APPLICATIONS, EVAPP, SUBSCRIBER_ROLE
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.owner_applications import OwnerPortal, export_credentials
from wso2_provisioning.policy_cases import CaseAnswer, PolicyEndpoint, generate_cases, parse_case_answer, run_cases
from wso2_provisioning.provision import (
    SWITCH_SCOPES,
    ProvisioningResult,
    Wso2,
    ensure_unsubscribed_application,
    provision,
)
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.verification.rows import RowState
from wso2_terms.artifacts import Artifacts, load_artifacts
from wso2_terms.policies import Policy, PolicyKind

ROOT = Path(__file__).parents[2]
ADMIN_PASSWORD, OWNER_PASSWORD = "admin-Passw0rd", "evapp-Passw0rd"
OTHER_PASSWORDS = {"ASSISTANT_PASSWORD": "assistant-Passw0rd", "OPERATOR_PASSWORD": "operator-Passw0rd"}
SCOPES = "battery:read battery:tools grid:read grid:tools solar:read solar:tools"


class Backend(BaseHTTPRequestHandler):
    """Stands in for all three services: says which path it was asked for."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "assertion": "X-JWT-Assertion" in self.headers}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Site:
    """A local gateway that listens, and the variables with which to reach it."""

    environment: dict[str, str]
    state_file: Path
    gateway_url: str
    token_url: str
    trust: ssl.SSLContext

    def bootstrap(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / "bootstrap.py", "--wait", "20", *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def changes(self, *arguments: str, **environment: str) -> list[str]:
        finished = self.bootstrap("--json", *arguments, **environment)
        assert finished.returncode == 0, finished.stderr
        changes: list[str] = json.loads(finished.stdout)["changes"]
        return changes

    def token(self, client_id: str, client_secret: str, scope: str = SCOPES) -> httpx.Response:
        form = {"grant_type": "client_credentials", "scope": scope}
        return httpx.post(self.token_url, data=form, auth=(client_id, client_secret), verify=self.trust)

    def solar(self, token: str) -> httpx.Response:
        url = f"{self.gateway_url}/solar/1.0.0/solar-status"
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"}, verify=self.trust)


@dataclass(frozen=True)
class Whole:
    """The gateway as the bootstrap reaches it with every password set."""

    wso2: Wso2
    artifacts: Artifacts
    settings: ProvisioningSettings

    def provision(self) -> ProvisioningResult:
        return provision(self.wso2, self.artifacts, ChangeLog(is_dry_run=False, report=lambda _: None))

    def token(self, application: str, scopes: frozenset[str]) -> str:
        spec = next(spec for spec in APPLICATIONS if spec.name == application)
        return self.wso2.request_token(
            application, export_credentials(self.wso2, spec), scopes
        ).access_token.get_secret_value()

    def change_by_hand(self) -> None:
        """A tool's scope and limit, a server's plans, a subscription and a plan."""
        servers = self.wso2.mcp_servers
        solar, battery = servers.find("SolarMCP", "1.0.0"), servers.find("BatteryMCP", "1.0.0")
        grid = servers.find("GridMCP", "1.0.0")
        assert solar is not None
        assert battery is not None
        assert grid is not None
        tools = [tool | {"scopes": [], "throttlingPolicy": "Unlimited"} for tool in solar.body["operations"]]
        servers.update(solar.server_id, solar.body | {"operations": tools})
        servers.update(battery.server_id, battery.body | {"policies": ["Unlimited"]})
        servers.update(grid.server_id, grid.body | {"policies": ["Energy10PerMin", "Unlimited"]})
        changes, password = ChangeLog(is_dry_run=False, report=lambda _: None), self.settings.require_evapp_password()
        with OwnerPortal(self.wso2, EVAPP, password, (), changes) as portal:
            application_id = portal.find_application(EVAPP.name)
            assert application_id is not None
            (held,) = (one for one in portal.list_subscriptions(application_id) if one.api_id == grid.server_id)
            portal.change_plan(application_id, held, "Unlimited")
        plan = self.artifacts.list_plans()["Energy10PerMin"]
        count = plan.default_limit.request_count.model_copy(update={"request_count": 1000})
        limit = plan.default_limit.model_copy(update={"request_count": count})
        wider = plan.model_copy(update={"default_limit": limit})
        self.wso2.admin.import_policy(Policy(kind=PolicyKind.SUBSCRIPTION, data=wider))


@pytest.fixture(scope="module")
def backend_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, backend_url: str) -> Iterator[Site]:
    state = tmp_path_factory.mktemp("gateway")
    base = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "TMPDIR") if name in os.environ}
    environment = base | {
        "WSO2_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "LOCAL_GATEWAY_HTTPS_PORT": "0",
        "LOCAL_GATEWAY_HTTP_PORT": "0",
        "LOCAL_GATEWAY_MANAGEMENT_PORT": "0",
        "LOCAL_GATEWAY_STATE_DIR": str(state),
        "LOCAL_GATEWAY_DEPLOYMENT_FILE": str(ROOT / "wso2" / "conf" / "deployment.toml"),
    }
    command = [sys.executable, "-m", "local_gateway"]
    with (
        (state / "stderr.log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (state / "stderr.log").read_text()
        ports = json.loads(line)
        yield _site(state, base, ports, backend_url)
        process.terminate()
        process.wait(10)


def _site(state: Path, base: dict[str, str], ports: dict[str, int], backend_url: str) -> Site:
    ca_file = state / "certificates" / "ca.pem"
    management_url = f"https://localhost:{ports['management_port']}"
    gateway_url = f"https://localhost:{ports['https_port']}"
    environment = base | {
        "WSO2_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "EVAPP_PASSWORD": OWNER_PASSWORD,
        "WSO2_MANAGEMENT_URL": management_url,
        "WSO2_GATEWAY_URL": gateway_url,
        "WSO2_CA_FILE": str(ca_file),
        **{f"{name}_BACKEND_URL": backend_url for name in ("SOLAR", "BATTERY", "GRID", "AGENT", "CHARGERS")},
    }
    trust = ssl.create_default_context(cafile=ca_file)
    return Site(environment, state / "state.json", gateway_url, f"{management_url}/oauth2/token", trust)


@pytest.fixture(scope="module")
def credentials(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with EVApp's credentials; the gateway was empty before, which `--check` said without touching it."""
    folder = tmp_path_factory.mktemp("agent") / "credentials"
    before = site.state_file.read_text() if site.state_file.exists() else ""
    checked = site.bootstrap("--check", "--credentials-dir", str(folder))
    assert checked.returncode == 1, checked.stderr
    assert (site.state_file.read_text() if site.state_file.exists() else "") == before
    assert not folder.exists()

    finished = site.bootstrap("--credentials-dir", str(folder))

    assert finished.returncode == 0, finished.stderr
    assert "solar-status answered 200" in finished.stderr
    said, secret = finished.stdout + finished.stderr, (folder / "client_secret").read_text()
    assert not [word for word in (ADMIN_PASSWORD, OWNER_PASSWORD, secret, "eyJ") if word in said]
    return folder


@pytest.fixture
def keys(credentials: Path) -> tuple[str, str]:
    return (credentials / "client_id").read_text(), (credentials / "client_secret").read_text()


def test_evapp_is_granted_its_scopes_and_no_other(site: Site, keys: tuple[str, str]) -> None:
    granted = site.token(*keys, scope=f"{SCOPES} site:operate apim:admin").json()["scope"]

    assert set(granted.split()) == set(SCOPES.split())


def test_evapps_key_is_granted_nothing_by_which_it_could_undo_a_kill(site: Site, keys: tuple[str, str]) -> None:
    granted = site.token(*keys, "apim:subscribe apim:app_manage apim:sub_manage apim:api_key device_test").json()

    assert granted["scope"] == "device_test"


def test_limits_of_the_live_gateway_stand_beside_the_credentials(credentials: Path) -> None:
    limits = json.loads((credentials / "limits.json").read_text())

    assert limits == {name: {"requests": 10, "per_s": 60} for name in (*EVAPP.apis, *EVAPP.mcp_servers)}


@pytest.mark.slow
def test_running_again_changes_nothing_and_leaves_the_agents_token_alone(
    site: Site, credentials: Path, keys: tuple[str, str]
) -> None:
    agents = site.token(*keys).json()["access_token"]

    assert site.changes("--credentials-dir", str(credentials)) == []
    assert site.bootstrap("--check", "--credentials-dir", str(credentials)).returncode == 0

    assert site.solar(agents).status_code in (200, 429)


@pytest.mark.slow
def test_a_changed_backend_is_the_only_thing_that_is_imported_again(site: Site, credentials: Path) -> None:
    moved = f"{site.environment['GRID_BACKEND_URL']}/moved"

    changed = site.changes(GRID_BACKEND_URL=moved)
    back = site.changes()

    assert changed == back == ["import GridAPI-1.0.0 (endpointConfig)"]


def test_a_wrong_password_is_one_sentence_and_exit_1(site: Site) -> None:
    finished = site.bootstrap("--quiet", WSO2_ADMIN_PASSWORD="not-the-right-one")

    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "admin" in finished.stderr
    assert "not-the-right-one" not in finished.stderr


def test_a_certificate_that_is_not_trusted_is_said_at_once(site: Site) -> None:
    finished = site.bootstrap(WSO2_CA_FILE="")

    assert finished.returncode == 1
    assert "WSO2_CA_FILE" in finished.stderr


def test_a_secret_is_rotated_when_asked_and_the_old_one_ends(
    site: Site, credentials: Path, keys: tuple[str, str]
) -> None:
    assert "rotate the secret of EVApp" in site.changes("--rotate-secret", "--credentials-dir", str(credentials))

    assert site.token(*keys).status_code == 401
    new = (credentials / "client_id").read_text(), (credentials / "client_secret").read_text()
    assert site.token(*new).status_code == 200


def test_an_application_without_subscription_is_refused_by_the_gateway(
    site: Site, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    settings = ProvisioningSettings()

    with HttpClient(settings.wso2_ca_file) as http:
        wso2 = Wso2(http, settings)
        roles = {SUBSCRIBER_ROLE, *EVAPP.collect_roles(load_artifacts(ROOT / "wso2", site.environment))}
        wso2.users.add_user("stranger", SecretStr(OWNER_PASSWORD), roles)
        stranger = ensure_unsubscribed_application(wso2, "Stranger", "stranger", SecretStr(OWNER_PASSWORD))

    token = site.token(stranger.client_id, stranger.client_secret.get_secret_value()).json()["access_token"]
    refused = site.solar(token)
    assert (refused.status_code, refused.json()["code"]) == (403, "900908")


@pytest.fixture
def whole(site: Site, credentials: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    """The same gateway with the applications whose passwords are optional."""
    for name, value in (site.environment | OTHER_PASSWORDS).items():
        monkeypatch.setenv(name, value)
    artifacts = load_artifacts(ROOT / "wso2", site.environment)
    settings = ProvisioningSettings()
    with HttpClient(settings.wso2_ca_file) as http:
        yield Whole(Wso2(http, settings, admin_scopes=SWITCH_SCOPES), artifacts, settings)


@pytest.mark.slow
def test_assistant_and_operator_are_made_when_their_owners_have_passwords(whole: Whole) -> None:
    made = whole.provision()

    assert set(made.changes) >= {
        "make application Assistant",
        "make application Operator",
        "subscribe Operator to SiteAPI (Unlimited)",
    }
    assert whole.provision().changes == ()


@pytest.mark.slow
def test_check_names_what_was_changed_by_hand_in_the_live_gateway(site: Site, whole: Whole) -> None:
    whole.change_by_hand()

    checked = site.bootstrap("--check", "--json")

    changes = "; ".join(json.loads(checked.stdout)["changes"])
    assert checked.returncode == 1
    assert "tool GET /solar-status: throttlingPolicy, scopes" in changes
    assert "BatteryMCP-1.0.0 up to date (policies)" in changes
    assert "change the plan of EVApp at GridMCP from Unlimited to Energy10PerMin" in changes
    assert "import subscription policy Energy10PerMin (defaultLimit)" in changes
    assert site.changes()
    assert site.changes() == []


@dataclass(frozen=True)
class _CaseGateway:
    whole: Whole
    client: httpx.Client

    def request_token(self, application: str, scopes: frozenset[str]) -> str:
        return self.whole.token(application, scopes)

    def call(self, endpoint: PolicyEndpoint, token: str) -> CaseAnswer:
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.client.request(endpoint.verb, endpoint.path, headers=headers, json=endpoint.message)
        try:
            return parse_case_answer(answer.status_code, answer.json())
        except ValueError:
            return parse_case_answer(answer.status_code, None)


@pytest.mark.slow
def test_every_allow_and_deny_case_ends_as_the_artifacts_say(site: Site, whole: Whole) -> None:
    whole.provision()
    with httpx.Client(base_url=site.gateway_url, verify=site.trust) as client:
        tried = run_cases(generate_cases(whole.artifacts), _CaseGateway(whole, client))

    assert [f"{one.name}, not {one.observed}" for one in tried if one.state is not RowState.HOLDS] == []
    assert len(tried) > 100
