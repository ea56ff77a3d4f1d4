import httpx
import pytest
from pydantic import SecretStr

from wso2_provisioning.errors import GatewayAccessError
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.smoke_test import SmokeTestResult, find_probe_path, run_smoke_test
from wso2_provisioning.tokens import Token
from wso2_terms import codes
from wso2_terms.artifacts import Artifacts
from wso2_terms.codes import Fault

SEEN = "/solar/1.0.0/solar-status answered"
READING = httpx.Response(200, json={"generation_kw": 1.0})


class Gateway:
    """Answers in turn, the last one for ever, and keeps what was asked and how long was waited [s]."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waited_s: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def prove(self, artifacts: Artifacts) -> SmokeTestResult:
        token = Token(SecretStr("t0k3n"), frozenset())
        with HttpClient(None, transport=httpx.MockTransport(self), sleep=self.waited_s.append) as http:
            return run_smoke_test(http, "https://localhost:8243", artifacts.find_api("SolarAPI"), "EVApp", token)


def answer(fault: Fault) -> httpx.Response:
    return httpx.Response(fault.http_status, json=fault.body(resource="/solar-status", endpoint="solar"))


def test_the_call_carries_the_token_to_the_first_reading(artifacts: Artifacts) -> None:
    gateway = Gateway(READING)

    proof = gateway.prove(artifacts)

    assert proof == SmokeTestResult(f"{SEEN} 200", backend_failed=False)
    assert str(gateway.requests[0].url) == f"https://localhost:8243{find_probe_path(artifacts.find_api('SolarAPI'))}"
    assert gateway.requests[0].headers["Authorization"] == "Bearer t0k3n"


@pytest.mark.parametrize(
    "refusal", [codes.NOT_SUBSCRIBED, codes.INVALID_CREDENTIALS, codes.SCOPE_MISSING, codes.NOT_FOUND]
)
def test_what_has_not_arrived_yet_is_waited_for(artifacts: Artifacts, refusal: Fault) -> None:
    gateway = Gateway(answer(refusal), answer(refusal), READING)

    assert gateway.prove(artifacts).summary == f"{SEEN} 200"
    assert len(gateway.waited_s) == 2


def test_an_application_that_never_gets_through_ends_the_proof_after_a_minute(artifacts: Artifacts) -> None:
    gateway = Gateway(answer(codes.NOT_SUBSCRIBED))

    with pytest.raises(GatewayAccessError, match="403, code 900908"):
        gateway.prove(artifacts)

    assert 60 <= sum(gateway.waited_s) < 70


@pytest.mark.parametrize("throttle", [codes.SUBSCRIPTION_THROTTLED, codes.API_THROTTLED, codes.BURST_THROTTLED])
def test_a_used_up_quota_is_proof_enough(artifacts: Artifacts, throttle: Fault) -> None:
    assert Gateway(answer(throttle)).prove(artifacts).summary == f"{SEEN} 429, code {throttle.code}"


def test_a_service_that_answers_with_its_own_error_was_reached(artifacts: Artifacts) -> None:
    problem = httpx.Response(503, json={"title": "Service Unavailable", "code": "source_unavailable"})

    assert Gateway(problem).prove(artifacts) == SmokeTestResult(f"{SEEN} 503", backend_failed=False)


def test_a_service_that_refuses_the_gateway_is_no_refusal_of_the_application(artifacts: Artifacts) -> None:
    problem = httpx.Response(401, json={"title": "Unauthorized", "status": 401, "code": "assertion_refused"})
    gateway = Gateway(problem)

    assert gateway.prove(artifacts) == SmokeTestResult(f"{SEEN} 401, code assertion_refused", backend_failed=True)
    assert 10 <= sum(gateway.waited_s) < 20


def test_a_service_that_is_down_is_waited_for_a_little_and_with_few_calls(artifacts: Artifacts) -> None:
    gateway = Gateway(answer(codes.CONNECTION_FAILED))

    assert gateway.prove(artifacts).backend_failed
    assert 10 <= sum(gateway.waited_s) < 20
    assert len(gateway.requests) <= 5


@pytest.mark.parametrize("stop", [codes.DENIED, codes.API_BLOCKED, codes.SUBSCRIPTION_BLOCKED])
def test_what_an_operator_stopped_is_not_waited_for(artifacts: Artifacts, stop: Fault) -> None:
    gateway = Gateway(answer(stop))

    with pytest.raises(GatewayAccessError, match="an operator did that"):
        gateway.prove(artifacts)

    assert not gateway.waited_s


def test_html_in_place_of_json_is_no_proof_of_being_let_through_when_it_says_403(artifacts: Artifacts) -> None:
    with pytest.raises(GatewayAccessError):
        Gateway(httpx.Response(403, html="<html>Forbidden</html>")).prove(artifacts)
