"""Every request that the provisioning sends and every answer that the local gateway gives is one of WSO2's."""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from ev_service.clock import SystemClock
from local_gateway.management import devportal, mcp_servers, publisher, subscriptions, throttling
from local_gateway.management.admin import AdminApi
from local_gateway.management.application_keys import ApplicationKeysApi, build_registration_routes
from local_gateway.management.rest import ManagementContext, RouteTable
from local_gateway.oauth import OAuthServer
from wso2_provisioning.applications import EVAPP, SUBSCRIBER_ROLE
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import Wso2, ensure_unsubscribed_application, provision
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.smoke_test import wait_until_ready
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.runner import build_all_rows, run_rows
from wso2_terms.api_archive import write_api_archive
from wso2_terms.artifacts import Artifacts, load_artifacts
from wso2_terms.policies import PolicyKind

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.contract.wso2_specs.conftest import Specification

ROOT = Path(__file__).parents[3]
WSO2_DIR = ROOT / "wso2"
# Nobody listens there: what the services answer is no part of WSO2's specifications.
BACKENDS = dict.fromkeys(DEFAULT_BACKENDS, "http://127.0.0.1:9")
ADMIN_PASSWORD, OWNER_PASSWORD = "admin-Passw0rd", "evapp-Passw0rd"


@dataclass(frozen=True)
class Departure:
    """What the product does and its specification does not say, all for one reason.

    places: operations, an answer's with its status. what: what is then complained about, at each of them.
    """

    reason: str
    surface: str
    places: tuple[str, ...]
    what: tuple[str, ...]

    def complaints(self) -> set[tuple[str, str, str]]:
        return {(self.surface, place, what) for place in self.places for what in self.what}


