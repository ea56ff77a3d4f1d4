"""Every attempt is kept once, in the order in which it ended."""

from datetime import UTC, datetime

from charging_agent.gateway.calls import Call, CallLog

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


def call(status: int) -> Call:
    return Call("GridAPI", "rest", "GET /grid/1.0.0/grid-load", NOON, status, "ok")


def test_what_was_taken_is_not_given_again() -> None:
    log = CallLog()
    log.report_call(call(429))
    log.report_call(call(200))

    assert [taken.status for taken in log.take()] == [429, 200]
    assert log.take() == ()


def test_a_log_that_nobody_takes_from_is_bounded() -> None:
    log = CallLog()
    for number in range(60_000):
        log.report_call(call(number))

    taken = log.take()
    assert (len(taken), taken[-1].status) == (50_000, 59_999)
