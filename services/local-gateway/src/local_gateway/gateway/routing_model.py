"""What the data path knows of all that is served: APIs and MCP servers, who may call them, who may not.

Prepared by `snapshot`, never altered: a call that began with one snapshot ends with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from local_gateway.gateway.mcp_arguments import ToolArgument
from local_gateway.gateway.throttling import ThrottleLevel
from local_gateway.state import Application, KeyType, SubscriptionStatus
from local_gateway.tokens import AccessToken

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Backend:
    """Where calls go. timeout_s [s]: for the whole answer. suspension_s [s]: rest after a failure, 0 for none."""

    name: str
    url: str
    timeout_s: float
    suspension_s: float


@dataclass(frozen=True, slots=True)
class Resource:
    """What a call is allowed or refused for: a path and verb of an API, or a tool of an MCP server.

    target: the path or the tool's name. levels: what limits all of its callers together.
    """

    target: str
    verb: str
    is_secured: bool
    scopes: frozenset[str]
    levels: tuple[ThrottleLevel, ...]


@dataclass(frozen=True, slots=True)
class GatewayProduct:
    """What APIs and MCP servers have in common once they are deployed. context: with the version."""

    api_id: str
    name: str
    version: str
    context: str
    provider: str
    is_blocked: bool
    is_default_version: bool
    transports: frozenset[str]
    authorization_header: str
    resources: tuple[Resource, ...]

    @property
    def type(self) -> Literal["HTTP", "MCP"]:
        """The kind of API as WSO2 names it."""
        raise NotImplementedError

    @property
    def destination(self) -> str:
        """Where calls go, as the metrics log tells it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class GatewayApi(GatewayProduct):
    """A deployed API."""

    production: Backend
    sandbox: Backend | None

    @property
    def type(self) -> Literal["HTTP", "MCP"]:
        return "HTTP"

    @property
    def destination(self) -> str:
        return self.production.url


@dataclass(frozen=True, slots=True)
class GatewayTool:
    """A tool: an operation of an API.

    resource: for what its calls are checked. verb, target: the operation, the path below its API's context.
    """

    resource: Resource
    api_id: str
    verb: str
    target: str
    arguments: tuple[ToolArgument, ...]


@dataclass(frozen=True, slots=True)
class GatewayMcpServer(GatewayProduct):
    """A deployed MCP server.

    tools: by name. listed: what `tools/list` gives, ready made. listing: for what it is checked, and a call of a tool
    that is not there. scopes: of all tools.
    """

    tools: Mapping[str, GatewayTool]
    tool_list: Mapping[str, Any]
    list_resource: Resource
    scopes: tuple[str, ...]

    @property
    def type(self) -> Literal["HTTP", "MCP"]:
        return "MCP"

    @property
    def destination(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An application's consumer key at one API or MCP server. levels: what limits it there, in WSO2's order."""

    client_id: str
    key_type: KeyType
    application: Application
    plan: str
    status: SubscriptionStatus
    levels: tuple[ThrottleLevel, ...]


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses that a deny policy means; `invert` means all others."""

    first: Address
    last: Address
    invert: bool

    def matches(self, address: Address) -> bool:
        if address.version != self.first.version:
            return False
        return (int(self.first) <= int(address) <= int(self.last)) != self.invert


@dataclass(frozen=True, slots=True)
class DenyPolicySet:
    """What deny policies refuse."""

    contexts: frozenset[str]
    applications: frozenset[str]
    users: frozenset[str]
    addresses: tuple[AddressRange, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.contexts or self.applications or self.users or self.addresses)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment. contexts: of deployed APIs, by id. subscribers: by consumer key and API or server."""

    apis: tuple[GatewayApi, ...]
    mcp_servers: tuple[GatewayMcpServer, ...]
    contexts: Mapping[str, str]
    subscribers: Mapping[tuple[str, str], Subscriber]
    deny_policies: DenyPolicySet


@dataclass(frozen=True, slots=True)
class Principal:
    """Who may pass; both are None at a resource that needs no token."""

    token: AccessToken | None
    subscriber: Subscriber | None


ANONYMOUS = Principal(None, None)
