"""Rejections of the gateway and the error responses for them.

Source: WSO2 API Manager 4.6 (_auth_failure_handler_, _throttle_out_handler_, fault sequences).
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from local_gateway.gateway.throttling import LimitExceeded
from wso2_terms.codes import CHALLENGE, Fault
from wso2_terms.windows import format_next_access_time, format_retry_after

TOO_LARGE = Fault(
    "413", 413, "Request Entity Too Large", "The request is larger than this gateway passes on.", "Status report"
)
"""Not a fault of WSO2, which has no such limit of its own."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the gateway does not forward a call."""

    fault: Fault
    """The fault that is returned to the client."""

    details: dict[str, str] = field(default_factory=dict[str, str])
    """Values of the placeholders in the fault's description."""

    retry_at: datetime | None = None
    """End of the quota's window, None if no limit was exceeded."""

    @classmethod
    def from_limit(cls, exceeded: LimitExceeded) -> "Rejection":
        """Create the rejection for an exceeded limit."""
        return cls(exceeded.level.fault, retry_at=datetime.fromtimestamp(exceeded.ends_s, UTC))


def build_fault_response(rejection: Rejection, activity_id: str) -> web.Response:
    """Build the error response for a rejected call.

    Args:
        rejection: The rejection.
        activity_id: Correlation id of the call, returned in the header `activityid`.
    """
    headers = {"activityid": activity_id}
    if rejection.retry_at is not None:
        headers["Retry-After"] = format_retry_after(rejection.retry_at)
    if rejection.fault.http_status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    return web.Response(
        text=format_fault(rejection),
        status=rejection.fault.http_status,
        headers=headers,
        content_type="application/json",
    )


def format_fault(rejection: Rejection) -> str:
    """Return the JSON body of the error response."""
    next_access = None if rejection.retry_at is None else format_next_access_time(rejection.retry_at)
    return json.dumps(rejection.fault.body(next_access_time=next_access, **rejection.details))
