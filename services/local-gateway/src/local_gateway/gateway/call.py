"""One call through the gateway: its state, its request body and its metrics event."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from aiohttp import HttpVersion11, web

from local_gateway.gateway.faults import TOO_LARGE, Rejection
from local_gateway.gateway.metrics import MetricsEvent
from local_gateway.gateway.routing_model import GatewayProduct, Principal

_ACTIVITY_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


class ClientGoneError(Exception):
    """The client closed the connection before it got an answer."""


@dataclass(slots=True)
class Call:
    """State of a call while it is processed."""

    request: web.BaseRequest
    at: datetime
    """When the call began."""

    activity_id: str
    """Correlation id, sent to the backend and returned to the client."""

    client_address: str
    """Address from `X-Forwarded-For`, else of the connection."""

    method: str
    """HTTP method of the request; of the operation in the subcall of a tool."""

    product: GatewayProduct | None = None
    """The called API or MCP server, once it is known."""

    template: str | None = None
    """Path template of the called resource, once it is known."""

    principal: Principal | None = None
    """The caller, once it is admitted."""

    backend_s: float = 0.0
    """Time spent waiting for the backend [s]."""

    @classmethod
    def from_request(cls, request: web.BaseRequest, now: datetime) -> "Call":
        """Create a call from a request."""
        activity_id = request.headers.get("activityid")
        if activity_id is None or not _ACTIVITY_ID.fullmatch(activity_id):
            activity_id = str(uuid.uuid4())
        forwarded = request.headers.get("X-Forwarded-For")
        client_address = forwarded.split(",")[0].strip() if forwarded else (request.remote or "")
        return cls(request, now, activity_id, client_address, request.method)

    def create_subcall(self, method: str) -> "Call":
        """Create the call of the API behind a tool; both calls share one activity id."""
        return Call(self.request, self.at, self.activity_id, self.client_address, method, principal=self.principal)


async def read_body(request: web.BaseRequest, max_bytes: int) -> bytes | Rejection | None:
    """Read a request's body.

    Args:
        request: The request.
        max_bytes: Largest accepted size [byte].

    Returns:
        The body, None if the request has none, a rejection if it is too large.

    Raises:
        ClientGoneError: The client disconnected or sent a malformed body.
    """
    if not request.can_read_body:
        return None
    if (request.content_length or 0) > max_bytes:
        return Rejection(TOO_LARGE)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        # A low-level server of aiohttp leaves this to its handler (RFC 9110, 10.1.1).
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > max_bytes:
                return Rejection(TOO_LARGE)
    except (ConnectionError, web.RequestPayloadError) as error:
        raise ClientGoneError from error
    return bytes(body)


def build_metrics_event(
    call: Call, status: int, rejection: Rejection | None, latency_s: float, response_bytes: int
) -> MetricsEvent:
    """Build the event that the metrics log records for a finished call.

    Args:
        call: The call.
        status: HTTP status of the answer.
        rejection: Why the gateway rejected the call, None if it did not.
        latency_s: Duration of the call [s].
        response_bytes: Size of the answer's body [byte], 0 if unknown.
    """
    principal = call.principal
    return MetricsEvent(
        at=call.at,
        activity_id=call.activity_id,
        method=call.method,
        product=call.product,
        template=call.template,
        subscriber=principal.subscriber if principal else None,
        user=principal.token.user if principal and principal.token else None,
        status=status,
        rejection=rejection,
        latency_ms=round(latency_s * 1000),
        backend_ms=round(call.backend_s * 1000),
        client_address=call.client_address,
        user_agent=call.request.headers.get("User-Agent", "UNKNOWN"),
        response_bytes=response_bytes,
    )
