"""Immutable model of everything that the gateway serves: products, subscribers and deny policies.

`snapshot` builds it; a call uses one snapshot from beginning to end.
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
    """A backend that calls are forwarded to."""

    name: str
    """Name of the endpoint in WSO2's error messages."""

    url: str
    """URL without a trailing slash."""

    timeout_s: float
    """Longest time for the whole answer [s]."""

    suspension_s: float
    """How long the backend is not called after a failure [s]; 0 for no suspension."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What a call is authorized for: a path and verb of an API, or a tool of an MCP server."""

    target: str
    """Path template of an API's resource, or name of a tool."""

    verb: str
    """HTTP method, or feature of an MCP server (`TOOL`)."""

    is_secured: bool
    """A call needs an access token."""

    scopes: frozenset[str]
    """Scopes of which a token needs one; empty for none."""

    levels: tuple[ThrottleLevel, ...]
    """Limits that all callers share."""


@dataclass(frozen=True, slots=True)
class GatewayProduct:
    """A deployed API or MCP server."""

    api_id: str
    name: str
    version: str
    context: str
    """Path prefix, with the version."""

    provider: str
    """User who published it."""

    is_blocked: bool
    """Its life cycle state is BLOCKED."""

    is_default_version: bool
    """It is also served under its context without the version."""

    transports: frozenset[str]
    """`http`, `https` or both."""

    authorization_header: str
    """Name of the header that carries the access token."""

    resources: tuple[Resource, ...]
    """Resources that calls are routed to."""

    @property
    def type(self) -> Literal["HTTP", "MCP"]:
        """Type of API in WSO2's terms."""
        raise NotImplementedError

    @property
    def destination(self) -> str:
        """URL of the backend for the metrics log, empty if there is none."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class GatewayApi(GatewayProduct):
    """A deployed API."""

    production: Backend
    """Backend for production keys."""

    sandbox: Backend | None
    """Backend for sandbox keys, None if the API has none."""

    @property
    def type(self) -> Literal["HTTP", "MCP"]:
        return "HTTP"

    @property
    def destination(self) -> str:
        return self.production.url


@dataclass(frozen=True, slots=True)
class GatewayTool:
    """A tool, which calls an operation of an API."""

    resource: Resource
    """What calls of the tool are authorized for."""

    api_id: str
    """Id of the API."""

    verb: str
    """HTTP method of the operation."""

    target: str
    """Path template of the operation, below the API's context."""

    arguments: tuple[ToolArgument, ...]
    """Arguments of the tool."""


@dataclass(frozen=True, slots=True)
class GatewayMcpServer(GatewayProduct):
    """A deployed MCP server."""

    tools: Mapping[str, GatewayTool]
    """Tools by name."""

    tool_list: Mapping[str, Any]
    """Result of `tools/list`."""

    list_resource: Resource
    """What `tools/list`, and a call of an unknown tool, is authorized for."""

    scopes: tuple[str, ...]
    """Scopes of all tools, sorted."""

    @property
    def type(self) -> Literal["HTTP", "MCP"]:
        return "MCP"

    @property
    def destination(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A consumer key of an application that is subscribed to a product."""

    client_id: str
    """The consumer key."""

    key_type: KeyType
    application: Application
    plan: str
    """Name of the business plan."""

    status: SubscriptionStatus
    """Whether the subscription is blocked."""

    levels: tuple[ThrottleLevel, ...]
    """Limits of the subscription and the application, in WSO2's order."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses that a deny policy covers."""

    first: Address
    last: Address
    """Last address, inclusive."""

    invert: bool
    """The policy covers all addresses of this IP version outside of the range instead."""

    def matches(self, address: Address) -> bool:
        """Return whether the policy covers an address."""
        if address.version != self.first.version:
            return False
        return (int(self.first) <= int(address) <= int(self.last)) != self.invert


@dataclass(frozen=True, slots=True)
class DenyPolicySet:
    """All enabled deny policies."""

    contexts: frozenset[str]
    """Contexts of denied products, with the version."""

    applications: frozenset[str]
    """Denied applications, `owner:name`."""

    users: frozenset[str]
    """Denied users, `name@carbon.super`."""

    addresses: tuple[AddressRange, ...]
    """Denied addresses."""

    @property
    def is_empty(self) -> bool:
        return not (self.contexts or self.applications or self.users or self.addresses)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the gateway serves at one moment."""

    apis: tuple[GatewayApi, ...]
    mcp_servers: tuple[GatewayMcpServer, ...]
    contexts: Mapping[str, str]
    """Contexts of the deployed APIs by id."""

    subscribers: Mapping[tuple[str, str], Subscriber]
    """Subscribers by consumer key and product id."""

    deny_policies: DenyPolicySet
    """The enabled deny policies."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller."""

    token: AccessToken | None
    """The access token, None if the resource needs none."""

    subscriber: Subscriber | None
    """The subscription of the token's application, None if the resource needs no token."""


ANONYMOUS = Principal(None, None)
"""Caller of a resource that needs no token."""