KEYS = "GET /applications/{applicationId}/oauth-keys"
POLICIES = "/throttling/policies"
FROM_API = "POST /mcp-servers/generate-from-api"
PRODUCTS = ("/apis/{apiId}", "/mcp-servers/{mcpServerId}")
"""What has revisions, all of one kind."""
DEPARTURES = (
    Departure(
        "dcr.yaml marks every field of a registration as read-only; the product reads them (RegistrationServiceImpl)",
        "registration",
        ("POST /register",),
        tuple(
            f"{field}: breaks readOnly True" for field in ("callbackUrl", "clientName", "grantType", "owner", "saasApp")
        ),
    ),
    Departure(
        "dcr.yaml calls it a text; WSO2's documentation sends a truth value",
        "registration",
        ("POST /register",),
        ("saasApp: breaks type string",),
    ),
    Departure(
        "The product writes callBackURL where dcr.yaml says callbackUrl, and a truth value (OAuthApplicationInfo)",
        "registration",
        ("POST /register -> 200",),
        (
            "body: Additional properties are not allowed ('callBackURL' was unexpected)",
            "isSaasApplication: breaks type string",
        ),
    ),
    Departure(
        "What is there already is refused with 409, which is in the code (ThrottlingApiServiceImpl) alone",
        "admin",
        (
            *(f"POST {POLICIES}/{kind.path_segment} -> 409" for kind in PolicyKind),
            "POST /throttling/deny-policies -> 409",
        ),
        ("ResponseNotFound: Unknown response http status: 409",),
    ),
    Departure(
        "A policy that is new is answered with 201 (ThrottlingApiServiceImpl); the specification knows 200 alone",
        "admin",
        (f"POST {POLICIES}/import -> 201",),
        ("ResponseNotFound: Unknown response http status: 201",),
    ),
    Departure(
        "Every failure of a change of owner becomes 500 (ApplicationsApiServiceImpl), not 400 or 404 as specified",
        "admin",
        ("POST /applications/{applicationId}/change-owner -> 500",),
        ("ResponseNotFound: Unknown response http status: 500",),
    ),
    Departure(
        "What is there already is refused with 409 (SubscriptionsApiServiceImpl; 901409, ExceptionCodes)",
        "devportal",
        ("POST /subscriptions -> 409", "POST /applications/{applicationId}/generate-keys -> 409"),
        ("ResponseNotFound: Unknown response http status: 409",),
    ),
    Departure(
        "Another user's application, and a plan that the API does not offer, are refused with 403 (ExceptionCodes)",
        "devportal",
        ("GET /subscriptions -> 403", "POST /subscriptions -> 403"),
        ("ResponseNotFound: Unknown response http status: 403",),
    ),
    Departure(
        "The product writes null for what an object does not have (answer of generate-keys in WSO2's documentation)",
        "devportal",
        ("POST /applications/{applicationId}/generate-keys -> 200", f"{KEYS}/{{keyMappingId}} -> 200"),
        ("groupId: breaks type string",),
    ),
    Departure(
        "The product writes null for what an object does not have; the first token is given at generation alone",
        "devportal",
        (f"{KEYS}/{{keyMappingId}} -> 200",),
        ("token: breaks type object",),
    ),
    Departure(
        "The same, in a list",
        "devportal",
        (f"{KEYS} -> 200",),
        ("list.[].groupId: breaks type string", "list.[].token: breaks type object"),
    ),
    Departure(
        "No or wrong credentials are 401 at every operation (BasicAuthenticationInterceptor)",
        "publisher",
        ("GET /apis -> 401",),
        ("ResponseNotFound: Unknown response http status: 401",),
    ),
    Departure(
        "A faulty project is refused with 400 and its code, e.g. 900305 for an unknown plan (ExceptionCodes)",
        "publisher",
        ("POST /apis/import -> 400",),
        ("ResponseNotFound: Unknown response http status: 400",),
    ),
    Departure(
        "A revision that is deployed is not deleted: 400 (ExceptionCodes)",
        "publisher",
        tuple(f"DELETE {one}/revisions/{{revisionId}} -> 400" for one in PRODUCTS),
        ("ResponseNotFound: Unknown response http status: 400",),
    ),
    Departure(
        "A deployment is answered with 201 (ApisApiServiceImpl, McpServersApiServiceImpl); the specification knows 200",
        "publisher",
        tuple(f"POST {one}/deploy-revision -> 201" for one in PRODUCTS),
        ("ResponseNotFound: Unknown response http status: 201",),
    ),
    Departure(
        "The specification calls the definition a text; the product writes the document itself",
        "publisher",
        ("GET /apis/{apiId}/swagger -> 200",),
        ("body: breaks type string",),
    ),
    Departure(
        "A java.util.Date, which the product's JSON writer turns into milliseconds (inferred from APIMappingUtil)",
        "publisher",
        tuple(f"POST {one}/revisions -> 201" for one in PRODUCTS),
        ("createdTime: breaks type string",),
    ),
    Departure(
        "The same, in a list",
        "publisher",
        (*(f"GET {one}/revisions -> 200" for one in PRODUCTS), "DELETE /apis/{apiId}/revisions/{revisionId} -> 200"),
        ("list.[].createdTime: breaks type string",),
    ),
    Departure(
        "Read-only by the specification, yet the only word for which API a tool is of (MCPServerTestCase sends it)",
        "publisher",
        (FROM_API, "PUT /mcp-servers/{mcpServerId}"),
        ("operations.[].apiOperationMapping.apiId: breaks readOnly True",),
    ),
    Departure(
        "Read-only by the specification; a changed server is sent back whole, as the product's own Publisher does it",
        "publisher",
        ("PUT /mcp-servers/{mcpServerId}",),
        ("id: breaks readOnly True", "subtypeConfiguration.subtype: breaks readOnly True"),
    ),
    Departure(
        "A name or context that is taken is refused with 409 (900300, 900251, ExceptionCodes)",
        "publisher",
        (f"{FROM_API} -> 409",),
        ("ResponseNotFound: Unknown response http status: 409",),
    ),
)
"""All there are; one that no longer occurs must go."""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer; `is_ours` when the provisioning sent it."""

    request: httpx.Request
    answer: httpx.Response
    is_ours: bool


class Recorder(httpx.BaseTransport):
    """Passes requests on and keeps them with their answers."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self.exchanges: list[Exchange] = []
        self.is_ours = True
        self._network = httpx.HTTPTransport(verify=trust)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = self._network.handle_request(request)
        answer.read()
        self.exchanges.append(Exchange(request, answer, self.is_ours))
        return answer

    def close(self) -> None:
        self._network.close()


