"""Rows on tools with arguments and limits: what reaches the service, and which limit applies.

Uses an MCP server of its own, whose tools call the echo backend if the gateway reaches it.
Source of the expectations: WSO2 API Manager 4.6.0 (McpMediator, MCPUtils, ThrottleHandler); what they leave open is
recorded without comparison.
"""

from functools import cached_property
from typing import Any

import httpx
from pydantic import SecretStr

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import Identity
from wso2_provisioning.mcp_steps import ensure_mcp_servers
from wso2_provisioning.steps import LiveProduct
from wso2_provisioning.verification import own_artifacts, own_tools
from wso2_provisioning.verification.context import SETTLES_S, VerificationContext
from wso2_provisioning.verification.echo import EchoBackend
from wso2_provisioning.verification.formatting import describe_access, format_status, parse_body
from wso2_provisioning.verification.mcp_rows import RECORDED
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError
from wso2_terms import mcp
from wso2_terms.artifacts import Artifacts
from wso2_terms.codes import API_THROTTLED, RESOURCE_THROTTLED

APPLICATIONS = LIMITS, LISTS = ("ToolLimits", "ToolLists")
ODD_NAME, ODD_TEXT = "a b", "a&b=c"
"""Arguments that need escaping in a path and in a query."""
_DISCOVER = "server/discover"
_THROTTLED = 429
_MOST_CALLS = 40


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
