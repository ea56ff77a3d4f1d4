"""Rows on MCP servers: protection and answers of their tools, the ways to stop a caller, arguments and limits.

The first MCP server is called with an application that is subscribed to the server only, not to the API behind it; for
arguments and limits there is a server whose tools call the echo backend, if the gateway reaches it.
Source of the expectations: WSO2 API Manager 4.6.0 (McpInitHandler, McpMediator, MCPUtils, ThrottleHandler and its own
integration tests); what they leave open is recorded without comparison.
"""

from functools import cached_property
from typing import Any

import httpx
from pydantic import SecretStr

from wso2_provisioning.admin import DenyTarget
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import Identity
from wso2_provisioning.mcp_steps import ensure_mcp_servers
from wso2_provisioning.steps import LiveProduct
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification import own_artifacts, own_tools
from wso2_provisioning.verification.context import OWNER, PREFIX, SETTLES_S, VerificationContext
from wso2_provisioning.verification.echo import EchoBackend
from wso2_provisioning.verification.formatting import describe_access, format_status, parse_body
from wso2_provisioning.verification.refusal_rows import ACTIVITY
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError
from wso2_terms import mcp
from wso2_terms.artifacts import Artifacts
from wso2_terms.codes import (
    API_THROTTLED,
    DENIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    NOT_SUBSCRIBED,
    RESOURCE_THROTTLED,
    SCOPE_MISSING,
    SUBSCRIPTION_BLOCKED,
    SUBSCRIPTION_THROTTLED,
    Fault,
)
from wso2_terms.mcp_project import McpServerProject
from wso2_terms.tools import list_tools

APPLICATION, STRANGER = "Tools", "ToolsStranger"
RECORDED = "recorded"
REACHES_S = 10.0
_NEWER_REVISION = "2025-11-25"
_MOST_CALLS = 40
_THROUGH = "let through"


