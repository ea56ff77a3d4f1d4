"""Reconciles the ledger with the gateway's own log.

The chain shows what was changed or removed, not what was never recorded. The gateway's log has a line for each call.
Source of the lines: WSO2 API Manager 4.6, `apim_metrics.log` (`[apim.analytics] type = "elk"`).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

_MARK, _PROPERTIES = "apimMetrics: apim:", "properties :"
_UNKNOWN = "UNKNOWN"
_NEAR = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class GatewayLine:
    """One call as the gateway tells it."""

    place: str
    at: datetime
    correlation_id: str | None
    api: str
    application: str
    status: int

    def __str__(self) -> str:
        return f"{self.place}: {self.at.isoformat()} {self.api} {self.status}, id {self.correlation_id}"


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call as a record tells it."""

    sequence: int
    run_id: str
    at: datetime
    correlation_id: str | None
    api: str
    is_mcp: bool
    status: int | None

    def __str__(self) -> str:
        return f"record {self.sequence}: {self.at.isoformat()} {self.api} {self.status}, id {self.correlation_id}"


@dataclass(slots=True)
class ReconciliationResult:
    """Result of the comparison."""

    joined: int = 0
    """Calls in both, joined by id."""
    joined_by_time: int = 0
    """Calls in both without an id, joined by API, application, time and status."""
    without_answer: int = 0
    """Calls without a response, for which the gateway may have no line."""
    inner: int = 0
    """Lines of the API behind an MCP server."""
    before_the_ledger: int = 0
    """Lines before the first record."""
    after_the_ledger: int = 0
    """Lines after the last record."""
    between_runs: list[GatewayLine] = field(default_factory=list[GatewayLine])
    """Lines between the last record of a run and the first call of the next: the run was cut off."""
    outside_the_log: int = 0
    """Calls outside the time that the log covers."""
    omitted: list[GatewayLine] = field(default_factory=list[GatewayLine])
    """Lines that no record contains."""
    invented: list[RecordedCall] = field(default_factory=list[RecordedCall])
    """Recorded calls that the log lacks."""

    @property
    def is_whole(self) -> bool:
        return not self.omitted and not self.invented


def parse_gateway_log(text: str, name: str) -> list[GatewayLine]:
    """The calls in a metrics log; other lines in it are passed over.

    Raises:
        ValueError: names a line that tells of a call and is not understood.
    """
    lines: list[GatewayLine] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _MARK in line:
            place = f"{name}, line {number}"
            try:
                lines.append(_parse_gateway_line(place, json.loads(line.partition(_PROPERTIES)[2])))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{place}: not understood") from error
    return lines


def list_recorded_calls(records: Iterable[dict[str, Any]]) -> list[RecordedCall]:
    """The calls that verified records hold."""
    return [
        RecordedCall(
            record["sequence"],
            record["run_id"],
            _parse_timestamp(call["at"]),
            call["correlation_id"],
            call["api"],
            call["protocol"] == "mcp",
            call["status"],
        )
        for record in records
        for call in record["calls"]
    ]


def reconcile(
    records: Sequence[dict[str, Any]], lines: Sequence[GatewayLine], application: str
) -> ReconciliationResult:
    """Compare the calls of records with the lines of the log.

    Args:
        records: verified ones, in their order, at least one.
        lines: of the gateway's log, rotated parts included.
        application: whose lines must all be found again.
    """
    result, calls = ReconciliationResult(), list_recorded_calls(records)
    answered = [call for call in calls if call.status is not None]
    by_id = _LinePool(lines, lambda line: (line.correlation_id, line.api, line.status))
    left = [call for call in answered if not by_id.take((call.correlation_id, call.api, call.status))]
    # A call that no API was found for has a line without one.
    by_id = _LinePool(by_id.left, lambda line: (line.correlation_id, line.api, line.status))
    left = [call for call in left if not by_id.take((call.correlation_id, _UNKNOWN, call.status))]
    result.joined = len(answered) - len(left)
    rest, left = _join_by_time(by_id.left, left, application)
    result.joined_by_time = len(answered) - len(left) - result.joined
    without = _LinePool(rest, lambda line: (line.correlation_id, line.api))
    unanswered = [call for call in calls if call.status is None]
    for call in unanswered:
        without.take((call.correlation_id, call.api))
    result.without_answer = len(unanswered)
    _judge_lines(result, _drop_inner_lines(result, without.left, calls), records, calls, application)
    _judge_calls(result, left, lines)
    return result


