"""What the holder of the agent's key does after a kill, on the running stack: the cases `second` and `undo`.

The holder has a token of the Developer Portal, as caught while a bootstrap lent the owner its role: by the key alone
none is granted, which is the first test.
"""

import ssl
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import A_MINUTE_AND_MORE_S

from ev_service.settings import load
from ev_service.units import utc_text
from local_stack.stack import ARTIFACTS
from wso2_provisioning.applications import ASSISTANT, EVAPP, SUBSCRIBER_ROLE, ApplicationSpec
from wso2_provisioning.assistant import main as assistant
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.owner_applications import export_credentials
from wso2_provisioning.provision import Wso2, provision
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.switch.cli import main
from wso2_terms.artifacts import load_artifacts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
PORTAL = "/api/am/devportal/v3"
EVERYTHING = (
    "apim:subscribe apim:app_manage apim:sub_manage apim:api_key apim:admin apim:subscription_block site:operate"
)
OWN = "solar:read battery:read grid:read chargers:read chargers:control"
DENIED = (403, "900805")


def switch(*arguments: str) -> int:
    return main(arguments, artifacts_dir=ARTIFACTS)


@dataclass
class Thief:
    """Holds the agent's key. caught: a token of the portal."""

    site: Any
    wso2: Wso2
    management: httpx.Client
    gateway: httpx.Client
    key: tuple[str, str]
    caught: str = ""
    made: int = field(default=0)

    def token(self, key: tuple[str, str], scope: str) -> dict[str, Any]:
        self.made += 1
        form = {"grant_type": "client_credentials", "scope": f"{scope} device_thief{self.made}"}
        answer: dict[str, Any] = self.management.post("/oauth2/token", data=form, auth=key).raise_for_status().json()
        return answer

    def portal(self, method: str, path: str, **content: Any) -> Any:
        bearer = {"Authorization": f"Bearer {self.caught}"}
        answer = self.management.request(method, PORTAL + path, headers=bearer, **content).raise_for_status()
        return answer.json() if answer.content else None

    def tries(self, key: tuple[str, str]) -> set[tuple[int, str]]:
        """What a reading, the chargers and a limit are answered with a token of a key."""
        bearer = {"Authorization": f"Bearer {self.token(key, OWN)['access_token']}"}
        until = utc_text(datetime.now(UTC) + timedelta(seconds=60))
        limits = [{"charger_id": "CP-1", "evse_id": 1, "limit_a": 32, "valid_until": until}]
        answers = (
            self.gateway.get("/grid/1.0.0/grid-load", headers=bearer),
            self.gateway.get("/chargers/1.0.0/chargers", headers=bearer),
            self.gateway.put("/charger-control/1.0.0/limits", headers=bearer, json=limits),
        )
        return {(answer.status_code, str(answer.json().get("code"))) for answer in answers}

    def own_id(self) -> str:
        return next(one["applicationId"] for one in self.portal("GET", "/applications?limit=100")["list"])

    def second_application(self) -> tuple[str, str]:
        body = {"name": "EVApp2", "throttlingPolicy": "Unlimited"}
        made = self.portal("POST", "/applications", json=body)["applicationId"]
        products = [
            *self.portal("GET", "/apis?limit=100")["list"],
            *self.portal("GET", "/mcp-servers?limit=100")["list"],
        ]
        for one in products:
            body = {"applicationId": made, "apiId": one["id"], "throttlingPolicy": one["throttlingPolicies"][0]}
            self.portal("POST", "/subscriptions", json=body)
        wanted = {"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"]}
        keys = self.portal("POST", f"/applications/{made}/generate-keys", json=wanted)
        return keys["consumerKey"], keys["consumerSecret"]

    def rename(self) -> None:
        body = {"name": "EVAppX", "throttlingPolicy": "Unlimited"}
        self.portal("PUT", f"/applications/{self.own_id()}", json=body)

    def resubscribe(self) -> None:
        application_id = self.own_id()
        for held in self.portal("GET", f"/subscriptions?applicationId={application_id}&limit=100")["list"]:
            self.portal("DELETE", f"/subscriptions/{held['subscriptionId']}")
            body = {
                "applicationId": application_id,
                "apiId": held["apiId"],
                "throttlingPolicy": held["throttlingPolicy"],
            }
            self.portal("POST", "/subscriptions", json=body)

    def new_secret(self) -> tuple[str, str]:
        path = f"/applications/{self.own_id()}/oauth-keys"
        mapping = self.portal("GET", path)["list"][0]["keyMappingId"]
        made = self.portal("POST", f"{path}/{mapping}/regenerate-secret")
        return made["consumerKey"], made["consumerSecret"]