class Operator:
    """A person at the REST APIs: makes the calls that the provisioning never makes."""

    def __init__(self, recorder: Recorder, management_url: str, auth: tuple[str, str]) -> None:
        self._client = httpx.Client(transport=recorder, base_url=management_url, auth=auth)

    def call(self, method: str, path: str, **content: Any) -> Any:
        answer = self._client.request(method, path, **content)
        return answer.json() if answer.content and "json" in answer.headers["Content-Type"] else answer.text


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisioningSettings]:
    """The local gateway as a process, and how to reach it."""
    state = tmp_path_factory.mktemp("gateway")
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "TMPDIR") if name in os.environ}
    environment |= {
        "WSO2_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "LOCAL_GATEWAY_STATE_DIR": str(state),
        "LOCAL_GATEWAY_DEPLOYMENT_FILE": str(WSO2_DIR / "conf" / "deployment.toml"),
    } | {f"LOCAL_GATEWAY_{listener}_PORT": "0" for listener in ("HTTPS", "HTTP", "MANAGEMENT")}
    with (
        (state / "stderr.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "local_gateway"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (state / "stderr.log").read_text()
        ports: dict[str, int] = json.loads(line)
        yield ProvisioningSettings(
            wso2_management_url=f"https://localhost:{ports['management_port']}",
            wso2_gateway_url=f"https://localhost:{ports['https_port']}",
            wso2_ca_file=state / "certificates" / "ca.pem",
            wso2_admin_password=SecretStr(ADMIN_PASSWORD),
            evapp_password=SecretStr(OWNER_PASSWORD),
        )
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def exchanges(gateway: ProvisioningSettings) -> list[Exchange]:
    """All that crosses the wire while everything is done once that can be done, and much that cannot."""
    recorder = Recorder(ssl.create_default_context(cafile=gateway.wso2_ca_file))
    artifacts = load_artifacts(WSO2_DIR, BACKENDS)
    with HttpClient(gateway.wso2_ca_file, transport=recorder, sleep=lambda _: None) as http:
        _provision(http, gateway, artifacts)
        _verify(http, gateway, artifacts)
        recorder.is_ours = False
        admin = Operator(recorder, gateway.wso2_management_url, ("admin", ADMIN_PASSWORD))
        owner = Operator(recorder, gateway.wso2_management_url, (EVAPP.owner, OWNER_PASSWORD))
        stranger = Operator(recorder, gateway.wso2_management_url, ("admin", "not-the-right-one"))
        _operate_servers(admin, owner)
        _operate_apis(admin, stranger, artifacts)
        _operate_policies(admin)
        _operate_applications(admin, owner)
        _take_down(admin, owner)
    return recorder.exchanges


def _provision(http: HttpClient, settings: ProvisioningSettings, artifacts: Artifacts) -> None:
    """The bootstrap on an empty gateway, again, in a dry run before and after, and what it meets on bad days."""
    wait_until_ready(http, settings.wso2_management_url, 20, print)
    for is_dry_run, rotate in ((True, False), (False, False), (False, True), (True, False)):
        wso2 = Wso2(http, settings, is_dry_run=is_dry_run)
        provision(wso2, artifacts, ChangeLog(is_dry_run=is_dry_run, report=print), rotate_secret=rotate)
    wso2 = Wso2(http, settings)
    wso2.users.grant_roles(EVAPP.owner, {SUBSCRIBER_ROLE})
    ensure_unsubscribed_application(wso2, "Stranger", EVAPP.owner, settings.require_evapp_password())
    portal = wso2.open_portal(EVAPP.owner, settings.require_evapp_password())
    application_id = portal.find_application(EVAPP.name) or ""
    held = portal.list_subscriptions(application_id)[0]
    # A run that was cut off finds what it was about to make.
    portal.create_application(EVAPP.name, "again")
    portal.subscribe(application_id, held.api_id, held.plan)
    portal.generate_keys(application_id)
    portal.change_plan(application_id, held, held.plan)
    portal.delete_application(portal.find_application("Stranger") or "")
    portal.delete_application("unknown")
    wso2.admin.delete_application("unknown")
    # Whoever owns it may do so, by a role that the bootstrap only lends.
    assert wso2.publisher.get("unknown") is None
    with pytest.raises(ProvisioningError):
        wso2.admin_portal.list_subscriptions(application_id)
    with pytest.raises(ProvisioningError):
        Wso2(
            http, settings.model_copy(update={"wso2_admin_password": SecretStr("wrong-Passw0rd")})
        ).admin.list_policies(artifacts.policies[0].kind)
    broken = artifacts.apis[0].api.model_copy(update={"policies": ("NoSuchPlan",)})
    with pytest.raises(ProvisioningError):
        wso2.publisher.import_project(replace(artifacts.apis[0], api=broken))


def _verify(http: HttpClient, settings: ProvisioningSettings, artifacts: Artifacts) -> None:
    """Look at every fact once. Without services some cannot hold, which is not the question here."""
    site = VerificationContext(http, settings, artifacts, SystemClock())
    for result in run_rows(site, build_all_rows(site, echo=None, echo_url=None, metrics_log=None), print):
        print(result.state, result.name, result.observed)


def _operate_apis(admin: Operator, stranger: Operator, artifacts: Artifacts) -> None:
    base = publisher.BASE
    stranger.call("GET", f"{base}/apis")
    api = admin.call("GET", f"{base}/apis", params={"query": "name:SolarAPI version:1.0.0"})["list"][0]["id"]
    for part in ("", "/swagger", "/lifecycle-state", "/deployments", "/revisions"):
        admin.call("GET", f"{base}/apis/{api}{part}")
        admin.call("GET", f"{base}/apis/unknown{part}")
    upload = {"file": ("SolarAPI-1.0.0.zip", write_api_archive(artifacts.find_api("SolarAPI")), "application/zip")}
    text = {"Accept": "text/plain"}
    admin.call("POST", f"{base}/apis/import", params={"overwrite": "true"}, files=upload, headers=text)
    admin.call("POST", f"{base}/apis/import", params={"overwrite": "false"}, files=upload)
    admin.call("POST", f"{base}/apis/import", files={"file": ("x.zip", b"no archive", "application/zip")})
    revision = admin.call("POST", f"{base}/apis/{api}/revisions", json={"description": "by hand"})["id"]
    named = {"revisionId": revision}
    default = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]
    admin.call("POST", f"{base}/apis/{api}/deploy-revision", params=named, json=default)
    admin.call("POST", f"{base}/apis/{api}/deploy-revision", params=named, json=[{"name": "Nowhere"}])
    admin.call("DELETE", f"{base}/apis/{api}/revisions/{revision}")
    admin.call("POST", f"{base}/apis/{api}/undeploy-revision", params=named, json=default)
    admin.call("DELETE", f"{base}/apis/{api}/revisions/{revision}")
    admin.call("DELETE", f"{base}/apis/{api}/revisions/unknown")
    for action in ("Block", "Block", "Re-Publish"):
        admin.call("POST", f"{base}/apis/change-lifecycle", params={"apiId": api, "action": action})
    found = admin.call("GET", f"{base}/subscriptions", params={"apiId": api})["list"][0]["subscriptionId"]
    for subscription in (found, "unknown"):
        blocked = {"subscriptionId": subscription, "blockState": "BLOCKED"}
        admin.call("POST", f"{base}/subscriptions/block-subscription", params=blocked)
        admin.call("POST", f"{base}/subscriptions/unblock-subscription", params={"subscriptionId": subscription})


def _operate_servers(admin: Operator, owner: Operator) -> None:
    base, servers = publisher.BASE, f"{publisher.BASE}/mcp-servers"
    api = admin.call("GET", f"{base}/apis", params={"query": "name:SolarAPI version:1.0.0"})["list"][0]["id"]
    behind = {"apiId": api, "backendOperation": {"target": "/solar-status", "verb": "GET"}}
    wanted = {"name": "ByHandMCP", "context": "/by-hand-mcp", "version": "1.0.0", "policies": ["Energy10PerMin"]}
    wanted |= {"description": "made by hand", "operations": [{"feature": "TOOL", "apiOperationMapping": behind}]}
    made = admin.call("POST", f"{servers}/generate-from-api", json=wanted)
    admin.call("POST", f"{servers}/generate-from-api", json=wanted)
    admin.call("POST", f"{servers}/generate-from-api", json=wanted | {"name": "Other", "policies": ["NoSuchPlan"]})
    admin.call("GET", servers, params={"query": "name:ByHandMCP version:1.0.0"})
    admin.call("GET", f"{base}/apis/{api}/mcp-servers-usage")
    server = made["id"]
    admin.call("PUT", f"{servers}/{server}", json=made | {"displayName": "By hand"})
    admin.call("PUT", f"{servers}/{server}", json=made | {"context": "/elsewhere"})
    revision = admin.call("POST", f"{servers}/{server}/revisions", json={"description": "by hand"})["id"]
    named = {"revisionId": revision}
    default = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]
    admin.call("POST", f"{servers}/{server}/deploy-revision", params=named, json=default)
    admin.call("DELETE", f"{servers}/{server}/revisions/{revision}")
    for part in ("", "/lifecycle-state", "/deployments", "/revisions"):
        admin.call("GET", f"{servers}/{server}{part}")
        admin.call("GET", f"{servers}/unknown{part}")
    for action in ("Publish", "Publish"):
        admin.call("POST", f"{servers}/change-lifecycle", params={"mcpServerId": server, "action": action})
    owner.call("GET", f"{devportal.BASE}/mcp-servers", params={"query": "name:ByHandMCP"})
    application = owner.call("GET", f"{devportal.BASE}/applications")["list"][0]["applicationId"]
    subscribed = {"applicationId": application, "apiId": server, "throttlingPolicy": "Energy10PerMin"}
    held = owner.call("POST", f"{devportal.BASE}/subscriptions", json=subscribed)["subscriptionId"]
    admin.call("DELETE", f"{servers}/{server}")
    owner.call("DELETE", f"{devportal.BASE}/subscriptions/{held}")
    admin.call("POST", f"{servers}/{server}/undeploy-revision", params=named, json=default)
    admin.call("DELETE", f"{servers}/{server}/revisions/{revision}")
    admin.call("DELETE", f"{servers}/{server}")


