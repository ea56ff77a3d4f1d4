"""Rows on the metrics log, and on the bootstrap finding nothing to change.

Source of the expectations: WSO2 API Manager 4.6.0, `[apim.analytics] type = "elk"` (ELKCounterMetric).
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.provision import Wso2, provision
from wso2_provisioning.verification.context import PREFIX, VerificationContext
from wso2_provisioning.verification.mcp_rows import RECORDED, McpRows
from wso2_provisioning.verification.refusal_rows import ACTIVITY, APPLICATION
from wso2_provisioning.verification.rows import Observation, Row, RowSkippedError
from wso2_terms.codes import SUBSCRIPTION_THROTTLED

WRITTEN_S = 10.0
_PAUSE_S = 0.2
_LINE = re.compile(r"apimMetrics: apim:(?P<kind>response|faulty), properties :(?P<properties>\{.*\})\s*$")


class EvidenceRows:
    """Rows about the calls that other rows made.

    Args:
        context: of the verified WSO2.
        metrics_log: a file, or `SERVICE:PATH` in a container of the Compose project; None skips its rows.
        tool_calls: rows that called tools before.
    """

    def __init__(self, context: VerificationContext, metrics_log: str | None, tool_calls: McpRows) -> None:
        self._context = context
        self._metrics_log = metrics_log
        self._tool_calls = tool_calls

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        needs = "--metrics-log"
        throttled = f"apim:faulty THROTTLED {SUBSCRIPTION_THROTTLED.code} SUBSCRIPTION_LIMIT_EXCEEDED"
        answered = f"apim:response 200 GET {self._context.project.api.versioned_context}"
        return [
            Row("metrics log: a call that was answered", needs, answered, self._observe_response_line),
            Row("metrics log: a call over the plan", needs, throttled, self._observe_throttled_line),
            Row("metrics log: id of a refused call", needs, RECORDED, self._observe_refused_id),
            Row("metrics log: lines of a tool call", needs, RECORDED, self._observe_tool_lines),
            Row("bootstrap --check", "backends as at the bootstrap", "nothing to change", self._observe_dry_run),
        ]

    def _observe_response_line(self) -> Observation:
        found = self._wait_for_line("response")
        values = (found.get(name) for name in ("proxyResponseCode", "apiMethod", "apiContext"))
        return Observation(" ".join(["apim:response", *map(str, values)]))

    def _observe_throttled_line(self) -> Observation:
        found = self._wait_for_line("faulty")
        values = (found.get(name) for name in ("errorType", "errorCode", "errorMessage"))
        return Observation(" ".join(["apim:faulty", *map(str, values)]))

    def _observe_refused_id(self) -> Observation:
        self._read_log()
        return self._observe_lines_of(self._context.call(None).headers.get(ACTIVITY))

    def _observe_tool_lines(self) -> Observation:
        self._read_log()
        return self._observe_lines_of(self._tool_calls.activity_id)

    def _observe_lines_of(self, activity_id: str | None) -> Observation:
        """Report how many log lines contain the id of the answer's header."""
        ends_s = time.monotonic() + WRITTEN_S
        while True:
            found = [line for _, line in parse_lines(self._read_log()) if line.get("correlationId") == activity_id]
            if found or time.monotonic() > ends_s:
                names = ", ".join(f"{line.get('apiName')} {line.get('apiType')}" for line in found)
                return Observation(RECORDED, f"{len(found)} lines have the answer's {ACTIVITY}: {names or 'none'}")
            self._context.http.sleep(_PAUSE_S)

    def _wait_for_line(self, kind: str) -> dict[str, Any]:
        ends_s = time.monotonic() + WRITTEN_S
        while True:
            lines = parse_lines(self._read_log())
            found = [line for of, line in lines if of == kind and line.get("applicationName") == PREFIX + APPLICATION]
            if found:
                return found[-1]
            if time.monotonic() > ends_s:
                raise ProvisioningError(f"no apim:{kind} of {PREFIX}{APPLICATION} within {WRITTEN_S:.0f} s")
            self._context.http.sleep(_PAUSE_S)

    def _read_log(self) -> str:
        if self._metrics_log is None:
            raise RowSkippedError("needs --metrics-log")
        service, _, path = self._metrics_log.partition(":")
        if not path or len(service) == 1:
            # One letter before a colon is a Windows drive.
            return Path(self._metrics_log).read_text(encoding="utf-8", errors="replace")
        done = subprocess.run(
            ["docker", "compose", "exec", "-T", service, "cat", path], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ProvisioningError(f"docker compose exec {service} cat {path} ended with {done.returncode}")
        return done.stdout

    def _observe_dry_run(self) -> Observation:
        changes = ChangeLog(is_dry_run=True, report=lambda _: None)
        wso2 = Wso2(self._context.http, self._context.settings, is_dry_run=True)
        planned = provision(wso2, self._context.artifacts, changes).changes
        return Observation("; ".join(planned) or "nothing to change")


def parse_lines(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield kind and properties of each line of a metrics log."""
    for line in text.splitlines():
        if found := _LINE.search(line):
            yield found["kind"], json.loads(found["properties"])
