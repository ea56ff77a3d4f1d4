"""Lines of the metrics log, parsed as WSO2's own tests parse them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.metrics import MetricsEvent, MetricsLog, format_metrics_line
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.state import GatewayState
from wso2_terms.codes import DENIED, MISSING_CREDENTIALS, NOT_FOUND, SUBSCRIPTION_THROTTLED, Fault


def build_event(state: GatewayState, fault: Fault | None = None) -> MetricsEvent:
    snapshot = take_snapshot(state)
    return MetricsEvent(
        at=datetime(2026, 6, 21, 12, 0, 30, 123_000, tzinfo=UTC),
        activity_id="activity-1",
        method="GET",
        product=snapshot.apis[0],
        template="/solar-status",
        subscriber=snapshot.subscribers["key-EVApp", "api-1"],
        user="evapp",
        status=fault.http_status if fault else 200,
        rejection=Rejection(fault) if fault else None,
        latency_ms=12,
        backend_ms=9,
        client_address="127.0.0.1",
        user_agent="test",
        response_bytes=80,
    )


def properties(line: str) -> dict[str, Any]:
    return json.loads(line.split("properties :")[1])


def test_an_answered_call_is_a_response(state: GatewayState) -> None:
    line = format_metrics_line(build_event(state), "host")

    assert line.startswith(
        "12:00:30,123 [host] [gateway]  INFO ELKCounterMetric apimMetrics: apim:response, properties :{"
    )
    said = properties(line)
    assert (said["apiName"], said["applicationName"], said["proxyResponseCode"]) == ("SolarAPI", "EVApp", 200)
    assert (said["responseLatency"], said["backendLatency"]) == (12, 9)
    assert said["correlationId"] == "activity-1"


def test_a_refused_call_is_a_fault_of_its_kind(state: GatewayState) -> None:
    kinds = {
        fault.code: (said["errorType"], said["errorMessage"])
        for fault in (MISSING_CREDENTIALS, SUBSCRIPTION_THROTTLED, DENIED, NOT_FOUND)
        for said in [properties(format_metrics_line(build_event(state, fault), "host"))]
    }

    assert kinds == {
        "900902": ("AUTH", "MISSING_CREDENTIALS"),
        "900804": ("THROTTLED", "SUBSCRIPTION_LIMIT_EXCEEDED"),
        "900805": ("THROTTLED", "BLOCKED"),
        "404": ("OTHER", "OTHER"),
    }


def test_lines_wait_for_the_next_flush(state: GatewayState, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "apim_metrics.log")
    log.add(build_event(state))
    assert not (tmp_path / "apim_metrics.log").exists()

    log.flush()
    log.flush()

    assert (tmp_path / "apim_metrics.log").read_text().count("\n") == 1


def test_a_disabled_log_records_nothing(state: GatewayState) -> None:
    log = MetricsLog(None)

    log.add(build_event(state))
    log.flush()

    assert not log.is_on
