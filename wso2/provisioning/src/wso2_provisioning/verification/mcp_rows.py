"""MCP servers: what they answer, what protects their tools, what stops a caller.

Looks at the first MCP server with an application that is subscribed to it alone, not to the API behind it.
Source of what is expected: WSO2 API Manager 4.6.0 (McpInitHandler, McpMediator, MCPUtils and its own integration
tests); what they leave open is recorded and compared with nothing.
"""

from functools import cached_property
from typing import Any

import httpx
from pydantic import SecretStr

from wso2_provisioning.admin import Denied
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.refusal_rows import ACTIVITY
from wso2_provisioning.verification.rows import Row, Seen
from wso2_provisioning.verification.site import OWNER, PREFIX, SETTLES_S, Site
from wso2_provisioning.verification.told import body_of, coded, passage
from wso2_provisioning.wire import Identity
from wso2_terms import mcp
from wso2_terms.codes import (
    DENIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    NOT_SUBSCRIBED,
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
    """The rows, over one application made for them. activity_id: of the call of a tool that was let through."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._project: McpServerProject = EVAPP.mcp_projects(site.artifacts)[0]
        behind = site.artifacts.find_underlying_api(self._project)
        self._tool = list_tools(self._project.server, behind.definition)[0].name
        self._scope = self._project.server.scopes[0].scope.name
        self.activity_id: str | None = None
        self._path = self._project.server.versioned_context + mcp.MCP_RESOURCE

    def rows(self) -> list[Row]:
        """Every row, in the order in which they are looked at."""
        gateway, keys = "the gateway", "an application of EVApp's owner"
        unsupported = f"error {mcp.INVALID_PARAMS}"
        return [
            Row("MCP: initialize", gateway, f"200 {mcp.PROTOCOL_VERSION}", self._initialized),
            Row("MCP: initialize, newer revision", gateway, unsupported, self._unsupported),
            Row("MCP: list without a token", gateway, RECORDED, self._listed_openly),
            Row("MCP: call without a token", gateway, _coded(MISSING_CREDENTIALS), self._no_token),
            Row("MCP: its WWW-Authenticate", gateway, RECORDED, self._challenge),
            Row("MCP: metadata of the resource", gateway, RECORDED, self._metadata),
            Row("MCP: GET", gateway, "405", self._got),
            Row("MCP: names of the tools", keys, self._tool, self._names),
            Row("MCP: call, not subscribed to the API behind", keys, _THROUGH, self._called),
            Row("MCP: call without the tool's scope", keys, _coded(SCOPE_MISSING), self._no_scope),
            Row("MCP: call, not subscribed", keys, _coded(NOT_SUBSCRIBED), self._stranger),
            Row("MCP: tool that is not there", keys, f"200 error {mcp.INVALID_REQUEST}", self._no_tool),
            Row("MCP: method that is not known", keys, RECORDED, self._no_method),
            Row("MCP: call over the plan", keys, _coded(SUBSCRIPTION_THROTTLED), self._spent),
            Row("MCP: subscription blocked", keys, _coded(SUBSCRIPTION_BLOCKED), self._blocked),
            Row("MCP: subscription unblocked", keys, _THROUGH, self._unblocked),
            Row("MCP: deny policy on the application", keys, _coded(DENIED), self._denied),
            Row("MCP: deny policy deleted", keys, _THROUGH, self._allowed),
            Row("MCP: revoked token", keys, _coded(INVALID_CREDENTIALS), self._revoked),
        ]

    @cached_property
    def _server_id(self) -> str:
        server = self._project.server
        found = self._site.mcp_servers.find(server.name, server.version)
        if found is None:
            raise ProvisioningError(f"{server.name} is not there: run the bootstrap first")
        return found.server_id

    @cached_property
    def _keys(self) -> ClientCredentials:
        site = self._site
        keys = site.application(APPLICATION, subscribed=False)
        site.portal.subscribe(site.application_id(APPLICATION), self._server_id, self._project.server.policies[0])
        return keys

    @cached_property
    def _token(self) -> SecretStr:
        token = self._site.token(self._keys, self._scope)
        if self._until(token, _THROUGH, SETTLES_S) is None:
            raise ProvisioningError(f"the gateway does not let {PREFIX}{APPLICATION} through")
        return token

    def _post(self, token: SecretStr | None, method: str, **params: object) -> httpx.Response:
        identity = None if token is None else Identity.of_token("an application", token)
        message: dict[str, Any] = {"jsonrpc": mcp.JSONRPC_VERSION, "id": 1, "method": method, "params": params}
        url = self._site.settings.wso2_gateway_url + self._path
        return self._site.wire.once("POST", url, identity, json=message, headers={"Accept": "application/json"})

    def _call(self, token: SecretStr | None) -> httpx.Response:
        return self._post(token, mcp.TOOLS_CALL, name=self._tool, arguments={})

    def _until(self, token: SecretStr, wanted: str, longest_s: float = REACHES_S) -> float | None:
        found, took_s = self._site.watch(lambda: self._call(token), lambda it: passage(it) == wanted, longest_s)
        return None if found is None else took_s

    def _initialize(self, revision: str) -> httpx.Response:
        client = {"name": "verify", "version": "1"}
        return self._post(None, mcp.INITIALIZE, protocolVersion=revision, capabilities={}, clientInfo=client)

    def _initialized(self) -> Seen:
        answer = self._initialize(mcp.PROTOCOL_VERSION)
        return Seen(f"{answer.status_code} {body_of(answer).get('result', {}).get('protocolVersion')}")

    def _unsupported(self) -> Seen:
        answer = self._initialize(_NEWER_REVISION)
        return Seen(_error(answer), str(answer.status_code))

    def _listed_openly(self) -> Seen:
        return Seen(RECORDED, passage(self._post(None, mcp.TOOLS_LIST)))

    def _no_token(self) -> Seen:
        return Seen(coded(self._call(None)))

    def _challenge(self) -> Seen:
        return Seen(RECORDED, self._call(None).headers.get("WWW-Authenticate", "none"))

    def _metadata(self) -> Seen:
        answer = self._site.call(None, self._project.server.versioned_context + mcp.METADATA_RESOURCE)
        return Seen(RECORDED, f"{answer.status_code} {', '.join(sorted(body_of(answer)))}")

    def _got(self) -> Seen:
        return Seen(str(self._site.call(None, self._path).status_code))

    def _names(self) -> Seen:
        answer = self._post(self._token, mcp.TOOLS_LIST)
        listed = body_of(answer).get("result", {}).get("tools", [])
        return Seen(" ".join(sorted(str(tool.get("name")) for tool in listed)))

    def _called(self) -> Seen:
        answer = self._call(self._token)
        self.activity_id = answer.headers.get(ACTIVITY)
        return Seen(
            passage(answer), f"{answer.status_code}, isError {body_of(answer).get('result', {}).get('isError')}"
        )

    def _no_scope(self) -> Seen:
        return Seen(coded(self._call(self._site.token(self._keys, "device_without"))))

    def _stranger(self) -> Seen:
        token = self._site.token(self._site.application(STRANGER, subscribed=False), self._scope)
        # Until its keys have reached the gateway, it is refused as somebody whom nobody knows.
        wanted = _coded(NOT_SUBSCRIBED)
        self._until(token, wanted, SETTLES_S)
        return Seen(coded(self._call(token)))

    def _no_tool(self) -> Seen:
        answer = self._post(self._token, mcp.TOOLS_CALL, name="verify_nothing", arguments={})
        return Seen(f"{answer.status_code} {_error(answer)}")

    def _no_method(self) -> Seen:
        answer = self._post(self._token, "verify/nothing")
        told = f"{answer.status_code} {_error(answer)}"
        return Seen(RECORDED, f"{told}, id {body_of(answer).get('id')!r} for 1")

    def _spent(self) -> Seen:
        token = self._token
        for passed in range(_MOST_CALLS):
            answer = self._call(token)
            if answer.status_code == SUBSCRIPTION_THROTTLED.http_status:
                return Seen(coded(answer), f"after {passed} more")
        return Seen(f"no refusal in {_MOST_CALLS} calls")

    def _blocked(self) -> Seen:
        token = self._token
        self._site.publisher.block_subscription(self._site.subscription(APPLICATION).subscription_id)
        return self._after(token, _coded(SUBSCRIPTION_BLOCKED))

    def _unblocked(self) -> Seen:
        self._site.publisher.unblock_subscription(self._site.subscription(APPLICATION).subscription_id)
        return self._after(self._token, _THROUGH)

    def _denied(self) -> Seen:
        token = self._token
        self._site.admin.deny(Denied.application(OWNER, PREFIX + APPLICATION))
        return self._after(token, _coded(DENIED))

    def _allowed(self) -> Seen:
        denied = self._site.admin.deny(Denied.application(OWNER, PREFIX + APPLICATION))
        self._site.admin.remove_deny_policy(denied.condition_id)
        return self._after(self._token, _THROUGH)

    def _revoked(self) -> Seen:
        token = self._site.token(self._keys, self._scope, "device_revoked")
        self._site.revoke(self._keys, token)
        return self._after(token, _coded(INVALID_CREDENTIALS))

    def _after(self, token: SecretStr, wanted: str) -> Seen:
        took_s = self._until(token, wanted)
        if took_s is None:
            return Seen(f"still {passage(self._call(token))} after {REACHES_S:.0f} s")
        return Seen(wanted, f"{took_s:.2f} s")


def _coded(fault: Fault) -> str:
    return f"{fault.http_status} {fault.code}"


def _error(answer: httpx.Response) -> str:
    return f"error {body_of(answer).get('error', {}).get('code')}"
