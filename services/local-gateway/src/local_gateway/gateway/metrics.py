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
from local_gateway.gateway.authorize import Refusal
from local_gateway.gateway.served import Served, Subscriber
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
class Finished:
    """One call that is over. Times: latency_ms of the whole, backend_ms of the backend's part [ms].

    api: the API or MCP server. A call of a tool is two: one of the server and one of the API behind.
    """

    at: datetime
    activity_id: str
    method: str
    api: Served | None
    template: str | None
    subscriber: Subscriber | None
    user: str | None
    status: int
    refusal: Refusal | None
    latency_ms: int
    backend_ms: int
    client_address: str
    user_agent: str
    response_bytes: int


class MetricsLog:
    """Writes finished calls to a file; without one it does nothing."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._waiting: list[Finished] = []
        self._host = socket.gethostname()

    @property
    def is_on(self) -> bool:
        return self._file is not None

    def add(self, finished: Finished) -> None:
        """Take a call; it is in the file a moment later."""
        if self._file is not None:
            self._waiting.append(finished)

    async def run(self) -> None:
        """Write what comes in, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            if finished := self._take():
                await asyncio.to_thread(self._write, finished)

    def flush(self) -> None:
        """Write what waits."""
        if finished := self._take():
            self._write(finished)

    def _take(self) -> list[Finished]:
        # In the event loop, never in the writing thread: nobody adds to the list while it changes hands.
        finished, self._waiting = self._waiting, []
        return finished

    def _write(self, finished: list[Finished]) -> None:
        assert self._file is not None
        try:
            if self._file.exists() and self._file.stat().st_size > _ROTATED_AT_BYTES:
                self._file.replace(self._file.with_suffix(".log.1"))
            with self._file.open("a", encoding="utf-8") as file:
                file.writelines(metrics_line(call, self._host) for call in finished)
        except OSError:
            _logger.exception("metrics log cannot be written", extra={"lost_lines": len(finished)})


def metrics_line(call: Finished, host: str) -> str:
    """One line of the log.

    Args:
        call: what is over.
        host: name of this machine, as the line's source.
    """
    at = call.at
    kind = "response" if call.refusal is None else "faulty"
    properties = {**_common(call), **(_answered(call) if call.refusal is None else _refused(call, call.refusal.fault))}
    clock = f"{at:%H:%M:%S},{at.microsecond // 1000:03d}"
    source = f"{clock} [{host}] [gateway]  INFO ELKCounterMetric"
    return f"{source} apimMetrics: apim:{kind}, properties :{json.dumps(properties)}\n"


def _common(call: Finished) -> dict[str, Any]:
    api, subscriber = call.api, call.subscriber
    application = subscriber.application if subscriber else None
    return {
        "requestTimestamp": utc_text(call.at),
        "correlationId": call.activity_id,
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
        "proxyResponseCode": call.status,
    }


def _answered(call: Finished) -> dict[str, Any]:
    context = call.api.context if call.api else ""
    user = call.user or "anonymous"
    return {
        "apiMethod": call.method,
        "apiContext": context,
        "apiResourceTemplate": call.template,
        "destination": call.api.destination if call.api else "",
        "userName": user,
        "targetResponseCode": call.status,
        "responseCacheHit": False,
        "responseLatency": call.latency_ms,
        "backendLatency": call.backend_ms,
        "requestMediationLatency": call.latency_ms - call.backend_ms,
        "responseMediationLatency": 0,
        "userIp": call.client_address,
        "userAgent": call.user_agent,
        "platform": "UNKNOWN",
        "properties": {"userName": user, "apiContext": context, "responseSize": call.response_bytes},
    }


def _refused(call: Finished, fault: Fault) -> dict[str, Any]:
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
        "properties": {"apiContext": call.api.context if call.api else "", "userName": call.user or "anonymous"},
    }