@pytest.fixture
def thief(terminal: Any) -> Generator[Thief]:
    """Beside the running stack; what they did is taken back by the documented way."""
    plan, settings = terminal.stack.plan, load(ProvisioningSettings)
    trusted = ssl.create_default_context(cafile=str(plan.ca_file))
    with (
        HttpClient(settings.wso2_ca_file) as http,
        httpx.Client(base_url=plan.management_url, verify=trusted, trust_env=False) as management,
        httpx.Client(base_url=plan.gateway_url, verify=trusted, trust_env=False) as gateway,
    ):
        wso2 = Wso2(http, settings)
        thief = Thief(terminal, wso2, management, gateway, key_of(wso2, EVAPP))
        caught_in(thief, EVAPP)
        yield thief
        restore_access(thief)


def key_of(wso2: Wso2, spec: ApplicationSpec) -> tuple[str, str]:
    key = export_credentials(wso2, spec)
    return key.client_id, key.client_secret.get_secret_value()


def caught_in(thief: Thief, spec: ApplicationSpec) -> None:
    """Poll while the owner is lent the role, as during a bootstrap."""
    thief.wso2.users.grant_roles(spec.owner, {SUBSCRIBER_ROLE})
    granted = thief.token(thief.key, EVERYTHING)
    thief.wso2.users.revoke_role(spec.owner, SUBSCRIBER_ROLE)
    assert "apim:subscribe" in granted["scope"].split()
    thief.caught = granted["access_token"]


def bootstrap(thief: Thief) -> tuple[str, ...]:
    plan = thief.site.stack.plan
    artifacts = load_artifacts(ARTIFACTS, plan.operator_environment())
    changes = ChangeLog(is_dry_run=False, report=lambda _: None)
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    return provision(thief.wso2, artifacts, changes, credentials_dir=plan.credentials).changes


def restore_access(thief: Thief) -> None:
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    switch("revive", "--remove", "--reason", "tested")
    bootstrap(thief)
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--reason", "tested") == 0


def test_the_agents_key_alone_is_granted_nothing_of_the_portal(thief: Thief) -> None:
    granted = thief.token(thief.key, EVERYTHING)

    assert [scope for scope in granted["scope"].split() if not scope.startswith("device_")] == []


def test_a_second_application_gets_through_neither_before_nor_after_a_kill_and_no_revive_lets_it(
    thief: Thief, capsys: pytest.CaptureFixture[str]
) -> None:
    before = thief.second_application()
    assert thief.tries(before) & {DENIED} == set()

    assert switch("kill", "--reason", "second") == 0

    # Denied, or blocked as a subscription of the owner: whichever the gateway looks at first.
    assert {code for _, code in thief.tries(before)} <= {"900805", "900907"}
    capsys.readouterr()
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--reason", "too early") == 1
    said = capsys.readouterr().err
    assert "application EVApp2. make revive ARGS=--remove removes it" in said
    assert thief.site.decide()["charging_power_kw"] == 0
    assert switch("kill", "--status") == 0
    assert "no artifact describes: application EVApp2" in capsys.readouterr().out

    assert switch("revive", "--remove", "--reason", "removed") == 0

    assert thief.management.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=before).is_error
    assert thief.tries(thief.key) & {DENIED} == set()


