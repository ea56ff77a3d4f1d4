"""Faults of a WSO2 gateway: codes, texts and how to recognize them.

Source: WSO2 API Manager 4.6.0 (carbon-apimgt gateway handlers; synapse sequences main, fault,
_auth_failure_handler_, _throttle_out_handler_).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RUNTIME_ERROR = "Runtime Error"
STATUS_REPORT = "Status report"
_THROTTLED_OUT = "Message throttled out"
# The missing space and the space before the full stop are WSO2's own.
_QUOTA_UNTIL = "You have exceeded your quota .You can access API after {next_access_time}"
_QUOTA = "You have exceeded your quota"

CHALLENGE = (
    'Internal API Key realm="WSO2 API Manager", Bearer realm="WSO2 API Manager", '
    'error="invalid_token", error_description="The provided token is invalid"'
)
"""Value of WWW-Authenticate in every 401 of an API that accepts only OAuth 2.0."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error response of the gateway itself."""

    code: str
    """WSO2's number as text; routing errors repeat the HTTP status."""

    http_status: int
    """HTTP status."""

    message: str
    """Title of the error."""

    description: str
    """Description; can contain `{resource}`, `{transport}` or `{endpoint}`, which `body` fills in."""

    type: str | None = None
    """Only present in routing and backend errors."""

    is_throttle: bool = False
    """A limit was exceeded."""

    def body(self, *, next_access_time: str | None = None, **details: str) -> dict[str, str]:
        """Return the JSON body as the gateway writes it.

        Args:
            next_access_time: End of the quota's window, formatted by `windows.format_next_access_time`; only throttling
                faults have it, and some of them not always.
            details: Values of the placeholders in the description.

        >>> SCOPE_MISSING.body(resource="/solar-status")["description"]
        'User is NOT authorized to access the Resource: /solar-status. Scope validation failed.'
        """
        described = self.description.format_map(details) if details else self.description
        answer = {"code": self.code, "message": self.message, "description": described}
        if self.type is not None:
            answer = {"code": self.code, "type": self.type, "message": self.message, "description": described}
        if self.is_throttle and next_access_time is not None:
            answer["description"] = _QUOTA_UNTIL.format(next_access_time=next_access_time)
            answer["nextAccessTime"] = next_access_time
        return answer


def _security_fault(code: str, http_status: int, message: str, description: str) -> Fault:
    return Fault(code, http_status, message, description)


def _throttle_fault(code: str, description: str = _QUOTA) -> Fault:
    return Fault(code, 429, _THROTTLED_OUT, description, is_throttle=True)


def _backend_fault(code: str, description: str) -> Fault:
    # WSO2 reports a failed backend as 500; 502 and 504 do not occur.
    return Fault(code, 500, RUNTIME_ERROR, description, STATUS_REPORT)


UNCLASSIFIED = _security_fault(
    "900900", 500, "Unclassified Authentication Failure", "Unclassified Authentication Failure"
)
INVALID_CREDENTIALS = _security_fault(
    "900901",
    401,
    "Invalid Credentials",
    "Invalid Credentials. Make sure you have provided the correct security credentials",
)
"""Wrong, malformed, revoked or expired token, which WSO2 does not distinguish by code."""
MISSING_CREDENTIALS = _security_fault(
    "900902",
    401,
    "Missing Credentials",
    "Invalid Credentials. Make sure your API invocation call has a header: "
    "'Authorization : Bearer ACCESS_TOKEN' or 'Authorization : Basic ACCESS_TOKEN' or 'ApiKey : API_KEY'",
)
SUBSCRIPTION_BLOCKED = _security_fault(
    "900907",
    401,
    "The requested API is temporarily blocked",
    "The requested API is temporarily blocked",
)
NOT_SUBSCRIBED = _security_fault(
    "900908",
    403,
    # The trailing space is WSO2's own.
    "Resource forbidden ",
    "User is NOT authorized to access the Resource. API Subscription validation failed.",
)
SUBSCRIPTION_INACTIVE = _security_fault(
    "900909", 401, "The subscription to the API is inactive", "The subscription to the API is inactive"
)
SCOPE_MISSING = _security_fault(
    "900910",
    403,
    "The access token does not allow you to access the requested resource",
    "User is NOT authorized to access the Resource: {resource}. Scope validation failed.",
)
WRONG_AUDIENCE = _security_fault(
    "900914",
    403,
    "Access Denied",
    "User is NOT authorized to access the Resource: {resource}. Audience validation failed.",
)

