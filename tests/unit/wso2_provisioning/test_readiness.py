from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from wso2_provisioning.errors import NotReadyError
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.smoke_test import wait_until_ready

if TYPE_CHECKING:
    from tests.unit.wso2_provisioning.conftest import FakeWso2

URL = "https://localhost:9443"


def wire_to(handler: Callable[[httpx.Request], httpx.Response]) -> HttpClient:
    return HttpClient(None, transport=httpx.MockTransport(handler), sleep=lambda _: None)


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def fail_verification(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate", request=request)


def test_a_wso2_that_is_still_starting_is_waited_for(fake: "FakeWso2") -> None:
    fake.starting_answers = 3
    said: list[str] = []

    wait_until_ready(wire_to(fake), URL, 30.0, said.append)

    assert len(said) == 3
    assert all("still starting (status 500)" in line for line in said)


def test_nobody_there_is_told_with_the_address_after_the_wait() -> None:
    with pytest.raises(NotReadyError, match=r"localhost:9443 cannot be reached.*gave up after 0 s \(--wait\)"):
        wait_until_ready(wire_to(refuse_connection), URL, 0.0, lambda _: None)


def test_an_untrusted_certificate_is_not_waited_for() -> None:
    said: list[str] = []

    with pytest.raises(NotReadyError, match="WSO2_CA_FILE"):
        wait_until_ready(wire_to(fail_verification), URL, 300.0, said.append)

    assert not said
