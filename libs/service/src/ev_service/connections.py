"""Bounds on what clients may hold open: the number of connections and the time for each part of a request.

A listener registers each connection that it accepts and reports what arrives on it. Where there are too many, the
oldest connection that has not proved itself is closed in favour of the new one, so that whoever sends a whole request
at once is answered however many others wait. Nothing here reads or writes; the listener's protocol does.
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ev_service.settings import Settings

_logger = logging.getLogger(__name__)

UVICORN_PROTOCOL = "ev_service.http_protocol:HttpProtocol"
"""Value of uvicorn's `--http` with which a service keeps these bounds."""

BACKLOG = 128
"""How many connections may be accepted at once, before the first of them is counted; uvicorn's `--backlog`."""

UVICORN_OPTIONS = ("--http", UVICORN_PROTOCOL, "--backlog", str(BACKLOG))
"""Both, for a command line."""

_PROBLEM = b'{"type":"about:blank","title":"Request Timeout","status":408,"code":"request_timeout"}'
REQUEST_TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)
)
"""Answer to a request that does not arrive in time (RFC 9110, 15.5.9), as it is written to the connection."""

# Databases, logs, devices and connections to others need the rest.
_SHARE_OF_DESCRIPTORS = 4
_LONGEST_CHECK_S = 1.0
_LOG_EVERY_S = 10.0


class ListenerSettings(Settings):
    """How every HTTP listener of ours treats its clients."""

    model_config = SettingsConfigDict(env_prefix="LISTENER_")

    max_connections: int = Field(
        default=256,
        ge=8,
        le=100_000,
        description="Connections that a listener holds; at most a quarter of the process's file descriptors.",
    )
    max_connections_per_address: int = Field(
        default=128, ge=4, le=100_000, description="Connections that a listener holds from one address."
    )
    handshake_s: float = Field(default=5.0, gt=0, le=60, description="Time for a TLS handshake [s].")
    header_s: float = Field(default=5.0, gt=0, le=60, description="Time for the head of a request [s]; then 408.")
    body_s: float = Field(default=10.0, gt=0, le=300, description="Time for the body of a request [s]; then 408.")
    idle_s: float = Field(
        default=75.0, gt=0, le=3600, description="How long a connection may wait for its next request [s]."
    )
    stall_s: float = Field(
        default=10.0, gt=0, le=300, description="How long a client may leave an answer unread [s]; then it is cut off."
    )

    allowed_hosts: str = Field(
        default="",
        max_length=4096,
        description="Names by which services and agent may be called, besides localhost, IP addresses and calls with "
        "the gateway's assertion; separated by blanks or commas.",
    )

    @property
    def host_names(self) -> frozenset[str]:
        """The allowed names, in lower case."""
        return frozenset(self.allowed_hosts.replace(",", " ").lower().split())

    def limits(self) -> "ConnectionLimits":
        """The bounds of one listener."""
        return ConnectionLimits(
            total=self.max_connections,
            per_address=self.max_connections_per_address,
            handshake_s=self.handshake_s,
            header_s=self.header_s,
            body_s=self.body_s,
            idle_s=self.idle_s,
            stall_s=self.stall_s,
        )


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one listener."""

    total: int
    """Connections at a time."""

    per_address: int
    """Connections at a time from one address."""

    handshake_s: float = 5.0
    """Time for a TLS handshake [s]."""

    header_s: float = 5.0
    """Time for the head of a request [s]."""

    body_s: float = 10.0
    """Time for the body of a request [s]."""

    idle_s: float = 75.0
    """Time until the next request [s]."""

    stall_s: float = 10.0
    """Time for which an answer may stay unread [s]."""


class Peer(Protocol):
    """What a listener holds of one connection."""

    @property
    def is_busy(self) -> bool:
        """Whether a whole request is being answered; such a connection is never closed in favour of another."""
        ...

    def time_out(self) -> None:
        """Answer 408 where that is possible, and close."""
        ...

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        ...


@dataclass(slots=True, eq=False)
class Connection:
    """One connection as its bounds see it. Its listener's protocol calls the methods."""

    peer: Peer
    address: str
    limits: ConnectionLimits
    is_proven: bool = False
    """Whether a caller with a right to be here has been seen on it."""

    since_s: float = field(default_factory=time.monotonic)
    """When it was opened, for a proven one when its last request was answered (monotonic) [s]."""

    is_queued: bool = False
    """Whether its request waits because too many callers are unproven; it may then be closed in favour of another."""

    _deadline_s: float = math.inf
    _stalled_since_s: float | None = None
    _is_waiting: bool = True
    _has_timed_out: bool = False

    def expect_handshake(self) -> None:
        """A TLS handshake begins."""
        self._deadline_s = time.monotonic() + self.limits.handshake_s

    def expect_request(self) -> None:
        """The connection is open, and its first request is expected at once."""
        self._is_waiting = False
        self._deadline_s = time.monotonic() + self.limits.header_s

    def receive(self) -> None:
        """Bytes arrived. The first ones after an answer begin the head of the next request."""
        if self._is_waiting:
            self.expect_request()

    def begin_request(self) -> None:
        """The head of a request is complete."""
        self._is_waiting = False
        self._deadline_s = time.monotonic() + self.limits.body_s

    def end_request(self) -> None:
        """A request is answered, and its body is at its end."""
        self._is_waiting = True
        now_s = time.monotonic()
        self._deadline_s = now_s + self.limits.idle_s
        if self.is_proven:
            self.since_s = now_s

    def pause_writing(self) -> None:
        """The client reads its answer more slowly than it is written."""
        self._stalled_since_s = time.monotonic()

    def resume_writing(self) -> None:
        """The client has read on."""
        self._stalled_since_s = None

    @property
    def is_receiving(self) -> bool:
        """Whether a part of a request has arrived, or a first one is due."""
        return not self._is_waiting

    @property
    def is_closable(self) -> bool:
        """Whether it may be closed in favour of a new one."""
        return self.is_queued or self._stalled_since_s is not None or not self.peer.is_busy

    def enforce(self, now_s: float) -> None:
        """Close it where its time is over.

        Args:
            now_s: monotonic time [s].
        """
        if self._stalled_since_s is not None and now_s - self._stalled_since_s >= self.limits.stall_s:
            self.peer.abort()
        elif now_s >= self._deadline_s and not self.peer.is_busy:
            # A client that does not read the 408 either keeps its connection until the next check at most.
            self.peer.abort() if self._has_timed_out else self.peer.time_out()
            self._has_timed_out = True


