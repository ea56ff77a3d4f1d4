"""Rows on the gateway's refusals (status, code and text), and by how much a burst exceeds a subscription plan.

Source of the expectations: WSO2 API Manager 4.6.0, gateway handlers and synapse sequences, see `wso2_terms.codes`;
ThrottleHandler and `_throttle_out_handler_`: the decision of the traffic manager arrives a moment later, so the first
calls over the limit may pass.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import httpx
from pydantic import SecretStr

from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.formatting import (
    compare_with_fault,
    format_documented_fault,
    format_status,
    parse_body,
)
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError
from wso2_terms import codes
from wso2_terms.codes import SUBSCRIPTION_THROTTLED
from wso2_terms.windows import compute_window_end, format_next_access_time, parse_next_access_time, parse_retry_after

ACTIVITY = "activityid"


class RefusalRows:
    """Rows with one application that is subscribed and one that is not."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        context, gateway, keys = self._context, "the gateway", "an application of EVApp's owner"
        target = context.project.api.operations[0].target
        return [
            Row("call with a token", f"{keys}, the service", "200, activityid", self._observe_access),
            Row("no token", gateway, format_documented_fault(codes.MISSING_CREDENTIALS), self._observe_missing_token),
            Row("its WWW-Authenticate", gateway, codes.CHALLENGE, self._observe_challenge),
            Row("its activityid", gateway, "there", self._observe_activity_id),
            Row(
                "malformed token",
                gateway,
                format_documented_fault(codes.INVALID_CREDENTIALS),
                self._observe_malformed_token,
            ),
            Row("forged token", keys, format_documented_fault(codes.INVALID_CREDENTIALS), self._observe_forged_token),
            Row(
                "token without the scope",
                keys,
                format_documented_fault(codes.SCOPE_MISSING),
                lambda: self._observe_missing_scope(target),
            ),
            Row(
                "application not subscribed",
                keys,
                format_documented_fault(codes.NOT_SUBSCRIBED),
                self._observe_unsubscribed_call,
            ),
            Row("unknown API", gateway, format_documented_fault(codes.NOT_FOUND), self._observe_unknown_api),
            Row("unknown resource", keys, format_documented_fault(codes.NO_RESOURCE), self._observe_unknown_resource),
            Row(
                "verb that the resource has not",
                keys,
                format_documented_fault(codes.METHOD_NOT_ALLOWED),
                self._observe_wrong_verb,
            ),
        ]

    @cached_property
    def _keys(self) -> ClientCredentials:
        return self._context.ensure_application("Access")

    @cached_property
    def _token(self) -> SecretStr:
        token = self._context.request_token(self._keys, self._context.scope)
        self._context.wait_for_access(token)
        return token

    def _observe_access(self) -> Observation:
        answer = self._context.call(self._token)
        return Observation(f"{answer.status_code}, {ACTIVITY if answer.headers.get(ACTIVITY) else 'no activityid'}")

    def _observe_missing_token(self) -> Observation:
        return compare_with_fault(self._context.call(None), codes.MISSING_CREDENTIALS)

    def _observe_challenge(self) -> Observation:
        return Observation(self._context.call(None).headers.get("WWW-Authenticate", "none"))

    def _observe_activity_id(self) -> Observation:
        return Observation("there" if self._context.call(None).headers.get(ACTIVITY) else "not there")

    def _observe_malformed_token(self) -> Observation:
        return compare_with_fault(self._context.call(SecretStr("not-a-token")), codes.INVALID_CREDENTIALS)

    def _observe_forged_token(self) -> Observation:
        return compare_with_fault(self._context.call(forge_signature(self._token)), codes.INVALID_CREDENTIALS)

    def _observe_missing_scope(self, target: str) -> Observation:
        token = self._context.request_token(self._keys, "device_without")
        return compare_with_fault(self._context.call(token), codes.SCOPE_MISSING, resource=target)

    def _observe_unsubscribed_call(self) -> Observation:
        keys = self._context.ensure_application("Stranger", subscribed=False)
        token = self._context.request_token(keys, self._context.scope)
        wanted = codes.NOT_SUBSCRIBED.code
        # Until its keys propagate, the gateway returns 900901 (unknown client).
        answer, _ = self._context.poll(lambda: self._context.call(token), lambda found: wanted in found.text, 60.0)
        return compare_with_fault(answer or self._context.call(token), codes.NOT_SUBSCRIBED)

    def _observe_unknown_api(self) -> Observation:
        return compare_with_fault(self._context.call(self._token, "/verify-nothing/1.0.0/here"), codes.NOT_FOUND)

    def _observe_unknown_resource(self) -> Observation:
        path = f"{self._context.project.api.versioned_context}/verify-nothing"
        return compare_with_fault(self._context.call(self._token, path), codes.NO_RESOURCE)

    def _observe_wrong_verb(self) -> Observation:
        return compare_with_fault(self._context.call(self._token, method="DELETE"), codes.METHOD_NOT_ALLOWED)


