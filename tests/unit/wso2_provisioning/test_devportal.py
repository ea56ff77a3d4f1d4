import json

import httpx
from pydantic import SecretStr

from wso2_provisioning.devportal import DevPortal, Subscription
from wso2_provisioning.http_client import HttpClient, Identity


def test_a_change_of_plan_is_asked_for_without_the_id_which_is_for_reading_alone() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    with HttpClient(None, transport=httpx.MockTransport(answer)) as http:
        portal = DevPortal(http, "https://localhost:9443", Identity.from_password("evapp", SecretStr("evapp-Passw0rd")))
        portal.change_plan("app", Subscription("sub", "api", "Gold", "UNBLOCKED"), "Energy10PerMin")

    [request] = asked
    assert request.url.path == "/api/am/devportal/v3/subscriptions/sub"
    assert json.loads(request.content) == {
        "applicationId": "app",
        "apiId": "api",
        "throttlingPolicy": "Gold",
        "requestedThrottlingPolicy": "Energy10PerMin",
        "status": "UNBLOCKED",
    }