class _LinePool:
    """Lines by a key, each to be taken once."""

    def __init__(self, lines: Iterable[GatewayLine], key: Callable[[GatewayLine], tuple[object, ...]]) -> None:
        self._lines: defaultdict[tuple[object, ...], list[GatewayLine]] = defaultdict(list)
        for line in lines:
            self._lines[key(line)].append(line)

    @property
    def left(self) -> list[GatewayLine]:
        return sorted((line for lines in self._lines.values() for line in lines), key=lambda line: line.at)

    def take(self, key: tuple[object, ...]) -> bool:
        # Where the id is absent on both sides nothing was joined by it.
        if key[0] is None or not self._lines[key]:
            return False
        self._lines[key].pop(0)
        return True


def _join_by_time(
    lines: list[GatewayLine], calls: list[RecordedCall], application: str
) -> tuple[list[GatewayLine], list[RecordedCall]]:
    rest, left = list(lines), list[RecordedCall]()
    for call in calls:
        found = next(
            (
                line
                for line in rest
                if (line.correlation_id is None or call.correlation_id is None)
                and (line.api, line.application, line.status) == (call.api, application, call.status)
                and abs(line.at - call.at) <= _NEAR
            ),
            None,
        )
        if found is None:
            left.append(call)
        else:
            rest.remove(found)
    return rest, left


def _drop_inner_lines(
    result: ReconciliationResult, lines: list[GatewayLine], calls: list[RecordedCall]
) -> list[GatewayLine]:
    # Each call of a tool may have one line of the API behind, under the id of the call.
    behind: Counter[str | None] = Counter(call.correlation_id for call in calls if call.is_mcp)
    servers = {call.api for call in calls if call.is_mcp}
    left: list[GatewayLine] = []
    for line in lines:
        if line.api not in servers and behind[line.correlation_id] > 0:
            behind[line.correlation_id] -= 1
            result.inner += 1
        else:
            left.append(line)
    return left


def _judge_lines(
    result: ReconciliationResult,
    lines: list[GatewayLine],
    records: Sequence[dict[str, Any]],
    calls: list[RecordedCall],
    application: str,
) -> None:
    began = min([_parse_timestamp(records[0]["decided_at"]), *(call.at for call in calls)])
    ended = max([_parse_timestamp(records[-1]["decided_at"]), *(call.at for call in calls)])
    gaps = _find_gaps(records)
    for line in lines:
        if line.application != application:
            continue
        if line.at < began:
            result.before_the_ledger += 1
        elif line.at > ended:
            result.after_the_ledger += 1
        elif any(start < line.at < end for start, end in gaps):
            result.between_runs.append(line)
        else:
            result.omitted.append(line)


def _find_gaps(records: Sequence[dict[str, Any]]) -> list[tuple[datetime, datetime]]:
    """From the last record of each run to the first call of the next."""
    gaps: list[tuple[datetime, datetime]] = []
    for last, first in pairwise(records):
        if last["run_id"] != first["run_id"]:
            ends = [_parse_timestamp(first["decided_at"]), *(_parse_timestamp(call["at"]) for call in first["calls"])]
            gaps.append((_parse_timestamp(last["decided_at"]), min(ends)))
    return gaps


def _judge_calls(result: ReconciliationResult, calls: list[RecordedCall], lines: Sequence[GatewayLine]) -> None:
    began = min((line.at for line in lines), default=None)
    ended = max((line.at for line in lines), default=None)
    for call in calls:
        if began is None or ended is None or call.at < began - _NEAR or call.at > ended + _NEAR:
            result.outside_the_log += 1
        else:
            result.invented.append(call)


def _parse_gateway_line(place: str, fields: dict[str, Any]) -> GatewayLine:
    return GatewayLine(
        place,
        _parse_timestamp(fields["requestTimestamp"]),
        fields.get("correlationId") or None,
        str(fields["apiName"]),
        str(fields["applicationName"]),
        int(fields["proxyResponseCode"]),
    )


def _parse_timestamp(timestamp: str | int) -> datetime:
    if isinstance(timestamp, int):
        return datetime.fromtimestamp(timestamp / 1000, UTC)
    moment = datetime.fromisoformat(timestamp)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
