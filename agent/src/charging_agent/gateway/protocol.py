"""The port between the gateway client and a protocol: how a reading is requested, and how a response is read.

Tokens, budget, retries, deadlines and size limits are the same for every protocol and belong to
`charging_agent.gateway.client`. A protocol adapter builds requests and parses responses; it sends nothing itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from charging_agent.gateway.call_log import FailureReason, ProtocolName
from ev_service.telemetry import Reading

T = TypeVar("T")
R = TypeVar("R", bound=Reading)

MAX_READING_BYTES = 64 * 1024

_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class PublishedApi:
    """An API, or the MCP server made from it, as published on the gateway."""

    name: str
    """Published name; call limits refer to it."""
    path: str
    """Path on the gateway."""
    scope: str
    """Scope that the token needs."""
    resource: str
    """Name of the call in records: verb and path, or the tool."""
    version: str = _VERSION
    """Version of the API."""

    @property
    def artifact_name(self) -> str:
        """Name and version, as used for folders and in the tools lock."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class ReadingApi(Generic[R]):
    """API of one reading."""

    subject: str
    """Subject of the reading, from which names, contexts and scopes are derived."""
    target: str
    """Path of the resource."""
    operation_id: str
    """Operation id, which is the name of the tool too."""
    model: type[R]
    """Model of the response."""

    def publication(self, protocol: ProtocolName) -> PublishedApi:
        """Return how it is published for one protocol."""
        title = self.subject.capitalize()
        if protocol == "mcp":
            path = f"/{self.subject}-mcp/{_VERSION}/mcp"
            return PublishedApi(f"{title}MCP", path, f"{self.subject}:tools", self.operation_id)
        path = f"/{self.subject}/{_VERSION}{self.target}"
        return PublishedApi(f"{title}API", path, f"{self.subject}:read", f"GET {path}")

    @property
    def name(self) -> str:
        """Name of the API; what the agent keeps for it goes by this name over MCP, too."""
        return self.publication("rest").name

    @property
    def path(self) -> str:
        """Context, version and resource of the API."""
        return self.publication("rest").path

    @property
    def scope(self) -> str:
        """Scope of the API."""
        return self.publication("rest").scope


class GatewayCallError(Exception):
    """A call failed. `reason` says why, `detail` who stood in the way, if the response says so."""

    def __init__(
        self, reason: FailureReason, *, is_retryable: bool = False, code: str | None = None, detail: str | None = None
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.is_retryable = is_retryable
        self.code = code
        self.detail = detail


class EmbeddedError(Exception):
    """An answer with status 200 that in truth is another one.

    Args:
        status: the HTTP status that the same failure has over REST.
        body: what says why; may hold WSO2's code and its hint when to come back.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class ApiRequest(Generic[T]):
    """One request, and the parser of its response."""

    name: str
    """Published name of the API or the MCP server."""
    resource: str
    """Name of the call in records."""
    method: str
    """HTTP method."""
    path: str
    """Path on the gateway."""
    parse: Callable[[bytes], T]
    """Parses the body of a 200. Raises ValueError if it is invalid, `EmbeddedError` if it reports a failure."""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "application/json"})
    """Headers besides those of token and correlation id."""
    content: bytes | None = None
    """Request body, if any."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    """Query of the URL; not part of the resource's name."""
    protocol: ProtocolName = "rest"
    """`rest` or `mcp`."""
    max_bytes: int = MAX_READING_BYTES
    """Longest body that is accepted [bytes]."""
    timeout_s: float | None = None
    """Timeout of one attempt in real time [s]; None: that of the retry plan."""


class Send(Protocol):
    """Sends one request with token and call budget, without retries."""

    async def __call__(self, exchange: ApiRequest[T], /) -> T: ...


class ProtocolAdapter(Protocol):
    """Reads APIs in one protocol."""

    @property
    def protocol(self) -> ProtocolName: ...

    async def fetch(self, api: ReadingApi[R], send: Send) -> R:
        """Fetch one reading.

        Raises:
            GatewayCallError: it cannot be had, or must not be asked for.
        """
        ...

    def health_error(self) -> str | None:
        """Return what keeps the agent from sending any request, in one sentence; None: nothing."""
        ...


class RestAdapter:
    """Reads the REST APIs: requests a resource, whose body is the reading."""

    protocol: ProtocolName = "rest"

    async def fetch(self, api: ReadingApi[R], send: Send) -> R:
        """Fetch one reading."""
        seen = api.publication(self.protocol)
        return await send(ApiRequest(seen.name, seen.resource, "GET", seen.path, api.model.model_validate_json))

    def health_error(self) -> str | None:
        """Return None: nothing is checked beforehand."""
        return None