def _operate_policies(admin: Operator) -> None:
    base = f"{throttling.BASE}/throttling"
    for kind in PolicyKind:
        url = f"{base}/policies/{kind.path_segment}"
        listed = admin.call("GET", url)["list"]
        policy = admin.call("GET", f"{url}/{listed[-1]['policyId']}")
        described = {name: value for name, value in policy.items() if name != "policyId"}
        for _ in range(2):
            admin.call("POST", url, json=described | {"policyName": "ByHand"})
        admin.call("PUT", f"{url}/{policy['policyId']}", json=described)
        admin.call("GET", f"{url}/unknown")
    upload = {"file": ("plan.yaml", (WSO2_DIR / "policies" / "Energy10PerMin.yaml").read_bytes(), "application/yaml")}
    for overwrite in ("true", "false"):
        admin.call("POST", f"{base}/policies/import", params={"overwrite": overwrite}, files=upload)
    for condition in (
        {"conditionType": "APPLICATION", "conditionValue": "evapp:EVApp", "conditionStatus": True},
        {"conditionType": "IP", "conditionValue": {"fixedIp": "10.0.0.1", "invert": False}, "conditionStatus": True},
    ):
        made = admin.call("POST", f"{base}/deny-policies", json=condition)["conditionId"]
        admin.call("POST", f"{base}/deny-policies", json=condition)
        admin.call("GET", f"{base}/deny-policies")
        admin.call("GET", f"{base}/deny-policy/{made}")
        admin.call("PATCH", f"{base}/deny-policy/{made}", json={"conditionStatus": False})
        admin.call("DELETE", f"{base}/deny-policy/{made}")
        admin.call("GET", f"{base}/deny-policy/{made}")


