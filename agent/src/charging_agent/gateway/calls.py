"""Calls through the gateway: published APIs, requests, failures, the log of attempts, and the port of a protocol.

Tokens, budgets, retries, deadlines and size limits are the same for every protocol and belong to
`charging_agent.gateway.client`. A protocol adapter builds requests and parses responses.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from ev_service.telemetry import Reading

OK = "ok"
"""Outcome of a successful call; every other outcome is a value of `FailureReason`."""

ProtocolName = Literal["rest", "mcp"]

# Every decision takes what there is. Without any, the plan's 10 calls a minute fill this in about a day.
_MAX_CALLS = 50_000


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt, as the gateway's log should contain it too."""

    api: str
    """Published name of the API or the MCP server."""
    protocol: ProtocolName
    """`rest` or `mcp`."""
    resource: str
    """Verb and path, the tool's name, or `tools/list`."""
    at: datetime
    """Time at which it was sent, by the run's clock."""
    status: int | None
    """HTTP status; None: no response."""
    outcome: str
    """`ok` or a value of `FailureReason`."""
    code: str | None = None
    """WSO2's error code, if the response has one."""
    correlation_id: str | None = None
    """Returned in `activityid`, else the one that was sent."""


class CallListener(Protocol):
    """Receives every attempt."""

    def report_call(self, call: Call) -> None: ...


class CallLog:
    """Calls since the last `take`, in the order in which they ended."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=_MAX_CALLS)

    def report_call(self, call: Call) -> None:
        """Add a call; beyond the bound the oldest is dropped."""
        self._calls.append(call)

    def take(self) -> tuple[Call, ...]:
        """Return and remove all calls."""
        taken = tuple(self._calls)
        self._calls.clear()
        return taken


class FailureReason(StrEnum):
    """Why a call failed or a reading could not be renewed."""

    TOKEN_REFUSED = "token_refused"
    TOKEN_UNAVAILABLE = "token_unavailable"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    NOT_SUBSCRIBED = "not_subscribed"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    GATEWAY_DOWN = "gateway_down"
    BACKEND_FAILED = "backend_failed"
    BACKEND_REFUSED = "backend_refused"
    """The service does not accept the call as one from the gateway."""
    INVALID_READING = "invalid_reading"
    TOO_OLD = "too_old"
    LEASED = "leased"
    """For limits only: another client commands the chargers."""


T = TypeVar("T")
R = TypeVar("R", bound=Reading)
M = TypeVar("M", bound=BaseModel)

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
    max_bytes: int = field(default=MAX_READING_BYTES, kw_only=True)
    """Longest body that is accepted [bytes]."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest(ABC, Generic[T]):
    """One request, and how its response is parsed."""

    name: str
    """Published name of the API or the MCP server."""
    resource: str
    """Name of the call in records."""
    method: str
    """HTTP method."""
    path: str
    """Path on the gateway."""
    budget_name: str | None = None
    """Name under which calls are counted; None: that of `name`."""
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

    @abstractmethod
    def parse_response(self, body: bytes) -> T:
        """Parse the body of a 200.

        Raises:
            ValueError: it is invalid.
            EmbeddedError: it reports a failure.
            GatewayCallError: its content forbids further calls.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest(ApiRequest[M]):
    """A request whose response is one model as JSON."""

    model: type[M]
    """Model of the response."""

    def parse_response(self, body: bytes) -> M:
        """Validate the body."""
        return self.model.model_validate_json(body)


class RequestSender(Protocol):
    """Sends single requests."""

    async def send_request(self, request: ApiRequest[T]) -> T:
        """Send one request with token and call budget, without retries.

        Raises:
            GatewayCallError: it brought no result, and why.
        """
        ...


class ProtocolAdapter(Protocol):
    """Reads APIs in one protocol."""

    @property
    def protocol(self) -> ProtocolName: ...

    async def fetch(self, api: ReadingApi[R], sender: RequestSender) -> R:
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

    async def fetch(self, api: ReadingApi[R], sender: RequestSender) -> R:
        """Fetch one reading."""
        rest = api.publication(self.protocol)
        return await sender.send_request(
            ModelRequest(
                name=rest.name,
                resource=rest.resource,
                method="GET",
                path=rest.path,
                model=api.model,
                max_bytes=api.max_bytes,
            )
        )

    def health_error(self) -> str | None:
        """Return None: nothing is checked beforehand."""
        return None
