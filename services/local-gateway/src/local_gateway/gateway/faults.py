"""Writes a refusal as the gateway's answer. Pure but for making the response object.

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
"""Ours: WSO2 has no such limit of its own."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a call does not pass. details: for the fault's placeholders. until: end of a quota's window."""

    fault: Fault
    details: dict[str, str] = field(default_factory=dict[str, str])
    retry_at: datetime | None = None

    @classmethod
    def from_limit(cls, exceeded: LimitExceeded) -> "Rejection":
        """The refusal of a limit that is used up."""
        return cls(exceeded.level.fault, retry_at=datetime.fromtimestamp(exceeded.ends_s, UTC))


def build_fault_response(rejection: Rejection, activity_id: str) -> web.Response:
    """The answer to a call that does not pass.

    Args:
        rejection: why.
        activity_id: id of the call, given back in its header.
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
    """The body of that answer."""
    next_access = None if rejection.retry_at is None else format_next_access_time(rejection.retry_at)
    return json.dumps(rejection.fault.body(next_access_time=next_access, **rejection.details))