class ConnectionBounds:
    """The connections of one listener, or of several that share their bounds.

    Args:
        limits: how many, and for how long.
        name: of the listener, in the log.
    """

    def __init__(self, limits: ConnectionLimits, name: str) -> None:
        total = min(limits.total, max(8, descriptor_limit() // _SHARE_OF_DESCRIPTORS))
        self.limits = limits
        self.total = total
        self.per_address = min(limits.per_address, total)
        self._name = name
        self._held: set[Connection] = set()
        self._checking: asyncio.TimerHandle | None = None
        self._closed = 0
        self._logged_s = -math.inf

    def __len__(self) -> int:
        return len(self._held)

    def open(self, peer: Peer, address: str) -> Connection | None:
        """Register a connection, closing the oldest unproven one where there are too many.

        Args:
            peer: closes it.
            address: of the client.

        Returns:
            The connection; None where every other is at work and it has to be refused.
        """
        of_address = [held for held in self._held if held.address == address]
        if len(of_address) >= self.per_address and not self._make_room(of_address):
            return None
        if len(self._held) >= self.total and not self._make_room(list(self._held)):
            return None
        connection = Connection(peer, address, self.limits)
        self._held.add(connection)
        self._check_soon()
        return connection

    def close(self, connection: Connection) -> None:
        """Forget a connection: it is closed, or its bound is another."""
        self._held.discard(connection)

    def make_room(self) -> bool:
        """Close the oldest connection that may be closed; False where there is none."""
        return self._make_room(list(self._held))

    def _make_room(self, among: list[Connection]) -> bool:
        closable = [held for held in among if held.is_closable]
        if not closable:
            return False
        oldest = min(closable, key=lambda held: (held.is_proven, held.since_s))
        self._held.discard(oldest)
        oldest.peer.abort()
        self._report()
        return True

    def _report(self) -> None:
        self._closed += 1
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            _logger.warning(
                "too many connections: the oldest are closed",
                extra={"listener": self._name, "closed": self._closed, "held": len(self._held)},
            )
            self._logged_s, self._closed = now_s, 0

    def _check_soon(self) -> None:
        if self._checking is None:
            limits = self.limits
            shortest_s = min(limits.handshake_s, limits.header_s, limits.body_s, limits.idle_s, limits.stall_s)
            self._checking = asyncio.get_running_loop().call_later(min(shortest_s / 4, _LONGEST_CHECK_S), self._check)

    def _check(self) -> None:
        self._checking = None
        now_s = time.monotonic()
        for connection in list(self._held):
            connection.enforce(now_s)
        # Without connections no timer keeps the loop awake.
        if self._held:
            self._check_soon()


def descriptor_limit() -> int:
    """How many file descriptors this process may have open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
