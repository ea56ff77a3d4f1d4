import pytest

from wso2_terms import codes
from wso2_terms.codes import FAULTS_BY_CODE, Fault, is_backend_failure


def test_every_code_is_known_once_and_by_its_own_number() -> None:
    assert all(code == fault.code and len(code) == 6 for code, fault in FAULTS_BY_CODE.items())
    assert len(FAULTS_BY_CODE) == 23


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (codes.MISSING_CREDENTIALS, 401),
        (codes.INVALID_CREDENTIALS, 401),
        (codes.SUBSCRIPTION_BLOCKED, 401),
        (codes.SUBSCRIPTION_INACTIVE, 401),
        (codes.NOT_SUBSCRIBED, 403),
        (codes.SCOPE_MISSING, 403),
        (codes.DENIED, 403),
        (codes.SUBSCRIPTION_THROTTLED, 429),
        (codes.BACKEND_LIMIT, 503),
        (codes.API_BLOCKED, 503),
        (codes.CONNECTION_FAILED, 500),
        (codes.BACKEND_TIMEOUT, 500),
        (codes.ENDPOINT_SUSPENDED, 500),
        (codes.NOT_FOUND, 404),
        (codes.METHOD_NOT_ALLOWED, 405),
    ],
)
def test_a_fault_has_the_status_that_wso2_gives_it(fault: Fault, status: int) -> None:
    assert fault.http_status == status


def test_a_throttling_fault_has_the_next_access_time() -> None:
    assert codes.SUBSCRIPTION_THROTTLED.body(next_access_time="2026-Jun-26 04:00:00+0000 UTC") == {
        "code": "900804",
        "message": "Message throttled out",
        "description": "You have exceeded your quota .You can access API after 2026-Jun-26 04:00:00+0000 UTC",
        "nextAccessTime": "2026-Jun-26 04:00:00+0000 UTC",
    }


def test_a_throttling_fault_without_a_known_end_names_only_the_quota() -> None:
    body = codes.APPLICATION_THROTTLED.body()

    assert body["description"] == "You have exceeded your quota"
    assert "nextAccessTime" not in body


def test_a_next_access_time_never_appears_in_other_faults() -> None:
    assert "nextAccessTime" not in codes.DENIED.body(next_access_time="2026-Jun-26 04:00:00+0000 UTC")


def test_routing_and_backend_faults_say_their_type_and_security_faults_do_not() -> None:
    assert codes.CONNECTION_FAILED.body()["type"] == "Status report"
    assert codes.NO_RESOURCE.body()["type"] == "Status report"
    assert "type" not in codes.INVALID_CREDENTIALS.body()


def test_a_missing_scope_names_the_resource_as_it_is() -> None:
    assert "/{odd}" in codes.SCOPE_MISSING.body(resource="/{odd}")["description"]


@pytest.mark.parametrize(
    ("code", "is_backend"),
    [("101503", True), ("101504", True), ("101599", True), ("303001", True), ("900901", False), ("1015", False)],
)
def test_backend_failures_are_distinguished_from_rejections(code: str, is_backend: bool) -> None:
    assert is_backend_failure(code) is is_backend
