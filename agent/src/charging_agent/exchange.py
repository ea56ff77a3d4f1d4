"""The port between care and protocol: how one reading is asked for, and how an answer is read.

Care (tokens, budget, retries, time and size) is `charging_agent.gateway`'s and the same for every protocol. A dialect
says what is sent and what came back, and sends nothing itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from charging_agent.apis import Api
from charging_agent.calls import ProtocolName
from charging_agent.readings import R, Trouble

T = TypeVar("T")

LARGEST_READING_BYTES = 64 * 1024


class CallFailed(Exception):
    """A call brought no result. detail: who stood in the way, where the answer says so."""

    def __init__(
        self, trouble: Trouble, *, is_retryable: bool = False, code: str | None = None, detail: str | None = None
    ) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble
        self.is_retryable = is_retryable
        self.code = code
        self.detail = detail


class Refused(Exception):
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
class Exchange(Generic[T]):
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
    read: Callable[[bytes], T]
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "application/json"})
    content: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    protocol: ProtocolName = "rest"
    most_bytes: int = LARGEST_READING_BYTES
    timeout_s: float | None = None


class Send(Protocol):
    """Sends one exchange with all the care that calls take.

    Raises:
        CallFailed: it brought no result.
    """

    async def __call__(self, exchange: Exchange[T], /) -> T: ...


class Dialect(Protocol):
    """How readings are asked for in one protocol."""

    @property
    def protocol(self) -> ProtocolName: ...

    async def read(self, api: Api[R], send: Send) -> R:
        """Ask for one reading.

        Raises:
            CallFailed: it can not be had, or must not be asked for.
        """
        ...

    def health_error(self) -> str | None:
        """What keeps the agent from asking at all, in one sentence; None when nothing does."""
        ...