class McpRows:
    """Rows with one application of their own."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context
        self._project: McpServerProject = EVAPP.find_mcp_projects(context.artifacts)[0]
        behind = context.artifacts.find_underlying_api(self._project)
        self._tool = list_tools(self._project.server, behind.definition)[0].name
        self._scope = self._project.server.scopes[0].scope.name
        self.activity_id: str | None = None
        self._path = self._project.server.versioned_context + mcp.MCP_RESOURCE

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        gateway, keys = "the gateway", "an application of EVApp's owner"
        unsupported = f"error {mcp.INVALID_PARAMS}"
        return [
            Row("MCP: initialize", gateway, f"200 {mcp.PROTOCOL_VERSION}", self._observe_initialize),
            Row("MCP: initialize, newer revision", gateway, unsupported, self._observe_unsupported_revision),
            Row("MCP: list without a token", gateway, RECORDED, self._observe_open_list),
            Row("MCP: call without a token", gateway, _format_fault(MISSING_CREDENTIALS), self._observe_missing_token),
            Row("MCP: its WWW-Authenticate", gateway, RECORDED, self._observe_challenge),
            Row("MCP: metadata of the resource", gateway, RECORDED, self._observe_metadata),
            Row("MCP: GET", gateway, "405", self._observe_get),
            Row("MCP: names of the tools", keys, self._tool, self._observe_tool_names),
            Row("MCP: call, not subscribed to the API behind", keys, _THROUGH, self._observe_call),
            Row("MCP: call without the tool's scope", keys, _format_fault(SCOPE_MISSING), self._observe_missing_scope),
            Row("MCP: call, not subscribed", keys, _format_fault(NOT_SUBSCRIBED), self._observe_unsubscribed_call),
            Row("MCP: tool that is not there", keys, f"200 error {mcp.INVALID_REQUEST}", self._observe_unknown_tool),
            Row("MCP: method that is not known", keys, RECORDED, self._observe_unknown_method),
            Row("MCP: call over the plan", keys, _format_fault(SUBSCRIPTION_THROTTLED), self._observe_throttling),
            Row("MCP: subscription blocked", keys, _format_fault(SUBSCRIPTION_BLOCKED), self._observe_block),
            Row("MCP: subscription unblocked", keys, _THROUGH, self._observe_unblock),
            Row("MCP: deny policy on the application", keys, _format_fault(DENIED), self._observe_deny),
            Row("MCP: deny policy deleted", keys, _THROUGH, self._observe_allow),
            Row("MCP: revoked token", keys, _format_fault(INVALID_CREDENTIALS), self._observe_revocation),
        ]

    @cached_property
    def _server_id(self) -> str:
        server = self._project.server
        found = self._context.mcp_servers.find(server.name, server.version)
        if found is None:
            raise ProvisioningError(f"{server.name} is not there: run the bootstrap first")
        return found.server_id

    @cached_property
    def _keys(self) -> ClientCredentials:
        context = self._context
        keys = context.ensure_application(APPLICATION, subscribed=False)
        context.portal.subscribe(
            context.application_id_of(APPLICATION), self._server_id, self._project.server.policies[0]
        )
        return keys

    @cached_property
    def _token(self) -> SecretStr:
        token = self._context.request_token(self._keys, self._scope)
        if self._measure_until(token, _THROUGH, SETTLES_S) is None:
            raise ProvisioningError(f"the gateway does not let {PREFIX}{APPLICATION} through")
        return token

    def _post(self, token: SecretStr | None, method: str, **params: object) -> httpx.Response:
        identity = None if token is None else Identity.from_token("an application", token)
        message: dict[str, Any] = {"jsonrpc": mcp.JSONRPC_VERSION, "id": 1, "method": method, "params": params}
        url = self._context.settings.wso2_gateway_url + self._path
        return self._context.http.send_once("POST", url, identity, json=message, headers={"Accept": "application/json"})

    def _call(self, token: SecretStr | None) -> httpx.Response:
        return self._post(token, mcp.TOOLS_CALL, name=self._tool, arguments={})

    def _measure_until(self, token: SecretStr, wanted: str, longest_s: float = REACHES_S) -> float | None:
        found, took_s = self._context.poll(
            lambda: self._call(token), lambda it: describe_access(it) == wanted, longest_s
        )
        return None if found is None else took_s

    def _initialize(self, revision: str) -> httpx.Response:
        client = {"name": "verify", "version": "1"}
        return self._post(None, mcp.INITIALIZE, protocolVersion=revision, capabilities={}, clientInfo=client)

    def _observe_initialize(self) -> Observation:
        answer = self._initialize(mcp.PROTOCOL_VERSION)
        return Observation(f"{answer.status_code} {parse_body(answer).get('result', {}).get('protocolVersion')}")

    def _observe_unsupported_revision(self) -> Observation:
        answer = self._initialize(_NEWER_REVISION)
        return Observation(_format_error(answer), str(answer.status_code))

    def _observe_open_list(self) -> Observation:
        return Observation(RECORDED, describe_access(self._post(None, mcp.TOOLS_LIST)))

    def _observe_missing_token(self) -> Observation:
        return Observation(format_status(self._call(None)))

    def _observe_challenge(self) -> Observation:
        return Observation(RECORDED, self._call(None).headers.get("WWW-Authenticate", "none"))

    def _observe_metadata(self) -> Observation:
        answer = self._context.call(None, self._project.server.versioned_context + mcp.METADATA_RESOURCE)
        return Observation(RECORDED, f"{answer.status_code} {', '.join(sorted(parse_body(answer)))}")

    def _observe_get(self) -> Observation:
        return Observation(str(self._context.call(None, self._path).status_code))

    def _observe_tool_names(self) -> Observation:
        answer = self._post(self._token, mcp.TOOLS_LIST)
        listed = parse_body(answer).get("result", {}).get("tools", [])
        return Observation(" ".join(sorted(str(tool.get("name")) for tool in listed)))

    def _observe_call(self) -> Observation:
        answer = self._call(self._token)
        self.activity_id = answer.headers.get(ACTIVITY)
        return Observation(
            describe_access(answer),
            f"{answer.status_code}, isError {parse_body(answer).get('result', {}).get('isError')}",
        )

    def _observe_missing_scope(self) -> Observation:
        return Observation(format_status(self._call(self._context.request_token(self._keys, "device_without"))))

    def _observe_unsubscribed_call(self) -> Observation:
        token = self._context.request_token(self._context.ensure_application(STRANGER, subscribed=False), self._scope)
        # Until its keys propagate, the gateway returns 900901 (unknown client).
        wanted = _format_fault(NOT_SUBSCRIBED)
        self._measure_until(token, wanted, SETTLES_S)
        return Observation(format_status(self._call(token)))

    def _observe_unknown_tool(self) -> Observation:
        answer = self._post(self._token, mcp.TOOLS_CALL, name="verify_nothing", arguments={})
        return Observation(f"{answer.status_code} {_format_error(answer)}")

    def _observe_unknown_method(self) -> Observation:
        answer = self._post(self._token, "verify/nothing")
        text = f"{answer.status_code} {_format_error(answer)}"
        return Observation(RECORDED, f"{text}, id {parse_body(answer).get('id')!r} for 1")

    def _observe_throttling(self) -> Observation:
        token = self._token
        for passed in range(_MOST_CALLS):
            answer = self._call(token)
            if answer.status_code == SUBSCRIPTION_THROTTLED.http_status:
                return Observation(format_status(answer), f"after {passed} more")
        return Observation(f"no refusal in {_MOST_CALLS} calls")

    def _observe_block(self) -> Observation:
        token = self._token
        self._context.publisher.block_subscription(self._context.find_subscription(APPLICATION).subscription_id)
        return self._observe_change(token, _format_fault(SUBSCRIPTION_BLOCKED))

    def _observe_unblock(self) -> Observation:
        self._context.publisher.unblock_subscription(self._context.find_subscription(APPLICATION).subscription_id)
        return self._observe_change(self._token, _THROUGH)

    def _observe_deny(self) -> Observation:
        token = self._token
        self._context.admin.deny(DenyTarget.for_application(OWNER, PREFIX + APPLICATION))
        return self._observe_change(token, _format_fault(DENIED))

    def _observe_allow(self) -> Observation:
        denied = self._context.admin.deny(DenyTarget.for_application(OWNER, PREFIX + APPLICATION))
        self._context.admin.remove_deny_policy(denied.condition_id)
        return self._observe_change(self._token, _THROUGH)

    def _observe_revocation(self) -> Observation:
        token = self._context.request_token(self._keys, self._scope, "device_revoked")
        self._context.revoke_token(self._keys, token)
        return self._observe_change(token, _format_fault(INVALID_CREDENTIALS))

    def _observe_change(self, token: SecretStr, wanted: str) -> Observation:
        took_s = self._measure_until(token, wanted)
        if took_s is None:
            return Observation(f"still {describe_access(self._call(token))} after {REACHES_S:.0f} s")
        return Observation(wanted, f"{took_s:.2f} s")


def _format_fault(fault: Fault) -> str:
    return f"{fault.http_status} {fault.code}"


def _format_error(answer: httpx.Response) -> str:
    return f"error {parse_body(answer).get('error', {}).get('code')}"


TOOL_APPLICATIONS = LIMITS, LISTS = ("ToolLimits", "ToolLists")
ODD_NAME, ODD_TEXT = "a b", "a&b=c"
"""Arguments that need escaping in a path and in a query."""
_DISCOVER = "server/discover"
_THROTTLED = 429


class ToolRows:
    """Rows with one MCP server and two applications of their own: one without a limit, one with the plan."""

    def __init__(self, context: VerificationContext, echo: EchoBackend | None, echo_url: str | None) -> None:
        self._context = context
        self._echo = echo
        self._echo_url = echo_url
        self._plan = EVAPP.find_mcp_projects(context.artifacts)[0].server.policies[0]

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        gateway, keys = "the gateway", "an application of EVApp's owner"
        of_tool = f"{RESOURCE_THROTTLED.http_status} {RESOURCE_THROTTLED.code}"
        return [
            Row("MCP: server/discover", gateway, RECORDED, self._observe_discovery),
            Row("MCP: arguments in path and query", "--echo-url", RECORDED, self._observe_arguments),
            Row("MCP: limit of the API behind a tool", keys, RECORDED, self._observe_api_limit),
            Row("MCP: call over the tool's own limit", keys, of_tool, self._observe_tool_limit),
            Row("MCP: its Retry-After", "a 429", RECORDED, self._observe_retry_after),
            Row("MCP: list over the plan", keys, RECORDED, self._observe_list_limit),
        ]

    @cached_property
    def _server_id(self) -> str:
        context = self._context
        context.admin.import_policy(own_tools.build_limit())
        api = own_tools.build_api(context.project.api, self._echo_url or own_artifacts.NOBODY)
        context.own_tools_api_id = context.publisher.import_project(api)
        live = context.publisher.get(context.own_tools_api_id)
        server = own_tools.build_server(
            EVAPP.find_mcp_projects(context.artifacts)[0].server, (own_tools.UNLIMITED, self._plan)
        )
        published = LiveProduct(api, context.own_tools_api_id, vhosts={} if live is None else live.vhosts)
        servers = ensure_mcp_servers(
            context.mcp_servers,
            Artifacts(apis=(api,), policies=(), mcp_servers=(server,)),
            {own_tools.API_NAME: published},
            ChangeLog(is_dry_run=False, report=lambda _: None),
        )
        server_id = servers[own_tools.SERVER_NAME].product_id
        assert server_id is not None
        context.own_server_id = server_id
        return server_id

    @cached_property
    def _unlimited(self) -> SecretStr:
        return self._request_token(LIMITS, own_tools.UNLIMITED)

    def _request_token(self, application: str, plan: str) -> SecretStr:
        context, server_id = self._context, self._server_id
        keys = context.ensure_application(application, subscribed=False)
        context.portal.subscribe(context.application_id_of(application), server_id, plan)
        token = context.request_token(keys, own_tools.SCOPE)
        # An unknown tool: the call counts against no tool's limit.
        found, _ = context.poll(
            lambda: self._call(token, "verify_nothing"), lambda answer: answer.status_code == 200, SETTLES_S
        )
        if found is None:
            raise ProvisioningError(f"the gateway does not let the application {application} through")
        return token

    def _post(self, token: SecretStr | None, method: str, **params: object) -> httpx.Response:
        identity = None if token is None else Identity.from_token("an application", token)
        message: dict[str, Any] = {"jsonrpc": mcp.JSONRPC_VERSION, "id": 1, "method": method, "params": params}
        path = f"{own_tools.SERVER_CONTEXT}/{own_tools.VERSION}{mcp.MCP_RESOURCE}"
        url = self._context.settings.wso2_gateway_url + path
        return self._context.http.send_once("POST", url, identity, json=message, headers={"Accept": "application/json"})

    def _call(self, token: SecretStr, tool: str, **arguments: str) -> httpx.Response:
        return self._post(token, mcp.TOOLS_CALL, name=tool, arguments=arguments)

    def _observe_discovery(self) -> Observation:
        token = self._unlimited
        answers: list[str] = []
        for caller in (None, token):
            try:
                answer = self._post(caller, _DISCOVER)
            except ProvisioningError:
                # Some builds send the error's code as the HTTP status, which no client accepts.
                answers.append("no answer that HTTP knows")
                continue
            error = parse_body(answer).get("error", {})
            answers.append(f"{answer.status_code} {error.get('code')}" if error else format_status(answer))
        return Observation(RECORDED, f"without a token {answers[0]}, with one {answers[1]}")

    def _observe_arguments(self) -> Observation:
        if self._echo is None:
            raise RowSkippedError("needs --echo-url, where the gateway reaches this machine")
        token = self._unlimited
        self._echo.path = ""
        answer = self._call(token, own_tools.NOTE_TOOL, name=ODD_NAME, text=ODD_TEXT)
        return Observation(
            RECORDED, f"{describe_access(answer)}, the service is asked for {self._echo.path or 'nothing'}"
        )

    def _observe_api_limit(self) -> Observation:
        token, tries = self._unlimited, 2 * own_tools.LIMITED_CALLS
        refused = sum(
            # As the gateway's own refusal, or inside the tool's result.
            API_THROTTLED.code in answer.text
            for answer in (self._call(token, own_tools.NOTE_TOOL, name="a", text="b") for _ in range(tries))
        )
        return Observation(
            RECORDED, f"{tries - refused} of {tries} pass, the API behind allows {own_tools.LIMITED_CALLS}"
        )

    @cached_property
    def _refusal(self) -> tuple[httpx.Response | None, int]:
        token = self._unlimited
        for passed in range(_MOST_CALLS):
            answer = self._call(token, own_tools.LIMITED_TOOL)
            if answer.status_code == _THROTTLED:
                return answer, passed
        return None, _MOST_CALLS

    def _observe_tool_limit(self) -> Observation:
        answer, passed = self._refusal
        if answer is None:
            return Observation(f"no refusal in {passed} calls")
        return Observation(format_status(answer), f"after {passed}, the tool allows {own_tools.LIMITED_CALLS}")

    def _observe_retry_after(self) -> Observation:
        answer, _ = self._refusal
        if answer is None:
            raise RowSkippedError("needs a 429, and none came")
        moment = parse_body(answer).get("nextAccessTime", "none")
        return Observation(RECORDED, f"{answer.headers.get('Retry-After', 'none')}, nextAccessTime {moment}")

    def _observe_list_limit(self) -> Observation:
        token = self._request_token(LISTS, self._plan)
        for passed in range(_MOST_CALLS):
            answer = self._post(token, mcp.TOOLS_LIST)
            if answer.status_code == _THROTTLED:
                return Observation(RECORDED, f"{format_status(answer)} after {passed}: it counts")
        return Observation(RECORDED, f"no refusal in {_MOST_CALLS}: it does not count")
