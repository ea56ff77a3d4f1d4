"""The gateway's log finds calls that no record tells of, and records of calls that never were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.charging_agent.ledger.conftest import NOON, call, made_from, maker, observation

from charging_agent.gateway.calls import Call
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.reconciliation import GatewayLine, ReconciliationResult, parse_gateway_log, reconcile
from charging_agent.ledger.record_signing import ChainHead, sign_record
from charging_agent.ledger.records import SignedRecord
from ev_service.units import utc_text

SECOND = timedelta(seconds=1)


def records_of(*calls_each: Sequence[Call], runs: int = 1) -> list[dict[str, Any]]:
    """Records 10 s apart, each with its calls; spread over runs."""
    key, head, sealed = generate_key(), ChainHead(), list[SignedRecord]()
    makers = [maker() for _ in range(runs)]
    for number, calls in enumerate(calls_each):
        made = made_from(observation(NOON + 10 * number * SECOND))
        sealed.append(sign_record(made, calls, head, makers[number * runs // len(calls_each)], key))
        head = ChainHead(number + 1, sealed[-1].sha256)
    return [json.loads(one.record) for one in sealed]


def log_of(*lines: str) -> list[GatewayLine]:
    return parse_gateway_log("\n".join(("12:00:00,000 [h] [t]  INFO Other something else", *lines)), "apim_metrics.log")


def line(
    at: datetime, *, api: str = "GridAPI", status: int = 200, number: str | None = "round-1", by: str = "EVApp"
) -> str:
    told = {
        "requestTimestamp": utc_text(at),
        "correlationId": number,
        "apiName": api,
        "applicationName": by,
        "proxyResponseCode": status,
    }
    kind = "response" if status == 200 else "faulty"
    return f"12:00:00,000 [h] [t]  INFO ELKCounterMetric apimMetrics: apim:{kind}, properties :{json.dumps(told)}"


def reconcile_lines(records: list[dict[str, Any]], *lines: str) -> ReconciliationResult:
    return reconcile(records, log_of(*lines), "EVApp")


def test_calls_are_joined_by_id_refused_and_repeated_ones_too() -> None:
    calls = [call(NOON - SECOND), call(NOON - SECOND), call(NOON, status=429)]
    lines = [line(NOON - SECOND), line(NOON - SECOND), line(NOON, status=429)]

    found = reconcile_lines(records_of(calls, []), *lines)

    assert (found.joined, found.is_whole) == (3, True)


def test_a_call_that_no_record_has_is_omitted_though_another_has_its_id() -> None:
    found = reconcile_lines(records_of([call(NOON - SECOND)], []), line(NOON - SECOND), line(NOON + SECOND))

    assert not found.is_whole
    assert [str(one).split(": ")[0] for one in found.omitted] == ["apim_metrics.log, line 3"]


def test_a_call_that_the_log_lacks_is_invented() -> None:
    calls = [call(NOON - SECOND), call(NOON, correlation_id="never")]

    found = reconcile_lines(records_of(calls, []), line(NOON - SECOND), line(NOON + SECOND, by="Other"))

    assert [one.correlation_id for one in found.invented] == ["never"]
    assert not found.omitted


def test_another_status_than_the_gateways_is_both() -> None:
    found = reconcile_lines(records_of([call(NOON - SECOND)], []), line(NOON - SECOND, status=429))

    assert (len(found.omitted), len(found.invented)) == (1, 1)


def test_where_the_id_is_absent_calls_are_joined_by_time_and_it_says_so() -> None:
    records = records_of([call(NOON - SECOND), call(NOON)], [])

    near = reconcile_lines(records, line(NOON - SECOND, number=None), line(NOON + 1.5 * SECOND, number=None))
    far = reconcile_lines(records, line(NOON - SECOND, number=None), line(NOON + 4 * SECOND, number=None))

    assert (near.joined, near.joined_by_time, near.is_whole) == (0, 2, True)
    assert (len(far.omitted), len(far.invented)) == (1, 1)


def test_lines_outside_the_ledgers_time_are_told_apart_from_omissions() -> None:
    found = reconcile_lines(
        records_of([call(NOON - SECOND)], []),
        line(NOON - 60 * SECOND, number="earlier"),
        line(NOON - SECOND),
        line(NOON + 60 * SECOND, number="later"),
    )

    assert (found.before_the_ledger, found.after_the_ledger, found.is_whole) == (1, 1, True)


def test_a_call_between_two_runs_is_told_apart_but_named() -> None:
    records = records_of([call(NOON - SECOND)], [call(NOON + 9 * SECOND, correlation_id="second")], runs=2)

    found = reconcile_lines(
        records,
        line(NOON - SECOND),
        line(NOON + 4 * SECOND, number="lost"),
        line(NOON + 9 * SECOND, number="second"),
    )

    assert [one.correlation_id for one in found.between_runs] == ["lost"]
    assert found.is_whole


def test_calls_of_other_applications_are_none_of_its_business() -> None:
    found = reconcile_lines(
        records_of([call(NOON - SECOND)], []), line(NOON - SECOND), line(NOON + SECOND, by="Assistant")
    )

    assert found.is_whole


def test_the_line_of_the_api_behind_an_mcp_server_is_no_omission_but_a_second_one_is() -> None:
    calls = [call(NOON - SECOND, api="GridMCP", protocol="mcp", resource="getGridLoad")]
    tool, behind = line(NOON - SECOND, api="GridMCP"), line(NOON - SECOND)

    once = reconcile_lines(records_of(calls, []), tool, behind)
    twice = reconcile_lines(records_of(calls, []), tool, behind, behind)

    assert (once.joined, once.inner, once.is_whole) == (1, 1, True)
    assert len(twice.omitted) == 1


@pytest.mark.parametrize("lines", [[], [line(NOON - SECOND, status=500)]])
def test_a_call_without_an_answer_may_or_may_not_have_a_line(lines: list[str]) -> None:
    calls = [call(NOON - SECOND, status=None, outcome="timeout")]

    found = reconcile_lines(records_of(calls, []), *lines)

    assert (found.without_answer, found.is_whole) == (1, True)


def test_a_refusal_before_the_application_is_known_is_joined_by_its_id() -> None:
    calls = [call(NOON - SECOND, status=401, outcome="token_refused"), call(NOON - SECOND, status=404)]
    lines = [
        line(NOON - SECOND, status=401, by="UNKNOWN"),
        line(NOON - SECOND, api="UNKNOWN", status=404, by="UNKNOWN"),
    ]

    assert reconcile_lines(records_of(calls, []), *lines).joined == 2


def test_a_line_that_is_not_understood_is_named() -> None:
    with pytest.raises(ValueError, match="line 2"):
        log_of("12:00 apimMetrics: apim:response, properties :{")