API_THROTTLED = _throttle_fault("900800")
RESOURCE_THROTTLED = _throttle_fault("900802")
APPLICATION_THROTTLED = _throttle_fault("900803")
SUBSCRIPTION_THROTTLED = _throttle_fault("900804")
CUSTOM_THROTTLED = _throttle_fault("900806")
BURST_THROTTLED = _throttle_fault("900807")
EVENTS_THROTTLED = _throttle_fault("900808")
APPLICATION_BURST_THROTTLED = _throttle_fault("900809", "You have exceeded your application burst limit quota")
BACKEND_LIMIT = Fault("900801", 503, "API Limit Reached", "API not accepting requests")
DENIED = Fault("900805", 403, "Message blocked", "You have been blocked from accessing the resource")

API_BLOCKED = Fault(
    "700700",
    503,
    "API blocked",
    "This API has been blocked temporarily. Please try again later or contact the system administrators.",
    "API blocked",
)
CONNECTION_FAILED = _backend_fault("101503", "Error connecting to the back end")
BACKEND_TIMEOUT = _backend_fault("101504", "Send timeout")
CONNECTION_CLOSED = _backend_fault("101505", "Connection closed by the back end")
ENDPOINT_SUSPENDED = _backend_fault(
    "303001", "Currently , Address endpoint : [ Name : {endpoint} ] [ State : SUSPENDED ]"
)

INVALID_ENDPOINT = 900346
INVALID_ENDPOINT_MESSAGE = "Endpoint URL(s) is(are) not valid"
"""Title of the Publisher's 400 for an endpoint that is not a URL."""

NOT_FOUND = Fault("404", 404, "Not Found", "The requested resource is not available.", STATUS_REPORT)
NO_RESOURCE = Fault("404", 404, RUNTIME_ERROR, "No matching resource found for given API Request", STATUS_REPORT)
METHOD_NOT_ALLOWED = Fault("405", 405, RUNTIME_ERROR, "Method not allowed for given API resource", STATUS_REPORT)
TRANSPORT_NOT_ALLOWED = Fault(
    "403",
    403,
    "Forbidden",
    "Unsupported Transport [ {transport} ]. The requested resource is not available.",
    STATUS_REPORT,
)

_CODED = (
    UNCLASSIFIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    SUBSCRIPTION_BLOCKED,
    NOT_SUBSCRIBED,
    SUBSCRIPTION_INACTIVE,
    SCOPE_MISSING,
    WRONG_AUDIENCE,
    API_THROTTLED,
    RESOURCE_THROTTLED,
    APPLICATION_THROTTLED,
    SUBSCRIPTION_THROTTLED,
    CUSTOM_THROTTLED,
    BURST_THROTTLED,
    EVENTS_THROTTLED,
    APPLICATION_BURST_THROTTLED,
    BACKEND_LIMIT,
    DENIED,
    API_BLOCKED,
    CONNECTION_FAILED,
    BACKEND_TIMEOUT,
    CONNECTION_CLOSED,
    ENDPOINT_SUSPENDED,
)

FAULTS_BY_CODE: Mapping[str, Fault] = MappingProxyType({fault.code: fault for fault in _CODED})
"""Faults by WSO2's six-digit number. Routing errors are left out, because their code only repeats the HTTP status."""


def is_backend_failure(code: str) -> bool:
    """Return whether the gateway got no answer from the backend.

    All sender errors of Synapse (1015xx) count, whether listed here or not.
    """
    return code == ENDPOINT_SUSPENDED.code or (len(code) == 6 and code.startswith("1015"))
