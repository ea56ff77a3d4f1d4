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
    """What one protocol's callers see: an API, or the MCP server made from it.

    name: as published; limits are given by it. path: on the gateway. scope: what the token must hold.
    resource: how a call is named in records: verb and path, or the tool.
    """

    name: str
    path: str
    scope: str
    resource: str
    version: str = _VERSION

    @property
    def artifact_name(self) -> str:
        """Name and version, as folders and locks are named."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class ReadingApi(Generic[R]):
    """One reading's API.

    subject: what it is about, from which names, contexts and scopes are made. target: its resource.
    operation_id: of that resource, and so the name of the tool. model: what it answers.
    """

    subject: str
    target: str
    operation_id: str
    model: type[R]

    def publication(self, protocol: ProtocolName) -> PublishedApi:
        """How it is published for callers of one protocol."""
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
    """A call brought no result. detail: who stood in the way, where the answer says so."""

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
    """One request, and how its answer is read.

    name: of the API or the MCP server, as published. resource: how the call is named in records.
    read: makes the result of the body of a 200; raises ValueError where it holds none, Refused where it is a failure.
    query: of the address; not part of the resource's name. most_bytes: a longer answer is none.
    timeout_s [s]: real time for one attempt; None: as the retry plan says.
    """

    name: str
    resource: str
    method: str
    path: str
    parse: Callable[[bytes], T]
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "application/json"})
    content: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    protocol: ProtocolName = "rest"
    max_bytes: int = MAX_READING_BYTES
    timeout_s: float | None = None


class Send(Protocol):
    """Sends one exchange with all the care that calls take.

    Raises:
        CallFailed: it brought no result.
    """

    async def __call__(self, exchange: ApiRequest[T], /) -> T: ...


class ProtocolAdapter(Protocol):
    """How readings are asked for in one protocol."""

    @property
    def protocol(self) -> ProtocolName: ...

    async def fetch(self, api: ReadingApi[R], send: Send) -> R:
        """Ask for one reading.

        Raises:
            CallFailed: it can not be had, or must not be asked for.
        """
        ...

    def health_error(self) -> str | None:
        """What keeps the agent from asking at all, in one sentence; None when nothing does."""
        ...
