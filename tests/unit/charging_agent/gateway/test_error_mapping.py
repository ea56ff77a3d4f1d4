"""What each answer of the gateway means."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.gateway.calls import FailureReason
from charging_agent.gateway.error_mapping import map_error, parse_error_code, parse_retry_at
from wso2_terms import codes
from wso2_terms.windows import format_next_access_time, format_retry_after

NOW = datetime(2026, 6, 21, 12, 0, 20, tzinfo=UTC)
MINUTE_END = datetime(2026, 6, 21, 12, 1, tzinfo=UTC)
LATER = datetime(2026, 6, 21, 12, 5, tzinfo=UTC)
MUCH_LATER = datetime(2026, 6, 21, 13, tzinfo=UTC)


def build_fault(code: object) -> bytes:
    return json.dumps({"code": code, "message": "m", "description": "d"}).encode()


@pytest.mark.parametrize(
    ("status", "code", "trouble", "is_retryable", "renews_token"),
    [
        (401, "900901", FailureReason.TOKEN_REFUSED, False, True),
        (401, "900902", FailureReason.TOKEN_REFUSED, False, True),
        (401, "900999", FailureReason.TOKEN_REFUSED, False, True),
        (401, "900907", FailureReason.BLOCKED, False, False),
        (401, "900909", FailureReason.BLOCKED, False, False),
        (403, "900805", FailureReason.BLOCKED, False, False),
        (403, "900908", FailureReason.NOT_SUBSCRIBED, False, False),
        (403, "900910", FailureReason.FORBIDDEN, False, False),
        (403, "900914", FailureReason.FORBIDDEN, False, False),
        (403, "403", FailureReason.FORBIDDEN, False, False),
        (404, "404", FailureReason.NOT_FOUND, False, False),
        (405, "405", FailureReason.NOT_FOUND, False, False),
        (429, "900800", FailureReason.THROTTLED, False, False),
        (429, "900802", FailureReason.THROTTLED, False, False),
        (429, "900803", FailureReason.THROTTLED, False, False),
        (429, "900804", FailureReason.THROTTLED, False, False),
        (429, "900806", FailureReason.THROTTLED, False, False),
        (429, "900807", FailureReason.THROTTLED, False, False),
        (429, "900808", FailureReason.THROTTLED, False, False),
        (429, "900809", FailureReason.THROTTLED, False, False),
        (503, "900801", FailureReason.THROTTLED, False, False),
        (503, "700700", FailureReason.BLOCKED, False, False),
        (500, "101500", FailureReason.BACKEND_FAILED, True, False),
        (500, "101503", FailureReason.BACKEND_FAILED, True, False),
        (500, "101504", FailureReason.BACKEND_FAILED, True, False),
        (500, "101505", FailureReason.BACKEND_FAILED, True, False),
        (500, "101508", FailureReason.BACKEND_FAILED, True, False),
        (500, "303001", FailureReason.BACKEND_FAILED, False, False),
        (500, "900900", FailureReason.GATEWAY_DOWN, True, False),
        (503, "source_unavailable", FailureReason.BACKEND_FAILED, True, False),
        (401, "assertion_refused", FailureReason.BACKEND_REFUSED, False, False),
        # Behind a tool, which has no 401 of its own.
        (500, "assertion_refused", FailureReason.BACKEND_REFUSED, False, False),
    ],
)
def test_every_code_has_one_meaning(
    status: int, code: str, trouble: FailureReason, is_retryable: bool, renews_token: bool
) -> None:
    refusal = map_error(status, build_fault(code))

    assert (refusal.reason, refusal.is_retryable, refusal.renews_token) == (trouble, is_retryable, renews_token)
    assert refusal.code == code


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (204, FailureReason.INVALID_READING),
        (302, FailureReason.INVALID_READING),
        (400, FailureReason.INVALID_READING),
        (401, FailureReason.TOKEN_REFUSED),
        (403, FailureReason.FORBIDDEN),
        (404, FailureReason.NOT_FOUND),
        (429, FailureReason.THROTTLED),
        (500, FailureReason.BACKEND_FAILED),
        (502, FailureReason.GATEWAY_DOWN),
        (503, FailureReason.BACKEND_FAILED),
        (504, FailureReason.GATEWAY_DOWN),
    ],
)
def test_without_a_code_the_status_decides(status: int, trouble: FailureReason) -> None:
    assert map_error(status, b"<html>no code here</html>").reason is trouble


@given(status=st.integers(min_value=201, max_value=599), body=st.binary(max_size=200))
def test_whatever_comes_back_means_something_and_no_4xx_is_repeated(status: int, body: bytes) -> None:
    refusal = map_error(status, body)

    assert isinstance(refusal.reason, FailureReason)
    assert not (400 <= status < 500 and refusal.is_retryable and refusal.code is None)


@pytest.mark.parametrize("fault", codes.FAULTS_BY_CODE.values(), ids=lambda fault: fault.code)
def test_every_fault_that_wso2_is_known_to_send_means_something_else_than_a_broken_reading(fault: codes.Fault) -> None:
    refusal = map_error(fault.http_status, json.dumps(fault.body()).encode())

    assert refusal.reason not in {FailureReason.INVALID_READING, FailureReason.TOO_OLD, FailureReason.TIMEOUT}
    assert not (fault.http_status < 500 and refusal.is_retryable)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"code": "900804"}', "900804"),
        (b'{"code": 900804}', "900804"),
        (b'{"code": null}', None),
        (b'{"code": {"a": 1}}', None),
        (b"[]", None),
        (b'"900804"', None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"<html>", None),
        (b"[" * 100_000, None),
        (b"9" * 5000, None),
    ],
)
def test_a_code_is_read_from_any_body_without_harm(body: bytes, code: str | None) -> None:
    assert parse_error_code(body) == code


def build_throttling_fault(next_access: object) -> bytes:
    return json.dumps({"code": "900804", "nextAccessTime": next_access}).encode()


@pytest.mark.parametrize(
    ("body", "retry_after", "expected"),
    [
        pytest.param(build_throttling_fault(format_next_access_time(LATER)), None, LATER, id="the body's hint"),
        pytest.param(b"{}", format_retry_after(LATER), LATER, id="the header's date"),
        pytest.param(b"{}", "30", NOW + timedelta(seconds=30), id="the header's seconds, as others send them"),
        pytest.param(
            build_throttling_fault(format_next_access_time(LATER)),
            format_retry_after(MUCH_LATER),
            LATER,
            id="the body's before it",
        ),
        pytest.param(
            build_throttling_fault(format_next_access_time(NOW)), None, MINUTE_END, id="a hint that has just passed"
        ),
        pytest.param(
            build_throttling_fault("2020-Jan-01 00:00:00+0000 UTC"),
            format_retry_after(LATER),
            LATER,
            id="past body, good header",
        ),
        pytest.param(b"{}", format_retry_after(NOW - timedelta(hours=1)), MINUTE_END, id="a header's date in the past"),
        pytest.param(build_throttling_fault("soon"), "later", MINUTE_END, id="garbage in both"),
        pytest.param(build_throttling_fault(17), None, MINUTE_END, id="a number in the body"),
        pytest.param(
            build_throttling_fault("2026-Foo-99 99:99:99+0000 UTC"), "-5", MINUTE_END, id="impossible moments"
        ),
        pytest.param(b"<html>", None, MINUTE_END, id="no hint at all"),
    ],
)
def test_a_throttled_api_waits_for_the_best_hint_there_is(
    body: bytes, retry_after: str | None, expected: datetime
) -> None:
    headers = {} if retry_after is None else {"retry-after": retry_after}

    assert parse_retry_at(headers, body, NOW, MINUTE_END) == expected


@given(body=st.binary(max_size=100), header=st.text(max_size=40))
def test_the_wait_always_ends_in_the_future(body: bytes, header: str) -> None:
    assert parse_retry_at({"retry-after": header}, body, NOW, MINUTE_END) > NOW
