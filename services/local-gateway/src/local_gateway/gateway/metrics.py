"""One line for each finished call, in the form of WSO2's `apim_metrics.log`.

Evidence of refused and throttled calls is written nowhere else. Lines are put together and written beside the data
path, a few times a second.
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
    """One call that is over. Times: latency_ms of the whole, backend_ms of the backend's part [ms].

    api: the API or MCP server. A call of a tool is two: one of the server and one of the API behind.
    """

    at: datetime
    activity_id: str
    method: str
    product: GatewayProduct | None
    template: str | None
    subscriber: Subscriber | None
    user: str | None
    status: int
    rejection: Rejection | None
    latency_ms: int
    backend_ms: int
    client_address: str
    user_agent: str
    response_bytes: int


class MetricsLog:
    """Writes finished calls to a file; without one it does nothing."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._pending: list[MetricsEvent] = []
        self._host = socket.gethostname()

    @property
    def is_on(self) -> bool:
        return self._file is not None

    def add(self, event: MetricsEvent) -> None:
        """Take a call; it is in the file a moment later."""
        if self._file is not None:
            self._pending.append(event)

    async def run(self) -> None:
        """Write what comes in, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            if events := self._take():
                await asyncio.to_thread(self._write, events)

    def flush(self) -> None:
        """Write what waits."""
        if events := self._take():
            self._write(events)

    def _take(self) -> list[MetricsEvent]:
        # In the event loop, never in the writing thread: nobody adds to the list while it changes hands.
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
    """One line of the log.

    Args:
        event: the finished call.
        host: name of this machine, as the line's source.
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
