"""Smoke test of credentials: one call through the gateway, and what its answer means for the application."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import httpx

from ev_service.errors import AssertionRefusedError
from wso2_provisioning.errors import GatewayAccessError, RequestRefusedError
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
