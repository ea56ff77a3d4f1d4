import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from wso2_provisioning.applications import APPLICATIONS
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.credentials import RequestLimit
from wso2_provisioning.devportal import DevPortal
from wso2_provisioning.errors import (
    CredentialsFolderError,
    CredentialsRefusedError,
    ProvisioningError,
    RequestRefusedError,
    ScopeMismatchError,
)
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import ProvisioningResult, Wso2, ensure_unsubscribed_application, provision
from wso2_provisioning.settings import ProvisioningSettings
from wso2_terms.artifacts import Artifacts
from wso2_terms.codes import CONNECTION_FAILED, Fault

if TYPE_CHECKING:
    from tests.unit.wso2_provisioning.conftest import FakeWso2


BOUGHT = (
    *("SolarAPI", "BatteryAPI", "GridAPI", "ChargerAPI", "ChargerControlAPI"),
    *("SolarMCP", "BatteryMCP", "GridMCP"),
)
"""What EVApp is subscribed to."""


class CutOffError(BaseException):
    """The run ends here, as if its process had been killed."""


class Run:
    """Provisions the fake; each call is one start of the bootstrap."""

    def __init__(self, fake: "FakeWso2", settings: ProvisioningSettings, artifacts: Artifacts, folder: Path) -> None:
        self.fake, self.settings, self.artifacts, self.folder = fake, settings, artifacts, folder
        self.reported: list[str] = []
        self.slept_s: list[float] = []

    def __call__(
        self, *, check: bool = False, rotate: bool = False, cut_off_after: int | None = None
    ) -> ProvisioningResult:
        asked = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal asked
            if asked == cut_off_after:
                raise CutOffError
            asked += 1
            return self.fake(request)

        with HttpClient(None, transport=httpx.MockTransport(answer), sleep=self.slept_s.append) as http:
            return provision(
                Wso2(http, self.settings, is_dry_run=check),
                self.artifacts,
                ChangeLog(is_dry_run=check, report=self.reported.append),
                credentials_dir=self.folder,
                rotate_secret=rotate,
            )


@pytest.fixture
def run(fake: "FakeWso2", settings: ProvisioningSettings, artifacts: Artifacts, tmp_path: Path) -> Run:
    return Run(fake, settings, artifacts, tmp_path / "credentials")


def fault(found: Fault, **details: str) -> httpx.Response:
    return httpx.Response(found.http_status, json=found.body(**details))


def test_an_empty_wso2_gets_everything_in_one_run(run: Run, fake: "FakeWso2") -> None:
    outcome = run()

    assert fake.configuration()["applications"] == [("admin", "ScopeProbe"), ("evapp", "EVApp")]
    assert {api["name"] for api in fake.apis.values()} >= {"SolarAPI", "BatteryAPI", "GridAPI", "SiteAPI"}
    assert set(fake.configuration()["mcp_servers"]) >= {"SolarMCP", "BatteryMCP", "GridMCP"}
    assert [name for _, name, *_ in fake.configuration()["subscriptions"]] == sorted(BOUGHT)
    assert {plan for *_, plan, _ in fake.configuration()["subscriptions"]} == {"Energy10PerMin"}
    assert fake.users["evapp"]["roles"] == {
        "Internal/solar_reader",
        "Internal/battery_reader",
        "Internal/grid_reader",
        "Internal/charger_reader",
        "Internal/charger_controller",
    }
    assert outcome.limits == dict.fromkeys(BOUGHT, RequestLimit(10, 60))
    assert outcome.credentials is not None
    assert (run.folder / "client_id").read_text() == outcome.credentials.client_id
    assert outcome.proof == "/solar/1.0.0/solar-status answered 200"


def test_a_second_run_changes_nothing(run: Run, fake: "FakeWso2") -> None:
    first = run()
    before, mutations = fake.configuration(), fake.mutations

    second = run()

    assert second.changes == ()
    assert fake.mutations == mutations
    assert fake.configuration() == before
    assert second.credentials == first.credentials


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(180)])])
def test_a_run_cut_off_after_any_change_is_completed_by_the_next(
    run: Run, fake: "FakeWso2", settings: ProvisioningSettings, artifacts: Artifacts, tmp_path: Path, step: int
) -> None:
    run()
    complete, cuts = fake.configuration(), fake.mutated_by

    for cut in cuts[::step]:
        again = Run(type(fake)(), settings, artifacts, tmp_path / f"cut-{cut}")
        with pytest.raises(CutOffError):
            again(cut_off_after=cut)

        outcome = again()

        assert again.fake.configuration() == complete, f"cut off after {cut} requests"
        assert outcome.credentials is not None
        assert (again.folder / "client_secret").read_text() == outcome.credentials.client_secret.get_secret_value()
    assert len(cuts) > 10


