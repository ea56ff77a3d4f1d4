"""Allow and deny cases: for each application and each published operation and tool, whether a call passes.

Generated from the artifacts (what is published, under which scope and plan) and from `applications` (who subscribes to
what). `run_cases` makes the calls.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from wso2_provisioning.applications import APPLICATIONS, ApplicationSpec
from wso2_provisioning.verification.rows import Observation, Row, RowResult, check_row
from wso2_terms.api_project import Api
from wso2_terms.artifacts import Artifacts
from wso2_terms.codes import (
    FAULTS_BY_CODE,
    NOT_SUBSCRIBED,
    SCOPE_MISSING,
    SUBSCRIPTION_THROTTLED,
    Fault,
    is_backend_failure,
)
from wso2_terms.mcp import JSONRPC_VERSION, MCP_RESOURCE, TOOLS_CALL, build_not_json_error
from wso2_terms.mcp_project import McpServer
from wso2_terms.tools import list_tools

NO_SCOPE = "device_policy_cases"
"""Requested instead of a published scope: it grants nothing and leaves other tokens valid."""
_LET_THROUGH = "let through"
_NOTHING = "none"
_SPARE_CALLS = 5


class Situation(StrEnum):
    """Scopes and quota with which a call is made."""

    OWN_SCOPES = "with its own scopes"
    NO_SCOPES = "without a scope"
    FOREIGN_SCOPES = "with all scopes that are not its own asked for"
    PLAN_SPENT = "with its plan spent"


@dataclass(frozen=True, slots=True)
class PolicyEndpoint:
    """One published operation or tool."""

    product: str
    """Name of the API or MCP server."""
    verb: str
    path: str
    """Path at the gateway."""
    tool: str | None
    """Name of the tool, None for an operation."""
    scopes: frozenset[str]
    """Scopes of which a token needs one."""
    quota: int | None
    """Calls per minute of its plan, None if the plan has no such limit."""
    required: tuple[str, ...] = ()
    """Required arguments of the tool."""

    @property
    def name(self) -> str:
        """Readable name, e.g. `SolarMCP getSolarStatus` or `SiteAPI POST /site/1.0.0/kills`."""
        return f"{self.product} {self.tool or f'{self.verb} {self.path}'}"

    @property
    def message(self) -> dict[str, Any] | None:
        """Body of the call of a tool, with arguments that match nothing; None for an operation."""
        if self.tool is None:
            return None
        call = {"name": self.tool, "arguments": dict.fromkeys(self.required, _NOTHING)}
        return {"jsonrpc": JSONRPC_VERSION, "id": 1, "method": TOOLS_CALL, "params": call}


@dataclass(frozen=True, slots=True)
class Case:
    """One call and its expected result."""

    application: str
    endpoint: PolicyEndpoint
    situation: Situation
    requested_scopes: frozenset[str]
    expected: Fault | None
    """Refusal, None if the call must be let through."""

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.application} at {self.endpoint.name} {self.situation}: {self.outcome}"

    @property
    def outcome(self) -> str:
        """The expected end: status and code of a refusal, or `let through`."""
        return f"{self.expected.http_status} {self.expected.code}" if self.expected else _LET_THROUGH

    def describe(self, answer: "CaseAnswer") -> str:
        """Describe an answer in the terms of `outcome`."""
        is_through = self.expected is None and self.is_satisfied_by(answer)
        return _LET_THROUGH if is_through else f"{answer.status} {answer.code}".rstrip()

    def is_satisfied_by(self, answer: "CaseAnswer") -> bool:
        """Return whether an answer is the expected one.

        Every answer that is not a refusal by the gateway counts as let through: the service behind may be missing or
        reject the request. So does a used-up quota, because the gateway checks it after the access.
        """
        if self.expected is not None:
            return (answer.status, answer.code) == (self.expected.http_status, self.expected.code)
        fault = FAULTS_BY_CODE.get(answer.code)
        return not answer.code or is_backend_failure(answer.code) or (fault is not None and fault.is_throttle)


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """Result of one call."""

    status: int
    code: str
    """The gateway's code; empty if the service answered."""


def list_endpoints(artifacts: Artifacts) -> tuple[PolicyEndpoint, ...]:
    """Return every published operation and tool."""
    found: list[PolicyEndpoint] = []
    for project in artifacts.apis:
        api, quota = project.api, _find_quota(artifacts, project.api)
        for operation in api.operations:
            # The value of a parameter matches nothing: the service itself may answer 404.
            path = api.versioned_context + re.sub(r"\{[^}]*\}", _NOTHING, operation.target)
            found.append(PolicyEndpoint(api.name, operation.verb, path, None, frozenset(operation.scopes), quota))
    for project in artifacts.mcp_servers:
        server, quota = project.server, _find_quota(artifacts, project.server)
        tools = list_tools(server, artifacts.find_underlying_api(project).definition)
        for operation, tool in zip(server.operations, tools, strict=True):
            path, required = server.versioned_context + MCP_RESOURCE, tuple(tool.input_schema.get("required", ()))
            found.append(
                PolicyEndpoint(server.name, "POST", path, tool.name, frozenset(operation.scopes), quota, required)
            )
    return tuple(found)


