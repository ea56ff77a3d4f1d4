"""One call: what is known of it so far, what is read from its request, and what is noted when it is over."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from aiohttp import HttpVersion11, web

from local_gateway.gateway.authorize import Grant, Refusal
from local_gateway.gateway.faults import TOO_LARGE
from local_gateway.gateway.metrics import Finished
from local_gateway.gateway.served import Served

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
    served: Served | None = None
    template: str | None = None
    grant: Grant | None = None
    backend_s: float = 0.0

    @classmethod
    def of(cls, request: web.BaseRequest, now: datetime) -> "Call":
        """Begin with what the request itself tells."""
        return cls(request, now, _activity_id(request), _client_address(request), request.method)

    def within(self, method: str) -> "Call":
        """The pass that this call makes to an API behind; both keep one id."""
        return Call(self.request, self.at, self.activity_id, self.client_address, method, grant=self.grant)


async def read_body(request: web.BaseRequest, max_bytes: int) -> bytes | Refusal | None:
    """Take a request's body, None where it has none, a refusal where it is larger than `max_bytes` [byte].

    Raises:
        ClientGoneError: the client left before its end, or sent what is none.
    """
    if not request.can_read_body:
        return None
    if (request.content_length or 0) > max_bytes:
        return Refusal(TOO_LARGE)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        # A low-level server of aiohttp leaves this to its handler (RFC 9110, 10.1.1).
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    taken = bytearray()
    try:
        async for chunk in request.content.iter_any():
            taken += chunk
            if len(taken) > max_bytes:
                return Refusal(TOO_LARGE)
    except (ConnectionError, web.RequestPayloadError) as error:
        raise ClientGoneError from error
    return bytes(taken)


def finished(call: Call, status: int, refusal: Refusal | None, latency_s: float, response_bytes: int) -> Finished:
    """What the metrics log is told of a call that is over.

    Args:
        call: the call.
        status: HTTP status of the answer.
        refusal: why the gateway did not let it pass, None when it did.
        latency_s: from its beginning to its end [s].
        response_bytes: size of the answer's body [byte], 0 when unknown.
    """
    grant = call.grant
    return Finished(
        at=call.at,
        activity_id=call.activity_id,
        method=call.method,
        api=call.served,
        template=call.template,
        subscriber=grant.subscriber if grant else None,
        user=grant.token.user if grant and grant.token else None,
        status=status,
        refusal=refusal,
        latency_ms=round(latency_s * 1000),
        backend_ms=round(call.backend_s * 1000),
        client_address=call.client_address,
        user_agent=call.request.headers.get("User-Agent", "UNKNOWN"),
        response_bytes=response_bytes,
    )


def _activity_id(request: web.BaseRequest) -> str:
    given = request.headers.get("activityid")
    return given if given is not None and _ACTIVITY_ID.fullmatch(given) else str(uuid.uuid4())


def _client_address(request: web.BaseRequest) -> str:
    forwarded = request.headers.get("X-Forwarded-For")
    return forwarded.split(",")[0].strip() if forwarded else (request.remote or "")