def _operate_applications(admin: Operator, owner: Operator) -> None:
    base = devportal.BASE
    api = owner.call("GET", f"{base}/apis", params={"query": "name:SolarAPI"})["list"][0]["id"]
    application = {"name": "ByHand", "throttlingPolicy": "Unlimited", "description": "made by hand"}
    made = owner.call("POST", f"{base}/applications", json=application)["applicationId"]
    owner.call("GET", f"{base}/applications/{made}")
    owner.call("GET", f"{base}/applications/unknown")
    owner.call("PUT", f"{base}/applications/{made}", json=application | {"description": "changed"})
    wanted = {"applicationId": made, "apiId": api, "throttlingPolicy": "Energy10PerMin"}
    [subscription] = owner.call("POST", f"{base}/subscriptions/multiple", json=[wanted])
    owner.call("POST", f"{base}/subscriptions", json=wanted | {"throttlingPolicy": "NoSuchPlan"})
    owner.call("DELETE", f"{base}/subscriptions/{subscription['subscriptionId']}")
    owner.call("DELETE", f"{base}/subscriptions/unknown")
    keys = {"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"], "callbackUrl": ""}
    mapping = owner.call("POST", f"{base}/applications/{made}/generate-keys", json=keys)["keyMappingId"]
    owner.call("GET", f"{base}/applications/{made}/oauth-keys/{mapping}")
    owner.call("GET", f"{base}/applications/{made}/oauth-keys/unknown")
    admin_base = f"{throttling.BASE}/applications"
    admin.call("GET", admin_base, params={"user": EVAPP.owner, "name": "ByHand"})
    for new_owner in ("admin", "nobody"):
        admin.call("POST", f"{admin_base}/{made}/change-owner", params={"owner": new_owner})