def generate_cases(artifacts: Artifacts, applications: Sequence[ApplicationSpec] = APPLICATIONS) -> tuple[Case, ...]:
    """Generate every case; those that spend a plan come last.

    Args:
        artifacts: what is published.
        applications: who calls.
    """
    everything = frozenset(scope.name for scope in artifacts.list_scopes())
    own = {spec.name: spec.collect_scopes(artifacts) for spec in applications}
    published = list_endpoints(artifacts)
    regular = [
        Case(
            spec.name,
            endpoint,
            situation,
            asked,
            _predict_fault(spec, endpoint, asked & own[spec.name]),
        )
        for spec in applications
        for situation, asked in (
            (Situation.OWN_SCOPES, own[spec.name]),
            (Situation.NO_SCOPES, frozenset({NO_SCOPE})),
            (Situation.FOREIGN_SCOPES, everything - own[spec.name] | {NO_SCOPE}),
        )
        for endpoint in published
    ]
    first_of_each = {endpoint.product: endpoint for endpoint in reversed(published)}
    spending = [
        Case(spec.name, first_of_each[name], Situation.PLAN_SPENT, own[spec.name], SUBSCRIPTION_THROTTLED)
        for spec in applications
        for name in spec.products
        if first_of_each[name].quota is not None
    ]
    return (*regular, *spending)


class CaseGateway(Protocol):
    """Gateway at which cases are tried."""

    def request_token(self, application: str, scopes: frozenset[str]) -> str:
        """Return an access token of an application for these scopes; requested once for each set."""
        ...

    def call(self, endpoint: PolicyEndpoint, token: str) -> CaseAnswer:
        """Call an endpoint with a token, with `PolicyEndpoint.message` as JSON body if there is one."""
        ...


def run_cases(cases: Iterable[Case], gateway: CaseGateway) -> list[RowResult]:
    """Make the call of each case, in their order, and compare its end with the expected one."""
    tokens: dict[tuple[str, frozenset[str]], str] = {}
    results: list[RowResult] = []
    for case in cases:
        key = (case.application, case.requested_scopes)
        if key not in tokens:
            tokens[key] = gateway.request_token(*key)
        answer = _run_case(case, gateway, tokens[key])
        observe: Callable[[], Observation] = lambda case=case, answer=answer: Observation(case.describe(answer))  # noqa: E731
        results.append(check_row(Row(case.name, case.application, case.outcome, observe)))
    return results


def parse_case_answer(status: int, body: object) -> CaseAnswer:
    """Parse status and JSON body (None without one) of an answer of the gateway."""
    match body:
        case {"code": str() | int() as code} if str(code).isdigit():
            return CaseAnswer(status, str(code))
        case {"error": {"code": int() as code, "data": str(data)}} if not data.startswith(_FROM_BACKEND):
            return CaseAnswer(status, str(code))
        case _:
            return CaseAnswer(status, "")


# Start of the text for a service's answer that is not plain JSON, e.g. a problem report.
_FROM_BACKEND = str(build_not_json_error("").data).partition(",")[0]


def _run_case(case: Case, gateway: CaseGateway, token: str) -> CaseAnswer:
    answer = gateway.call(case.endpoint, token)
    if case.situation is not Situation.PLAN_SPENT:
        return answer
    # The minute may end meanwhile, and the traffic manager's decision arrives a moment late.
    for _ in range(2 * (case.endpoint.quota or 0) + _SPARE_CALLS):
        if case.is_satisfied_by(answer):
            break
        answer = gateway.call(case.endpoint, token)
    return answer


def _predict_fault(spec: ApplicationSpec, endpoint: PolicyEndpoint, granted: frozenset[str]) -> Fault | None:
    """Predict the fault in the gateway's order: subscription, then scope."""
    if endpoint.product not in spec.products:
        return NOT_SUBSCRIBED
    return SCOPE_MISSING if endpoint.scopes and endpoint.scopes.isdisjoint(granted) else None


def _find_quota(artifacts: Artifacts, product: Api | McpServer) -> int | None:
    plan = artifacts.list_plans().get(product.policies[0])
    return None if plan is None else plan.default_limit.request_count.request_count
