"""Rows on the subscription plan: the answer over the limit, and by how much a burst exceeds it.

Source of the expectations: WSO2 API Manager 4.6.0, ThrottleHandler and `_throttle_out_handler_`; the decision of the
traffic manager arrives a moment later, so the first calls over the limit may pass.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import httpx

from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.formatting import format_status, parse_body
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError
from wso2_terms.codes import SUBSCRIPTION_THROTTLED
from wso2_terms.windows import compute_window_end, format_next_access_time, parse_next_access_time, parse_retry_after

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
        self._wait_for_minute_start()
        # Waiting for access ends with a call that passed; it counts in its own minute.
        passed = int(compute_window_end(settled, 1, "min") == compute_window_end(context.clock.now(), 1, "min"))
        for _ in range(MOST_CALLS):
            answer = context.call(token)
            if answer.status_code == SUBSCRIPTION_THROTTLED.http_status:
                return Burst(passed, answer, context.clock.now())
            passed += parse_answer(answer).verdict is Verdict.LET_THROUGH
            context.http.sleep(_PAUSE_S)
        return Burst(passed, None, context.clock.now())

    def _wait_for_minute_start(self) -> None:
        # Windows are clock minutes: a burst across an edge would count in two windows.
        left_s = 60 - self._context.clock.now().second
        if left_s < _NEEDED_S:
            self._context.http.sleep(left_s + 0.5)

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