def _take_down(admin: Operator, owner: Operator) -> None:
    api = admin.call("GET", f"{publisher.BASE}/apis", params={"query": "name:SolarAPI"})["list"][0]["id"]
    [server] = admin.call("GET", f"{publisher.BASE}/apis/{api}/mcp-servers-usage")["list"]
    for one in (api, server["id"]):
        admin.call("DELETE", f"{publisher.BASE}/apis/{api}")
        for held in owner.call("GET", f"{devportal.BASE}/subscriptions", params={"apiId": one})["list"]:
            owner.call("DELETE", f"{devportal.BASE}/subscriptions/{held['subscriptionId']}")
    admin.call("DELETE", f"{publisher.BASE}/mcp-servers/{server['id']}")
    for _ in range(2):
        admin.call("DELETE", f"{publisher.BASE}/apis/{api}")
    for kind in PolicyKind:
        url = f"{throttling.BASE}/throttling/policies/{kind.path_segment}"
        made = next(policy for policy in admin.call("GET", url)["list"] if policy["policyName"] == "ByHand")
        for _ in range(2):
            admin.call("DELETE", f"{url}/{made['policyId']}")


def test_only_known_departures_from_the_specifications_cross_the_wire(
    specifications: "dict[str, Specification]", exchanges: list[Exchange]
) -> None:
    found: set[tuple[str, str, str]] = set()
    for specification, exchange in _match_specifications(specifications, exchanges):
        complaints = specification.of_request(exchange.request)
        complaints |= specification.of_answer(exchange.request, exchange.answer)
        found |= {(complaint.surface, complaint.place, complaint.what) for complaint in complaints}

    known = {complaint for departure in DEPARTURES for complaint in departure.complaints()}
    assert sorted(found - known) == []
    assert sorted(known - found) == [], "these no longer occur: take them from the list"


def test_every_operation_of_the_specified_surfaces_was_called(
    specifications: "dict[str, Specification]", exchanges: list[Exchange]
) -> None:
    called = {
        (exchange.request.method, exchange.request.url.path)
        for _, exchange in _match_specifications(specifications, exchanges)
        if exchange.answer.is_success
    }

    offered = {(route.method, route.path) for route in _routes()}
    assert [one for one in sorted(offered) if not any(_is_one_of(call, one) for call in called)] == []


