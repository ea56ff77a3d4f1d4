"""The policy that the artifacts state, tried without a network on the rules of the local gateway."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from local_gateway.gateway.admission import Credentials, authorize
from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.oauth import build_scope_bindings
from local_gateway.state import (
    ApiRecord,
    Application,
    GatewayState,
    McpServerRecord,
    OAuthClient,
    PolicyRecord,
    Revision,
    Subscription,
)
from local_gateway.tokens import AccessToken
from local_gateway.users import grant_scopes
from wso2_provisioning.applications import APPLICATIONS, ASSISTANT, CHARGERS_API, EVAPP, OPERATOR
from wso2_provisioning.mcp_servers import build_server_body
from wso2_provisioning.policy_cases import (
    Case,
    CaseAnswer,
    PolicyEndpoint,
    Situation,
    generate_cases,
    list_endpoints,
    parse_case_answer,
    run_cases,
)
from wso2_provisioning.verification.rows import RowState
from wso2_terms.artifacts import Artifacts
from wso2_terms.codes import CONNECTION_FAILED, NOT_SUBSCRIBED, SCOPE_MISSING, SUBSCRIPTION_THROTTLED
from wso2_terms.mcp import TOOL_MISSING, build_error, build_not_json_error, build_result, build_tool_result
from wso2_terms.tools import to_stored_tool

if TYPE_CHECKING:
    from tests.unit.wso2_provisioning.conftest import JSON

# Reviewed by people: who may do what. A change of the artifacts that widens a right has to be made here as well.
MAY = {
    "EVApp": {
        "SolarAPI GET /solar/1.0.0/solar-status",
        "SolarAPI GET /solar/1.0.0/history",
        "BatteryAPI GET /battery/1.0.0/battery-status",
        "BatteryAPI GET /battery/1.0.0/history",
        "GridAPI GET /grid/1.0.0/grid-load",
        "GridAPI GET /grid/1.0.0/history",
        "GridAPI GET /grid/1.0.0/grid-forecast",
        "GridAPI GET /grid/1.0.0/grid-prices",
        "ChargerAPI GET /chargers/1.0.0/chargers",
        "ChargerAPI GET /chargers/1.0.0/chargers/none",
        "ChargerAPI GET /chargers/1.0.0/sessions",
        "ChargerAPI GET /chargers/1.0.0/session-forecasts",
        "ChargerControlAPI PUT /charger-control/1.0.0/limits",
        "SolarMCP getSolarStatus",
        "BatteryMCP getBatteryStatus",
        "GridMCP getGridLoad",
        "GridMCP getGridPrices",
        "GridMCP getGridForecast",
    },
    "Assistant": {
        "AgentAPI GET /agent/1.0.0/optimize-charging",
        "AgentAPI GET /agent/1.0.0/site-status",
        "AgentAPI GET /agent/1.0.0/plan",
        "AgentAPI GET /agent/1.0.0/decisions",
        "AgentAPI GET /agent/1.0.0/decisions/none",
        "AgentAPI GET /agent/1.0.0/decisions/none/explain",
        "AgentMCP optimize_charging",
        "AgentMCP site_status",
        "AgentMCP get_plan",
        "AgentMCP list_decisions",
        "AgentMCP explain_decision",
    },
    "Operator": {
        "ChargerAPI GET /chargers/1.0.0/chargers",
        "ChargerAPI GET /chargers/1.0.0/chargers/none",
        "ChargerAPI GET /chargers/1.0.0/sessions",
        "ChargerAPI GET /chargers/1.0.0/session-forecasts",
        "SiteAPI GET /site/1.0.0/kills",
        "SiteAPI POST /site/1.0.0/kills",
        "SiteAPI PUT /site/1.0.0/site/limit",
        "SiteAPI GET /site/1.0.0/session-records",
        "SiteAPI PUT /site/1.0.0/sessions/none/departure",
        "SiteAPI PUT /site/1.0.0/sessions/none/mode",
        "SiteAPI PUT /site/1.0.0/override",
        "SiteAPI GET /site/1.0.0/override",
        "SiteAPI GET /site/1.0.0/orders",
    },
}


class Rules:
    """The local gateway's own rules over a state made from the artifacts; counts no calls."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._state = state_of(artifacts)
        self._snapshot = take_snapshot(self._state)
        self._roles = {spec.name: {role.lower() for role in spec.collect_roles(artifacts)} for spec in APPLICATIONS}

    def granted(self, application: str, asked: Iterable[str]) -> frozenset[str]:
        bindings = build_scope_bindings(self._state)
        return frozenset(
            grant_scopes(
                sorted(asked),
                self._roles[application],
                bindings,
                always_allowed=(),
                grant_unregistered=False,
            )
        )

    def call(self, application: str, door: PolicyEndpoint, scopes: frozenset[str]) -> CaseAnswer:
        token = AccessToken("j", application, application, scopes, 2.0**31, {})
        credentials = Credentials(is_present=True, token=token, is_live=True)
        if door.tool is None:
            served = next(api for api in self._snapshot.apis if api.name == door.product)
            target = next(
                one for one in served.resources if one.verb == door.verb and fits(one.target, served.context, door.path)
            )
        else:
            served = next(server for server in self._snapshot.mcp_servers if server.name == door.product)
            target = served.tools[door.tool].resource
        found = authorize(served, target, credentials, self._snapshot)
        return (
            CaseAnswer(found.fault.http_status, found.fault.code)
            if isinstance(found, Rejection)
            else CaseAnswer(200, "")
        )


