"""Metrics log: one line for each finished call, in the format of WSO2's `apim_metrics.log`.

It is the only evidence of rejected and throttled calls. Lines are written outside of the data path, several times per
second.
Source: WSO2 API Manager 4.6, `[apim.analytics] type = "elk"` (ELKCounterMetric, ELKMetricEventBuilder).
"""

import asyncio
import json
import logging
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ev_service.units import utc_text
from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.routing_model import GatewayProduct, Subscriber
from wso2_terms.codes import DENIED, Fault, is_backend_failure

FLUSH_EVERY_S = 0.25
_ROTATED_AT_BYTES = 50 << 20

_logger = logging.getLogger(__name__)

_THROTTLED = {
    "900800": "API_LEVEL_LIMIT_EXCEEDED",
    "900802": "RESOURCE_LEVEL_LIMIT_EXCEEDED",
    "900803": "APPLICATION_LEVEL_LIMIT_EXCEEDED",
    "900804": "SUBSCRIPTION_LIMIT_EXCEEDED",
    "900807": "BURST_CONTROL_LIMIT_EXCEEDED",
    DENIED.code: "BLOCKED",
}
_AUTHENTICATION = {
    "900901": "INVALID_CREDENTIALS",
    "900902": "MISSING_CREDENTIALS",
    "900907": "SUBSCRIPTION_VALIDATION_FAILED",
    "900908": "SUBSCRIPTION_VALIDATION_FAILED",
    "900910": "SCOPE_VALIDATION_FAILED",
}


@dataclass(frozen=True, slots=True)
class MetricsEvent:
    """A finished call. A tool call yields two events: one of the MCP server and one of the API of the tool."""

    at: datetime
    """When the call began."""

    activity_id: str
    """Correlation id of the call."""

    method: str
    """HTTP method."""

    product: GatewayProduct | None
    """The called API or MCP server, None if unknown."""

    template: str | None
    """Path template of the called resource, None if unknown."""

    subscriber: Subscriber | None
    """The subscribed application, None if unknown."""

    user: str | None
    """User of the access token, None without a token."""

    status: int
    """HTTP status of the answer."""

    rejection: Rejection | None
    """Why the gateway rejected the call, None if it did not."""

    latency_ms: int
    """Duration of the call [ms]."""

    backend_ms: int
    """Time spent waiting for the backend [ms]."""

    client_address: str
    """IP address of the client."""

    user_agent: str
    """Header `User-Agent`, else `UNKNOWN`."""

    response_bytes: int
    """Size of the answer's body [byte], 0 if unknown."""


class MetricsLog:
    """Writes events to a file; does nothing without a file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._pending: list[MetricsEvent] = []
        self._host = socket.gethostname()

    @property
    def is_on(self) -> bool:
        return self._file is not None

    def add(self, event: MetricsEvent) -> None:
        """Queue an event for writing."""
        if self._file is not None:
            self._pending.append(event)

    async def run(self) -> None:
        """Write queued events periodically until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            if events := self._take():
                await asyncio.to_thread(self._write, events)

    def flush(self) -> None:
        """Write the queued events."""
        if events := self._take():
            self._write(events)

    def _take(self) -> list[MetricsEvent]:
        # Only called in the event loop, so that no event is added while the list is exchanged.
        events, self._pending = self._pending, []
        return events

    def _write(self, events: list[MetricsEvent]) -> None:
        assert self._file is not None
        try:
            if self._file.exists() and self._file.stat().st_size > _ROTATED_AT_BYTES:
                self._file.replace(self._file.with_suffix(".log.1"))
            with self._file.open("a", encoding="utf-8") as file:
                file.writelines(format_metrics_line(call, self._host) for call in events)
        except OSError:
            _logger.exception("metrics log cannot be written", extra={"lost_lines": len(events)})


def format_metrics_line(event: MetricsEvent, host: str) -> str:
    """Format one line of the log.

    Args:
        event: The finished call.
        host: Name of this machine, the source in the line.
    """
    at = event.at
    kind = "response" if event.rejection is None else "faulty"
    properties = {
        **_build_common_properties(event),
        **(
            _build_response_properties(event)
            if event.rejection is None
            else _build_fault_properties(event, event.rejection.fault)
        ),
    }
    clock = f"{at:%H:%M:%S},{at.microsecond // 1000:03d}"
    source = f"{clock} [{host}] [gateway]  INFO ELKCounterMetric"
    return f"{source} apimMetrics: apim:{kind}, properties :{json.dumps(properties)}\n"


def _build_common_properties(event: MetricsEvent) -> dict[str, Any]:
    api, subscriber = event.product, event.subscriber
    application = subscriber.application if subscriber else None
    return {
        "requestTimestamp": utc_text(event.at),
        "correlationId": event.activity_id,
        "keyType": subscriber.key_type if subscriber else "UNKNOWN",
        "apiId": api.api_id if api else "UNKNOWN",
        "apiType": api.type if api else "HTTP",
        "apiName": api.name if api else "UNKNOWN",
        "apiVersion": api.version if api else "UNKNOWN",
        "apiCreator": api.provider if api else "UNKNOWN",
        "apiCreatorTenantDomain": "carbon.super",
        "applicationId": application.application_id if application else "UNKNOWN",
        "applicationName": application.name if application else "UNKNOWN",
        "applicationOwner": application.owner if application else "UNKNOWN",
        "regionId": "default",
        "gatewayType": "SYNAPSE",
        "proxyResponseCode": event.status,
    }


def _build_response_properties(event: MetricsEvent) -> dict[str, Any]:
    context = event.product.context if event.product else ""
    user = event.user or "anonymous"
    return {
        "apiMethod": event.method,
        "apiContext": context,
        "apiResourceTemplate": event.template,
        "destination": event.product.destination if event.product else "",
        "userName": user,
        "targetResponseCode": event.status,
        "responseCacheHit": False,
        "responseLatency": event.latency_ms,
        "backendLatency": event.backend_ms,
        "requestMediationLatency": event.latency_ms - event.backend_ms,
        "responseMediationLatency": 0,
        "userIp": event.client_address,
        "userAgent": event.user_agent,
        "platform": "UNKNOWN",
        "properties": {"userName": user, "apiContext": context, "responseSize": event.response_bytes},
    }


def _build_fault_properties(event: MetricsEvent, fault: Fault) -> dict[str, Any]:
    if fault.code in _THROTTLED:
        kind, reason = "THROTTLED", _THROTTLED[fault.code]
    elif fault.code in _AUTHENTICATION:
        kind, reason = "AUTH", _AUTHENTICATION[fault.code]
    elif is_backend_failure(fault.code):
        kind, reason = "TARGET_CONNECTIVITY", "CONNECTION_TIMEOUT" if fault.code == "101504" else "OTHER"
    else:
        kind, reason = "OTHER", "OTHER"
    return {
        "errorType": kind,
        "errorCode": int(fault.code),
        "errorMessage": reason,
        "targetResponseCode": -1,
        "properties": {
            "apiContext": event.product.context if event.product else "",
            "userName": event.user or "anonymous",
        },
    }
