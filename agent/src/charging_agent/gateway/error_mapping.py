"""Maps status and WSO2 code of an error response to a failure reason and a reaction.

Source: WSO2 API Manager 4.6.0, codes and bodies as in `wso2_terms.codes`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from charging_agent.gateway.calls import FailureReason
from ev_service.errors import AssertionRefusedError
from wso2_terms import codes
from wso2_terms.windows import parse_next_access_time, parse_retry_after


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Meaning of an error response."""

    reason: FailureReason
    """Why the call failed."""
    is_retryable: bool = False
    """Whether the same call may be repeated at once."""
    renews_token: bool = False
    """Whether a newer token may help."""
    code: str | None = None
    """WSO2's error code, if any."""
    detail: str | None = None
    """Who commands the chargers, if it is somebody else; no other text of the response is kept."""


_LONGEST_DETAIL = 300
_TOKEN = CallFailure(FailureReason.TOKEN_REFUSED, renews_token=True)
_BY_CODE: dict[str, CallFailure] = {
    codes.SUBSCRIPTION_BLOCKED.code: CallFailure(FailureReason.BLOCKED),
    codes.SUBSCRIPTION_INACTIVE.code: CallFailure(FailureReason.BLOCKED),
    codes.DENIED.code: CallFailure(FailureReason.BLOCKED),
    codes.API_BLOCKED.code: CallFailure(FailureReason.BLOCKED),
    codes.NOT_SUBSCRIBED.code: CallFailure(FailureReason.NOT_SUBSCRIBED),
    codes.BACKEND_LIMIT.code: CallFailure(FailureReason.THROTTLED),
    # The gateway has stopped asking this backend for about half a minute: asking again at once is useless.
    codes.ENDPOINT_SUSPENDED.code: CallFailure(FailureReason.BACKEND_FAILED),
    codes.UNCLASSIFIED.code: CallFailure(FailureReason.GATEWAY_DOWN, is_retryable=True),
    # Sent by a service that rejects the gateway's signature; the token was valid, so another one does not help.
    AssertionRefusedError.code: CallFailure(FailureReason.BACKEND_REFUSED),
    # Sent by the charger service: another client commands until its lease ends.
    "leased": CallFailure(FailureReason.LEASED),
}
_BY_STATUS: dict[int, CallFailure] = {
    401: _TOKEN,
    403: CallFailure(FailureReason.FORBIDDEN),
    404: CallFailure(FailureReason.NOT_FOUND),
    405: CallFailure(FailureReason.NOT_FOUND),
    429: CallFailure(FailureReason.THROTTLED),
    502: CallFailure(FailureReason.GATEWAY_DOWN, is_retryable=True),
    504: CallFailure(FailureReason.GATEWAY_DOWN, is_retryable=True),
}


def map_error(status: int, body: bytes) -> CallFailure:
    """Map a response with a status other than 200 to its meaning.

    Args:
        status: HTTP status.
        body: the answer's body, JSON of the gateway or of a service, or anything else.
    """
    code = parse_error_code(body)
    known = _BY_CODE.get(code or "") or _BY_STATUS.get(status)
    if known is None and status >= 500:
        known = CallFailure(FailureReason.BACKEND_FAILED, is_retryable=True)
    # Redirects and 4xx that the gateway does not send are invalid, also at the next attempt.
    known = known or CallFailure(FailureReason.INVALID_READING)
    detail = _text(_object(body).get("detail")) if known.reason is FailureReason.LEASED else None
    return CallFailure(known.reason, known.is_retryable, known.renews_token, code, detail and detail[:_LONGEST_DETAIL])


def parse_error_code(body: bytes) -> str | None:
    """Parse WSO2's code from an error body; None if there is none."""
    return _text(_object(body).get("code"))


def parse_retry_at(headers: Mapping[str, str], body: bytes, now: datetime, window_end: datetime) -> datetime:
    """Parse when a throttled API may be called again: from the body, else the header, else the end of the window.

    Args:
        headers: of the 429 or 503; `Retry-After` is an HTTP date with WSO2.
        body: may hold `nextAccessTime`.
        now: the run's time; a hint that has passed is ignored.
        window_end: end of the gateway's clock window.
    """
    next_access = parse_next_access_time(_text(_object(body).get("nextAccessTime")) or "")
    header = parse_retry_after(headers.get("retry-after", ""), now)
    return next((hint for hint in (next_access, header) if hint is not None and hint > now), window_end)


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}


def _text(value: object) -> str | None:
    # WSO2 writes codes as text, its REST APIs as numbers; both occur behind proxies.
    return str(value) if isinstance(value, str | int) else None