def fits(target: str, context: str, path: str) -> bool:
    parts, asked = (context + target).split("/"), path.split("/")
    return len(parts) == len(asked) and all(
        one.startswith("{") or one == two for one, two in zip(parts, asked, strict=True)
    )


def state_of(artifacts: Artifacts) -> GatewayState:
    state = GatewayState()
    moment: JSON = {"created_at_ms": 0, "updated_at_ms": 0}
    everywhere: list[JSON] = [{"name": "Default"}]
    for policy in artifacts.policies:
        data = policy.data.model_dump(mode="json", by_alias=True)
        state.policies[policy.name] = PolicyRecord(policy_id=policy.name, kind=policy.kind.value, data=data)
    for project in artifacts.apis:
        data = project.api.model_dump(mode="json", by_alias=True)
        revision = Revision(
            revision_id="1", number=1, description="", created_at_ms=0, data=data, environments=everywhere
        )
        state.apis[project.api.name] = ApiRecord(
            api_id=project.api.name,
            provider="admin",
            lifecycle="PUBLISHED",
            data=data,
            definition=project.definition,
            revisions=[revision],
            **moment,
        )
    for project in artifacts.mcp_servers:
        behind = artifacts.find_underlying_api(project)
        data = build_server_body(project, behind.api.name, behind.api.versioned_context)
        for operation, sent in zip(project.server.operations, data["operations"], strict=True):
            tool = to_stored_tool(operation, behind.definition)
            assert tool is not None
            sent |= {"target": tool.target, "schemaDefinition": tool.schema_definition}
        revision = Revision(
            revision_id="1", number=1, description="", created_at_ms=0, data=data, environments=everywhere
        )
        name = project.server.name
        state.mcp_servers[name] = McpServerRecord(
            server_id=name, provider="admin", lifecycle="PUBLISHED", data=data, revisions=[revision], **moment
        )
    for number, spec in enumerate(APPLICATIONS):
        state.applications[spec.name] = Application(
            application_id=spec.name,
            number=number,
            name=spec.name,
            owner=spec.owner,
            throttling_policy="Unlimited",
            **moment,
        )
        state.clients[spec.name] = OAuthClient(
            client_id=spec.name,
            client_secret="",
            name=spec.name,
            owner=spec.owner,
            grant_types=[],
            application_id=spec.name,
        )
        for product in spec.products:
            state.subscriptions[f"{spec.name} {product}"] = Subscription(
                subscription_id=f"{spec.name} {product}",
                application_id=spec.name,
                api_id=product,
                throttling_policy="Energy10PerMin",
            )
    return state


@pytest.fixture
def rules(artifacts: Artifacts) -> Rules:
    return Rules(artifacts)


def list_allowed(artifacts: Artifacts) -> dict[str, set[str]]:
    passing = [case for case in generate_cases(artifacts) if case.expected is None]
    return {
        spec.name: {case.endpoint.name for case in passing if case.application == spec.name} for spec in APPLICATIONS
    }


def test_who_may_do_what_is_what_was_reviewed(artifacts: Artifacts) -> None:
    assert list_allowed(artifacts) == MAY


def test_only_the_operator_is_ever_granted_site_operate(artifacts: Artifacts, rules: Rules) -> None:
    every = [scope.name for scope in artifacts.list_scopes()]

    for spec in APPLICATIONS:
        assert rules.granted(spec.name, every) == spec.collect_scopes(artifacts)
    assert "site:operate" in OPERATOR.collect_scopes(artifacts)
    assert not {"site:operate", "agent:read", "agent:tools"} & EVAPP.collect_scopes(artifacts)
    assert ASSISTANT.collect_scopes(artifacts) == {"agent:read", "agent:tools"}


def test_the_assistant_can_only_read(artifacts: Artifacts) -> None:
    behind = {
        operation.api_operation_mapping.backend_operation.verb
        for operation in artifacts.find_mcp_server("AgentMCP").server.operations
    }

    assert {door.verb for door in list_endpoints(artifacts) if door.product == "AgentAPI"} == behind == {"GET"}


