"""Waits until WSO2 is ready, and tests credentials with one call through the gateway.

Source: WSO2 API Manager 4.6.0, health check of the gateway REST API (200 if tenants, deployed APIs and policies are
loaded; before that refused, 404 or 500).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from ev_service.errors import AssertionRefusedError
from wso2_provisioning.errors import GatewayAccessError, NotReadyError, RequestRefusedError
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object
from wso2_provisioning.tokens import Token
from wso2_terms.api_project import ApiProject
from wso2_terms.codes import API_BLOCKED, DENIED, FAULTS_BY_CODE, SUBSCRIPTION_BLOCKED, is_backend_failure

PROPAGATION_S = 60.0
"""Time that APIs, subscriptions and keys may take to reach the gateway [s]."""
BACKEND_S = 10.0
"""Time to wait for a service that is starting [s]."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_BACKEND_PAUSE_S = 2.5


class Verdict(Enum):
    """Meaning of a gateway answer for the application."""

    LET_THROUGH = auto()
    BACKEND_FAILED = auto()
    NOT_YET = auto()
    STOPPED = auto()


@dataclass(frozen=True, slots=True)
class SmokeTestResult:
    """Result of the smoke test."""

    summary: str
    """Call and answer, for people."""
    backend_failed: bool
    """Whether the gateway let the call through, but the service behind it failed."""


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """Answer of the gateway, or of the service behind it."""

    status: int
    code: str
    """WSO2 code; empty for an answer of the service, except `assertion_refused`: it does not accept the gateway."""

    @property
    def verdict(self) -> Verdict:
        """Meaning for the application; a used-up quota implies access."""
        if self.code in (DENIED.code, API_BLOCKED.code, SUBSCRIPTION_BLOCKED.code):
            return Verdict.STOPPED
        if is_backend_failure(self.code) or self.code == AssertionRefusedError.code:
            return Verdict.BACKEND_FAILED
        fault = FAULTS_BY_CODE.get(self.code)
        if fault is not None and fault.is_throttle:
            return Verdict.LET_THROUGH
        if not self.code and self.status not in (401, 403, 404):
            return Verdict.LET_THROUGH
        return Verdict.NOT_YET

    def __str__(self) -> str:
        return f"{self.status}, code {self.code}" if self.code else str(self.status)


def find_probe_path(project: ApiProject) -> str:
    """Return the path at the gateway of the first GET operation without parameters.

    Raises:
        GatewayAccessError: the API has none.
    """
    for operation in project.api.operations:
        if operation.verb == "GET" and "{" not in operation.target:
            return project.api.versioned_context + operation.target
    raise GatewayAccessError(f"{project.api.name} has no GET operation without parameters to prove it by")


def run_smoke_test(
    http: HttpClient, gateway_url: str, project: ApiProject, application: str, token: Token
) -> SmokeTestResult:
    """Call an API until the gateway lets the application through.

    Raises:
        GatewayAccessError: it does not within a minute, or an operator stopped it.
        NotReadyError: the gateway cannot be reached.
    """
    url = gateway_url + find_probe_path(project)
    identity = Identity.from_token(application, token.access_token)
    waited_s, pause_s = 0.0, _FIRST_PAUSE_S
    while True:
        answer = parse_answer(http.send("GET", url, identity))
        proof = SmokeTestResult(f"{httpx.URL(url).path} answered {answer}", answer.verdict is Verdict.BACKEND_FAILED)
        if answer.verdict is Verdict.LET_THROUGH or (proof.backend_failed and waited_s >= BACKEND_S):
            return proof
        if answer.verdict is Verdict.STOPPED:
            raise GatewayAccessError(f"{application} is stopped at {project.api.name} ({answer}): an operator did that")
        if waited_s >= PROPAGATION_S:
            raise GatewayAccessError(
                f"the gateway still refuses {application} at {project.api.name} after {waited_s:.0f} s ({answer}): "
                "look for the API's deployment in the Publisher and in the gateway's log"
            )
        if proof.backend_failed:
            # Other refusals cost nothing, but a call that is let through uses the agent's quota.
            pause_s = max(pause_s, _BACKEND_PAUSE_S)
        http.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 1.6, _LONGEST_PAUSE_S)


def parse_answer(response: httpx.Response) -> GatewayAnswer:
    """Parse status and code of an answer."""
    try:
        body: Mapping[str, object] = parse_json_object(response)
    except RequestRefusedError:
        body = {}
    # Problems of our services have a word as code, the gateway's codes are numbers. `assertion_refused` is kept,
    # because its 401 would otherwise look like the gateway's own.
    code = str(body.get("code", ""))
    return GatewayAnswer(response.status_code, code if code.isdigit() or code == AssertionRefusedError.code else "")


HEALTH_PATH = "/api/am/gateway/v2/server-startup-healthcheck"


def wait_until_ready(http: HttpClient, management_url: str, wait_s: float, report: Callable[[str], None]) -> None:
    """Return as soon as WSO2 reports that it is ready.

    Args:
        http: HTTP client.
        management_url: base URL of the REST APIs.
        wait_s: maximum time to wait [s], >= 0; 0 for one attempt.
        report: called with the progress.

    Raises:
        NotReadyError: it is not ready in time, or its certificate is not trusted.
    """

    def ask() -> None:
        status = http.send_once("GET", management_url + HEALTH_PATH).status_code
        if status != 200:
            raise NotReadyError(f"{management_url} answers, but is still starting (status {status})", is_final=False)

    def before_sleep(state: RetryCallState) -> None:
        reason = state.outcome.exception() if state.outcome else None
        report(f"waiting for WSO2, {state.seconds_since_start or 0:.0f} s of {wait_s:.0f} s: {reason}")

    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, NotReadyError) and not error.is_final),
        stop=stop_after_delay(wait_s),
        wait=wait_exponential(multiplier=0.1, max=5.0),
        sleep=http.sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    try:
        attempts(ask)
    except NotReadyError as error:
        if error.is_final:
            raise
        raise NotReadyError(f"{error.message}; gave up after {wait_s:.0f} s (--wait)", is_final=True) from error