def test_whatever_is_made_after_a_kill_is_denied_and_named(thief: Thief, capsys: pytest.CaptureFixture[str]) -> None:
    assert switch("kill", "--reason", "undo") == 0

    thief.resubscribe()
    assert thief.tries(thief.key) == {DENIED}
    thief.rename()
    assert thief.tries(thief.key) == {DENIED}
    assert thief.tries(thief.second_application()) == {DENIED}

    capsys.readouterr()
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--reason", "too early") == 1
    said = capsys.readouterr().err
    assert "application EVAppX, while EVApp is missing: it may have been renamed" in said
    assert "application EVApp2, while EVApp is missing" in said
    # A kill again finds the owner denied, though it cannot name the application any more.
    assert switch("kill", "--reason", "again") == 0
    thief.site.pass_time(A_MINUTE_AND_MORE_S)

    assert switch("revive", "--remove", "--reason", "removed") == 1

    assert "EVApp is gone: the bootstrap" in capsys.readouterr().err
    assert "make application EVApp" in bootstrap(thief)
    assert thief.tries(key_of(thief.wso2, EVAPP)) & {DENIED} == set()


def test_a_subscription_made_anew_or_another_key_is_named(thief: Thief, capsys: pytest.CaptureFixture[str]) -> None:
    assert switch("kill", "--reason", "subscriptions and key") == 0
    thief.resubscribe()
    key = thief.new_secret()
    assert thief.tries(key) == {DENIED}
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    capsys.readouterr()

    assert switch("revive", "--reason", "too early") == 1

    said = capsys.readouterr().err
    assert "subscription of EVApp to SolarAPI, made since the kill" in said
    assert "key of EVApp: it is not the one that was killed" in said


def test_a_role_that_is_lent_is_taken_by_a_kill_and_keeps_a_revive_back(
    thief: Thief, capsys: pytest.CaptureFixture[str]
) -> None:
    thief.wso2.users.grant_roles(EVAPP.owner, {SUBSCRIBER_ROLE})
    assert switch("kill", "--status") == 0
    assert "evapp holds Internal/subscriber" in capsys.readouterr().out

    assert switch("kill", "--reason", "while it is lent") == 0

    assert SUBSCRIBER_ROLE not in thief.wso2.users.list_roles(EVAPP.owner)
    thief.wso2.users.grant_roles(EVAPP.owner, {SUBSCRIBER_ROLE})
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--reason", "lent again") == 1
    assert "evapp holds Internal/subscriber" in capsys.readouterr().err


def test_limits_alone_are_denied_to_whatever_application(thief: Thief) -> None:
    assert switch("kill", "--scope", "control", "--reason", "charger fault") == 0

    told = thief.tries(thief.second_application())

    assert DENIED in told
    assert {code for _, code in told} & {"900908", "900907"} == set()
    thief.site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--scope", "control", "--reason", "too early") == 1
    assert switch("revive", "--scope", "control", "--remove", "--reason", "removed") == 0


def test_the_assistant_is_killed_and_let_go_by_itself(thief: Thief, capsys: pytest.CaptureFixture[str]) -> None:
    thief.key = key_of(thief.wso2, ASSISTANT)
    caught_in(thief, ASSISTANT)
    assert assistant([], artifacts_dir=ARTIFACTS) == 0

    assert switch("kill", "--application", "Assistant", "--reason", "assistant misbehaves") == 0

    def asks(key: tuple[str, str]) -> tuple[int, str]:
        bearer = {"Authorization": f"Bearer {thief.token(key, 'agent:read agent:tools')['access_token']}"}
        answer = thief.gateway.get("/agent/1.0.0/site-status", headers=bearer)
        return answer.status_code, str(answer.json().get("code"))

    assert asks(thief.key)[1] == "900907"
    assert asks(thief.second_application()) == DENIED
    thief.rename()
    thief.resubscribe()
    assert asks(thief.key) == DENIED
    assert thief.site.decide()["charging_power_kw"] >= 0
    capsys.readouterr()
    assert switch("kill", "--status", "--application", "Assistant") == 0
    assert "Assistant is stopped: every call is denied" in capsys.readouterr().out
    assert switch("kill", "--status") == 0
    assert "EVApp is not stopped" in capsys.readouterr().out
    assert switch("revive", "--application", "Assistant", "--reason", "too early") == 1
    assert switch("revive", "--application", "Assistant", "--remove", "--reason", "removed") == 1
    assert "make application Assistant" in bootstrap(thief)
    assert asks(key_of(thief.wso2, ASSISTANT))[0] == 200