def forge_signature(token: SecretStr) -> SecretStr:
    """Return a token with the same header and claims, and a signature that is not WSO2's."""
    signed, _, signature = token.get_secret_value().rpartition(".")
    # Not the last character: some of its bits encode nothing.
    return SecretStr(f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")


APPLICATION = "Quota"
MOST_CALLS = 40
_PAUSE_S = 0.1
_NEEDED_S = 15


@dataclass(frozen=True, slots=True)
class Burst:
    """Consecutive calls until one was refused."""

    passed: int
    """Number of calls that passed."""
    refusal: httpx.Response | None
    """Refusal, None if none came."""
    at: datetime
    """Time of the refusal."""


class LimitRows:
    """Rows with one application that uses up its plan."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        fault, needs = SUBSCRIPTION_THROTTLED, "an application of EVApp's owner"
        quota = self._context.quota
        refused = f"{fault.http_status} {fault.code} after {quota} or more"
        return [
            Row(f"call {quota + 1} of a minute", needs, refused, self._observe_refusal),
            Row("its message", "a 429", "Message throttled out", self._observe_message),
            Row(
                "its nextAccessTime",
                "a 429",
                "next full minute, as 2026-Jun-26 04:00:00+0000 UTC",
                self._observe_next_access_time,
            ),
            Row("its Retry-After", "a 429", "the same moment, as an HTTP date", self._observe_retry_after),
            Row("X-RateLimit headers", "a 429", "none", self._observe_rate_limit_headers),
        ]

    @cached_property
    def _burst(self) -> Burst:
        context = self._context
        keys = context.ensure_application(APPLICATION)
        token = context.request_token(keys, context.scope)
        context.wait_for_access(token)
        settled = context.clock.now()
        # Windows are clock minutes: a burst across an edge would count in two windows.
        left_s = 60 - context.clock.now().second
        if left_s < _NEEDED_S:
            context.http.sleep(left_s + 0.5)
        # Waiting for access ends with a call that passed; it counts in its own minute.
        passed = int(compute_window_end(settled, 1, "min") == compute_window_end(context.clock.now(), 1, "min"))
        for _ in range(MOST_CALLS):
            answer = context.call(token)
            if answer.status_code == SUBSCRIPTION_THROTTLED.http_status:
                return Burst(passed, answer, context.clock.now())
            passed += parse_answer(answer).verdict is Verdict.LET_THROUGH
            context.http.sleep(_PAUSE_S)
        return Burst(passed, None, context.clock.now())

    @property
    def _refusal(self) -> httpx.Response:
        if self._burst.refusal is None:
            raise RowSkippedError("needs a 429, and none came")
        return self._burst.refusal

    def _observe_refusal(self) -> Observation:
        burst, quota = self._burst, self._context.quota
        if burst.refusal is None:
            return Observation(f"no refusal in {MOST_CALLS} calls")
        amount = f"after {quota} or more" if burst.passed >= quota else f"after {burst.passed}"
        return Observation(f"{format_status(burst.refusal)} {amount}", f"{burst.passed - quota} over the plan")

    def _observe_message(self) -> Observation:
        return Observation(str(parse_body(self._refusal).get("message")))

    def _observe_next_access_time(self) -> Observation:
        text = str(parse_body(self._refusal).get("nextAccessTime"))
        end = compute_window_end(self._burst.at, 1, "min")
        if text == format_next_access_time(end):
            return Observation("next full minute, as 2026-Jun-26 04:00:00+0000 UTC", text)
        return Observation(text)

    def _observe_retry_after(self) -> Observation:
        text = self._refusal.headers.get("Retry-After", "none")
        moment = parse_next_access_time(str(parse_body(self._refusal).get("nextAccessTime")))
        is_date = not text.isdigit() and text.endswith(" GMT")
        if is_date and parse_retry_after(text, self._burst.at) == moment:
            return Observation("the same moment, as an HTTP date", text)
        return Observation(text)

    def _observe_rate_limit_headers(self) -> Observation:
        found = sorted(name for name in self._refusal.headers if name.startswith("x-ratelimit"))
        return Observation(", ".join(found) or "none")