def test_check_on_an_empty_wso2_names_everything_and_changes_nothing(run: Run, fake: "FakeWso2") -> None:
    outcome = run(check=True)

    assert fake.mutations == 0
    assert not fake.tokens
    assert not run.folder.exists()
    assert "import SolarAPI-1.0.0 (new)" in outcome.changes
    assert "add user evapp" in outcome.changes
    assert any("write credentials" in change for change in outcome.changes)


def test_check_after_a_run_finds_no_drift_and_calls_no_api(run: Run, fake: "FakeWso2") -> None:
    run()
    mutations, calls = fake.mutations, gateway_calls(fake)

    outcome = run(check=True)

    assert outcome.changes == ()
    assert fake.mutations == mutations
    assert gateway_calls(fake) == calls


def test_check_sees_what_was_changed_by_hand(run: Run, fake: "FakeWso2") -> None:
    run()
    solar = next(api for api in fake.apis.values() if api["name"] == "SolarAPI")
    solar["policies"] = ["Unlimited"]
    fake.policies["subscription"]["Energy10PerMin"]["stopOnQuotaReach"] = False
    fake.users["evapp"]["roles"].discard("Internal/grid_reader")
    (run.folder / "client_id").unlink()

    outcome = run(check=True)

    assert set(outcome.changes) >= {
        "import SolarAPI-1.0.0 (policies)",
        "import subscription policy Energy10PerMin (stopOnQuotaReach)",
        "give evapp Internal/grid_reader",
        f"write credentials to {run.folder}",
    }


@pytest.mark.parametrize(("field", "value"), [("throttlingPolicy", "10KPerMin"), ("authType", "None"), ("scopes", [])])
def test_check_sees_an_operation_that_is_governed_otherwise(
    run: Run, fake: "FakeWso2", field: str, value: object
) -> None:
    run()
    control = next(api for api in fake.apis.values() if api["name"] == "ChargerControlAPI")
    control["operations"][0][field] = value

    assert run(check=True).changes == ("import ChargerControlAPI-1.0.0 (operations)",)


def test_only_a_changed_artifact_is_imported_again(run: Run, artifacts: Artifacts) -> None:
    run()
    solar = artifacts.find_api("SolarAPI")
    info = {**solar.definition, "info": {"title": "Sun", "version": "1.0.0"}}
    changed = type(solar)(solar.api, solar.deployments, info, solar.format_version)
    others = tuple(project for project in artifacts.apis if project is not solar)
    run.artifacts = replace(artifacts, apis=(changed, *others))

    outcome = run()

    assert outcome.changes == ("import SolarAPI-1.0.0 (artifact)",)


def test_a_subscription_with_another_plan_gets_the_right_one(run: Run, fake: "FakeWso2") -> None:
    run()
    next(iter(fake.subscriptions.values()))["throttlingPolicy"] = "Unlimited"

    outcome = run()

    assert len(outcome.changes) == 1
    assert {s["throttlingPolicy"] for s in fake.subscriptions.values()} == {"Energy10PerMin"}


def test_limits_are_those_of_wso2_and_not_of_the_files(run: Run, fake: "FakeWso2") -> None:
    run()
    fake.policies["advanced"]["EnergyBackend60PerMin"]["defaultLimit"]["requestCount"]["requestCount"] = 4

    outcome = run(check=True)

    assert outcome.limits["SolarAPI"] == RequestLimit(4, 60)


def test_what_an_operator_blocked_stays_blocked(run: Run, fake: "FakeWso2") -> None:
    run()
    by_name = {api["name"]: api for api in fake.apis.values()}
    by_name["SolarAPI"]["lifeCycleStatus"] = "BLOCKED"
    battery = next(s for s in fake.subscriptions.values() if s["apiId"] == by_name["BatteryAPI"]["id"])
    battery["status"] = "BLOCKED"

    outcome = run()

    assert outcome.changes == ()
    assert len(outcome.warnings) == 2
    assert by_name["SolarAPI"]["lifeCycleStatus"] == battery["status"] == "BLOCKED"
    assert outcome.proof == "/grid/1.0.0/grid-load answered 200"