def test_every_door_needs_a_scope_and_whatever_changes_anything_has_one_holder_alone(artifacts: Artifacts) -> None:
    for door in list_endpoints(artifacts):
        assert door.scopes, door.name
        holders = [spec.name for spec in APPLICATIONS if door.scopes & spec.collect_scopes(artifacts)]
        # An operator has to see whom an order is for.
        assert holders == ["EVApp", "Operator"] if door.product == CHARGERS_API else len(holders) == 1, door.name
        assert door.product != CHARGERS_API or door.verb == "GET"


def test_every_door_and_application_has_its_cases(artifacts: Artifacts) -> None:
    made = generate_cases(artifacts)

    # SiteAPI has no plan to spend.
    planned = sum(len([name for name in spec.products if name != "SiteAPI"]) for spec in APPLICATIONS)
    assert len(made) == 3 * len(APPLICATIONS) * len(list_endpoints(artifacts)) + planned
    assert len({case.name for case in made}) == len(made)
    assert {case.expected for case in made} == {None, NOT_SUBSCRIBED, SCOPE_MISSING, SUBSCRIPTION_THROTTLED}


class RulesGateway:
    """The gateway's own rules, without a gateway."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.granted: dict[str, frozenset[str]] = {}

    def request_token(self, application: str, scopes: frozenset[str]) -> str:
        token = f"{application} {len(self.granted)}"
        self.granted[token] = self.rules.granted(application, scopes)
        return token

    def call(self, endpoint: PolicyEndpoint, token: str) -> CaseAnswer:
        return self.rules.call(token.split()[0], endpoint, self.granted[token])


class PlannedGateway:
    """A gateway that lets a number of calls through, and answers with an exceeded plan then."""

    def __init__(self, calls: float) -> None:
        self.calls = calls

    def request_token(self, application: str, scopes: frozenset[str]) -> str:
        return f"{application} {len(scopes)}"

    def call(self, endpoint: PolicyEndpoint, token: str) -> CaseAnswer:
        self.calls -= 1
        if self.calls >= 0:
            return CaseAnswer(200, "")
        return CaseAnswer(SUBSCRIPTION_THROTTLED.http_status, SUBSCRIPTION_THROTTLED.code)


def test_the_rules_of_the_gateway_end_every_case_as_expected(artifacts: Artifacts, rules: Rules) -> None:
    wanted = [case for case in generate_cases(artifacts) if case.situation is not Situation.PLAN_SPENT]

    tried = run_cases(wanted, RulesGateway(rules))

    assert [one.name for one in tried if one.state is not RowState.HOLDS] == []


def test_a_scope_bound_to_a_role_of_somebody_else_ends_a_case_otherwise(artifacts: Artifacts) -> None:
    site = artifacts.find_api("SiteAPI")
    (listed,) = site.api.scopes
    scope = listed.scope.model_copy(update={"bindings": ("Internal/solar_reader",)})
    widened = site.api.model_copy(update={"scopes": (listed.model_copy(update={"scope": scope}),)})
    others = [project for project in artifacts.apis if project is not site]
    rules = Rules(replace(artifacts, apis=(*others, replace(site, api=widened))))

    assert "site:operate" in rules.granted("EVApp", ["site:operate"])


@pytest.mark.parametrize(
    ("status", "body", "is_through"),
    [
        (200, {"generation_kw": 1.0}, True),
        (404, {"code": "not_found", "title": "no such decision"}, True),
        (500, CONNECTION_FAILED.body(), True),
        (502, None, True),
        (200, build_result(1, build_tool_result("{}", is_error=True)), True),
        (500, build_error("1", build_not_json_error("application/problem+json")), True),
        (200, build_error("1", TOOL_MISSING), False),
        (404, {"code": "404", "message": "Not Found"}, False),
        (403, NOT_SUBSCRIBED.body(), False),
        (429, SUBSCRIPTION_THROTTLED.body(), True),
    ],
)
def test_let_through_is_every_answer_that_is_no_refusal_of_the_gateway(
    artifacts: Artifacts, status: int, body: object, is_through: bool
) -> None:
    case = next(case for case in generate_cases(artifacts) if case.expected is None)

    assert case.is_satisfied_by(parse_case_answer(status, body)) is is_through


def test_a_plan_is_spent_by_calling_until_the_gateway_says_so(artifacts: Artifacts) -> None:
    spending: Case = next(case for case in generate_cases(artifacts) if case.situation is Situation.PLAN_SPENT)
    assert spending.endpoint.quota is not None

    (tried,) = run_cases([spending], PlannedGateway(spending.endpoint.quota))
    (never,) = run_cases([spending], PlannedGateway(math.inf))

    assert tried.state is RowState.HOLDS
    assert never.state is RowState.DIFFERS
