"""One call: what is known of it so far, what is read from its request, and what is noted when it is over."""

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
    """Nobody waits for an answer any more."""


@dataclass(slots=True)
class Call:
    """What is known so far of the call at hand.

    method: of the request; for the pass to the API behind a tool that of the operation. served, template: what it is
    for, once that is known. backend_s: how long the backend was waited for [s].
    """

    request: web.BaseRequest
    at: datetime
    activity_id: str
    client_address: str
    method: str
    product: GatewayProduct | None = None
    template: str | None = None
    principal: Principal | None = None
    backend_s: float = 0.0

    @classmethod
    def from_request(cls, request: web.BaseRequest, now: datetime) -> "Call":
        """Begin with what the request itself tells."""
        activity_id = request.headers.get("activityid")
        if activity_id is None or not _ACTIVITY_ID.fullmatch(activity_id):
            activity_id = str(uuid.uuid4())
        forwarded = request.headers.get("X-Forwarded-For")
        client_address = forwarded.split(",")[0].strip() if forwarded else (request.remote or "")
        return cls(request, now, activity_id, client_address, request.method)

    def create_subcall(self, method: str) -> "Call":
        """The pass that this call makes to an API behind; both keep one id."""
        return Call(self.request, self.at, self.activity_id, self.client_address, method, principal=self.principal)


async def read_body(request: web.BaseRequest, max_bytes: int) -> bytes | Rejection | None:
    """Take a request's body, None where it has none, a rejection where it is larger than `max_bytes` [byte].

    Raises:
        ClientGoneError: the client left before its end, or sent what is none.
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
    """What the metrics log is told of a call that is over.

    Args:
        call: the call.
        status: HTTP status of the answer.
        rejection: why the gateway did not let it pass, None when it did.
        latency_s: from its beginning to its end [s].
        response_bytes: size of the answer's body [byte], 0 when unknown.
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