def test_the_secret_is_rotated_only_when_asked(run: Run) -> None:
    first, second = run(), run()
    rotated = run(rotate=True)

    assert first.credentials == second.credentials
    assert rotated.credentials is not None
    assert rotated.credentials != first.credentials
    assert (run.folder / "client_secret").read_text() == rotated.credentials.client_secret.get_secret_value()


def test_a_wrong_administrator_password_is_said_and_nothing_is_done(
    run: Run, fake: "FakeWso2", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD", "not-the-right-one")
    run.settings = ProvisioningSettings()

    with pytest.raises(CredentialsRefusedError, match="admin"):
        run()

    assert fake.mutations == 0


def test_another_password_of_the_owner_is_set_only_when_asked(
    run: Run, fake: "FakeWso2", monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setenv("EVAPP_PASSWORD", "another-Passw0rd")
    run.settings = ProvisioningSettings()
    with pytest.raises(CredentialsRefusedError, match="--rotate-secret"):
        run()

    outcome = run(rotate=True)

    assert "set the password of evapp" in outcome.changes
    assert fake.users["evapp"]["password"] == "another-Passw0rd"


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_changed(run: Run, fake: "FakeWso2") -> None:
    run.folder.write_text("a file stands where the folder should be")

    with pytest.raises(CredentialsFolderError, match="--credentials-dir"):
        run(rotate=True)

    assert not fake.requests


def test_an_unknown_plan_is_told_in_the_words_of_wso2(run: Run, artifacts: Artifacts) -> None:
    without_plans = tuple(policy for policy in artifacts.policies if policy.name != "Energy10PerMin")
    run.artifacts = replace(artifacts, policies=without_plans)

    with pytest.raises(RequestRefusedError, match="code 900305: unknown policy or role"):
        run()


def test_scopes_that_protect_nothing_are_refused(run: Run, fake: "FakeWso2") -> None:
    fake.grants_everything = True

    with pytest.raises(ScopeMismatchError, match=r"ScopeProbe.*restrict\.unassigned\.scopes"):
        run()


def test_scopes_that_are_not_granted_are_named(run: Run, fake: "FakeWso2") -> None:
    fake.never_granted = {"solar:read"}

    with pytest.raises(ScopeMismatchError, match="EVApp is not granted solar:read"):
        run()


def test_scopes_that_evapp_must_not_have_are_named(run: Run, fake: "FakeWso2") -> None:
    run()
    fake.users["evapp"]["roles"].add("Internal/site_operator")

    with pytest.raises(ScopeMismatchError, match="EVApp is granted site:operate, which it must not have"):
        run()


def portal_scope_granted(fake: "FakeWso2") -> bool:
    """Whether EVApp's key is granted the portal's scope now, as the token endpoint says."""
    (key,) = (client for client in fake.clients.values() if client["owner"] == "evapp")
    with httpx.Client(transport=httpx.MockTransport(fake), auth=(key["id"], key["secret"])) as client:
        form = {"grant_type": "client_credentials", "scope": "apim:subscribe"}
        answer = client.post("https://localhost:9443/oauth2/token", data=form)
    return "apim:subscribe" in answer.json()["scope"].split()


def test_the_role_is_lent_for_changes_that_are_due_alone_and_is_not_kept(run: Run, fake: "FakeWso2") -> None:
    run()
    lent = [line for line in run.reported if "Internal/subscriber" in line]
    run.reported.clear()

    run()
    run(check=True)

    assert lent == [
        "lend evapp Internal/subscriber for changes in the Developer Portal",
        "took Internal/subscriber back from evapp",
    ]
    assert not [line for line in run.reported if "Internal/subscriber" in line]
    assert not portal_scope_granted(fake)
    # The token by which they were made has ended, too.
    assert not [one for one in fake.tokens.values() if one["user"] == "evapp" and "apim:subscribe" in one["scopes"]]


def test_a_role_that_a_run_left_lent_is_drift_and_taken_back_first(run: Run, fake: "FakeWso2") -> None:
    run()
    fake.users["evapp"]["roles"].add("Internal/subscriber")

    drift = run(check=True)
    assert portal_scope_granted(fake)
    outcome = run()

    what = "take Internal/subscriber from evapp, by which a key of theirs could undo a kill"
    assert (drift.changes, outcome.changes) == ((what,), (what,))
    assert not portal_scope_granted(fake)


def test_a_role_that_is_lent_is_taken_back_though_the_change_fails(
    run: Run, fake: "FakeWso2", monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert "Internal/subscriber" in fake.users["evapp"]["roles"]
        raise RequestRefusedError("no more subscriptions", status=403)

    monkeypatch.setattr(DevPortal, "subscribe", fail)

    with pytest.raises(RequestRefusedError, match="no more subscriptions"):
        run()

    assert "Internal/subscriber" not in fake.users["evapp"]["roles"]


@pytest.mark.parametrize("check", [False, True])
def test_a_key_that_is_granted_the_portal_by_another_role_is_named(run: Run, fake: "FakeWso2", check: bool) -> None:
    run()
    fake.users["evapp"]["roles"].add("admin")

    with pytest.raises(ScopeMismatchError, match=r"EVApp is granted .*apim:subscribe.*, which it must not have"):
        run(check=check)


def test_what_is_denied_is_left_as_it_is(run: Run, fake: "FakeWso2") -> None:
    run()
    fake.denied.append({"conditionId": "1", "conditionType": "USER", "conditionValue": "evapp@carbon.super"})
    gone = next(iter(fake.subscriptions))
    del fake.subscriptions[gone]
    before = fake.configuration()

    outcome = run()

    assert fake.configuration() == before
    assert "evapp is denied at the gateway, so EVApp is not changed" in outcome.warnings


def test_an_application_that_no_artifact_describes_is_named(run: Run, fake: "FakeWso2") -> None:
    run()
    fake.applications["app-x"] = {"applicationId": "app-x", "name": "EVApp2", "owner": "evapp"}

    outcome = run(check=True)

    assert outcome.changes == ()
    assert [warning for warning in outcome.warnings if "EVApp2" in warning]


@pytest.fixture
def everybody(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same run with the passwords set without which Assistant and Operator are left out."""
    monkeypatch.setenv("ASSISTANT_PASSWORD", "assistant-Passw0rd")
    monkeypatch.setenv("OPERATOR_PASSWORD", "operator-Passw0rd")
    run.settings = ProvisioningSettings()
    return run


def test_an_application_without_a_password_for_its_owner_is_left_out_and_said(run: Run) -> None:
    run()

    assert [line for line in run.reported if "is omitted" in line] == [
        "Assistant is omitted: ASSISTANT_PASSWORD is not set",
        "Operator is omitted: OPERATOR_PASSWORD is not set",
    ]


def test_each_application_has_an_owner_subscriptions_and_keys_of_its_own(everybody: Run, fake: "FakeWso2") -> None:
    outcome = everybody()

    subscriptions = {(name, product) for name, product, *_ in fake.configuration()["subscriptions"]}
    assert subscriptions == {(spec.name, product) for spec in APPLICATIONS for product in spec.products}
    assert fake.users["operator"]["roles"] == {
        "Internal/subscriber",
        "Internal/site_operator",
        "Internal/charger_reader",
    }
    assert fake.users["assistant"]["roles"] == {"Internal/agent_reader"}
    assert outcome.credentials is not None
    assert fake.clients[outcome.credentials.client_id]["name"] == "EVApp"
    assert everybody().changes == ()
    assert everybody(check=True).changes == ()


@pytest.mark.parametrize("owner", ["assistant", "operator"])
def test_a_wrong_password_of_an_optional_owner_is_said(everybody: Run, fake: "FakeWso2", owner: str) -> None:
    everybody()
    fake.users[owner]["password"] = "another-Passw0rd"

    with pytest.raises(CredentialsRefusedError, match=f"another password than {owner.upper()}_PASSWORD"):
        everybody()

    assert f"set the password of {owner}" in everybody(rotate=True).changes


def test_a_scope_that_the_assistant_must_not_have_is_named(everybody: Run, fake: "FakeWso2") -> None:
    everybody()
    fake.users["assistant"]["roles"].add("Internal/solar_reader")

    with pytest.raises(
        ScopeMismatchError, match="Assistant is granted solar:read, solar:tools, which it must not have"
    ):
        everybody()


def test_a_limit_of_the_application_itself_stands_beside_those_of_its_apis(run: Run, fake: "FakeWso2") -> None:
    run()
    limit = {"requestCount": 20, "unitTime": 1, "timeUnit": "min"}
    fake.policies["application"]["20PerMin"] = {"policyName": "20PerMin", "defaultLimit": {"requestCount": limit}}
    next(app for app in fake.applications.values() if app["name"] == "EVApp")["throttlingPolicy"] = "20PerMin"

    outcome = run()

    assert outcome.changes == (f"write credentials to {run.folder}",)
    assert outcome.limits["*"] == RequestLimit(20, 60)
    assert json.loads((run.folder / "limits.json").read_text())["*"] == {"requests": 20, "per_s": 60}


def test_check_names_a_plan_of_a_subscription_to_an_mcp_server(run: Run, fake: "FakeWso2") -> None:
    run()
    grid = next(server for server in fake.mcp_servers.values() if server["name"] == "GridMCP")
    next(s for s in fake.subscriptions.values() if s["apiId"] == grid["id"])["throttlingPolicy"] = "Gold"

    assert "change the plan of EVApp at GridMCP from Gold to Energy10PerMin" in run(check=True).changes


def test_the_proving_token_is_not_the_agents(run: Run, fake: "FakeWso2") -> None:
    run()

    proving = [token for token in fake.tokens.values() if fake.clients[token["client"]]["name"] == "EVApp"]
    assert all("device_bootstrap" in token["scopes"] for token in proving)


def test_a_service_that_is_down_is_a_warning_because_the_gateway_let_the_call_through(
    run: Run, fake: "FakeWso2"
) -> None:
    fake.gateway_answers = [fault(CONNECTION_FAILED)] * 30

    outcome = run()

    assert "http://127.0.0.1:9" in outcome.warnings[0]
    assert outcome.proof == "/solar/1.0.0/solar-status answered 500, code 101503"


def test_nothing_is_proven_where_every_api_is_closed(run: Run, fake: "FakeWso2") -> None:
    run()
    for subscription in fake.subscriptions.values():
        subscription["status"] = "BLOCKED"
    calls = gateway_calls(fake)

    outcome = run()

    assert outcome.proof is None
    assert gateway_calls(fake) == calls
    assert len(outcome.warnings) == 1 + len(BOUGHT)


@pytest.mark.parametrize("field", ["scopes", "operations", "policies"])
def test_an_import_after_which_wso2_governs_otherwise_is_an_error(run: Run, fake: "FakeWso2", field: str) -> None:
    fake.forgets = {field: []}

    with pytest.raises(ProvisioningError, match=f"still differs in {field}"):
        run()


def test_an_import_that_wso2_only_writes_in_another_way_is_a_warning(run: Run, fake: "FakeWso2") -> None:
    fake.forgets = {"visibility": "RESTRICTED"}

    outcome = run()

    assert len(outcome.warnings) == len(run.artifacts.apis)
    assert "visibility" in outcome.warnings[0]


def test_nothing_that_is_reported_holds_a_secret(run: Run, fake: "FakeWso2") -> None:
    outcome = run(rotate=True)
    said = "\n".join((*run.reported, *outcome.changes, *outcome.warnings, repr(outcome), repr(run.settings)))

    secrets = [user["password"] for user in fake.users.values()]
    secrets += [client["secret"] for client in fake.clients.values()] + list(fake.tokens)
    assert not [secret for secret in secrets if secret in said]


def test_an_extra_application_has_keys_and_no_subscription(
    run: Run, fake: "FakeWso2", settings: ProvisioningSettings
) -> None:
    run()
    fake.users["evapp"]["roles"].add("Internal/subscriber")

    with HttpClient(None, transport=httpx.MockTransport(fake)) as http:
        password = SecretStr(settings.require_evapp_password().get_secret_value())
        made = ensure_unsubscribed_application(Wso2(http, settings), "Stranger", "evapp", password)
        again = ensure_unsubscribed_application(Wso2(http, settings), "Stranger", "evapp", password)

    assert made == again
    assert len(fake.subscriptions) == len(BOUGHT)


def gateway_calls(fake: "FakeWso2") -> int:
    return sum(request.url.port == 8243 for request in fake.requests)