def test_every_token_of_the_provisioning_holds_a_scope_that_the_operation_takes(
    specifications: "dict[str, Specification]", exchanges: list[Exchange]
) -> None:
    calls = [
        (specification.scopes(exchange.request), _scopes_of(exchange.request), str(exchange.request.url.path))
        for specification, exchange in _match_specifications(specifications, exchanges)
        if exchange.is_ours and exchange.request.headers["Authorization"].startswith("Bearer ")
    ]

    assert len(calls) > 20
    assert [call for call in calls if call[0].isdisjoint(call[1])] == []


def test_the_local_gateway_lets_in_no_scope_that_wso2_would_refuse(
    specifications: "dict[str, Specification]", monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[tuple[str, str, frozenset[str]]] = []

    def note(routes: RouteTable, verb: str, path: str, handler: object, scopes: Iterable[str]) -> None:
        accepted.append((verb, cast("Any", routes)._base + path, frozenset(scopes)))

    monkeypatch.setattr(RouteTable, "add", note)
    _routes()

    wrong: list[tuple[str, str, list[str]]] = []
    for specification in specifications.values():
        for verb, path, scopes in accepted:
            allowed = specification.scopes(httpx.Request(verb, f"https://localhost{path}"))
            # No scope at all is written where anybody may call.
            if path.startswith(specification.base_path) and allowed and scopes - allowed:
                wrong.append((verb, path, sorted(scopes - allowed)))
    assert len(accepted) > 40
    assert wrong == []


def test_a_misspelt_field_of_an_answer_is_noticed(
    specifications: "dict[str, Specification]", exchanges: list[Exchange]
) -> None:
    listing = next(
        exchange for exchange in exchanges if exchange.request.url.path.endswith("/apis") and exchange.is_ours
    )
    misspelt = listing.answer.text.replace('"list"', '"lst"')
    answer = httpx.Response(200, content=misspelt, headers={"Content-Type": "application/json"})

    [complaint] = specifications["publisher"].of_answer(listing.request, answer)

    assert (complaint.place, complaint.what) == (
        "GET /apis -> 200",
        "body: Additional properties are not allowed ('lst' was unexpected)",
    )


def test_a_misspelt_parameter_value_of_a_request_is_noticed(
    specifications: "dict[str, Specification]", exchanges: list[Exchange]
) -> None:
    upload = next(exchange.request for exchange in exchanges if exchange.request.url.path.endswith("/apis/import"))
    request = httpx.Request(
        upload.method,
        upload.url.copy_set_param("overwrite", "perhaps"),
        headers=upload.headers,
        content=upload.content,
    )

    assert specifications["publisher"].of_request(upload) == set()
    assert specifications["publisher"].of_request(request) != set()


def _match_specifications(
    specifications: "dict[str, Specification]", exchanges: Iterable[Exchange]
) -> "Iterator[tuple[Specification, Exchange]]":
    """Return the exchanges that a specification covers; tokens, users and the health check have none."""
    for exchange in exchanges:
        for specification in specifications.values():
            if exchange.request.url.path.startswith(f"{specification.base_path}/"):
                yield specification, exchange


def _routes() -> list[web.RouteDef]:
    # Whoever only lists the operations does not need what they work with.
    context, oauth = cast("ManagementContext", None), cast("OAuthServer", None)
    return [
        *build_registration_routes(context),
        *publisher.PublisherApi(context).routes(),
        *mcp_servers.McpServersApi(context).routes(),
        *devportal.ApplicationsApi(context).routes(),
        *subscriptions.SubscriptionsApi(context).routes(),
        *ApplicationKeysApi(context, oauth).routes(),
        *throttling.ThrottlingPoliciesApi(context).routes(),
        *AdminApi(context).routes(),
    ]


def _is_one_of(call: tuple[str, str], offered: tuple[str, str]) -> bool:
    # The segments that vary are ids; a word of another operation is none.
    pattern = re.sub(r"\{[^}]*\}", r"(?!import$|multiple$|change-lifecycle$|generate-from-api$)[^/]+", offered[1])
    return call[0] == offered[0] and re.fullmatch(pattern, call[1]) is not None


def _scopes_of(request: httpx.Request) -> frozenset[str]:
    payload = request.headers["Authorization"].split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return frozenset(claims["scope"].split())
