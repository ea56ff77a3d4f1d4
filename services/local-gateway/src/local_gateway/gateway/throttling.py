"""Counts calls and says when there are too many.

Quotas are counted by windows aligned to the epoch, which makes minutes UTC clock minutes; burst limits by windows
that open with their first call. Pure but for the counters that it holds: is told the time, asks nobody for it.
Source: WSO2 API Manager 4.6 (throttle policy templates, ThrottleHandler): refused calls are not counted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from local_gateway.default_policies import NO_LIMIT
from local_gateway.state import Application, Document, GatewayState
from wso2_terms.codes import (
    API_THROTTLED,
    APPLICATION_THROTTLED,
    BURST_THROTTLED,
    RESOURCE_THROTTLED,
    SUBSCRIPTION_THROTTLED,
    Fault,
)
from wso2_terms.policies import ApplicationPolicy, PolicyKind, RequestCount, SubscriptionPolicy

_MAX_WINDOWS = 10_000


@dataclass(frozen=True, slots=True)
class ThrottleLevel:
    """One limit that a call is counted against.

    count: calls allowed in a window of window_s [s]. is_aligned: windows follow the clock, else the first call.
    """

    key: tuple[str, ...]
    count: int
    window_s: int
    fault: Fault
    is_aligned: bool


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """The first limit that refuses, and when its window ends [s since epoch]."""

    level: ThrottleLevel
    ends_s: float


@dataclass(slots=True)
class _Window:
    ends_s: float
    count: int


class Throttle:
    """The counters of one gateway."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, ...], _Window] = {}

    def admit(self, levels: Iterable[ThrottleLevel], now_s: float) -> LimitExceeded | None:
        """Count a call, unless a level refuses it.

        Args:
            levels: in the order in which they are asked.
            now_s: the run's time [s since epoch].

        Returns:
            What refused, None when the call may pass.
        """
        counted: list[tuple[ThrottleLevel, _Window]] = []
        for level in levels:
            window = self._windows.get(level.key)
            if window is None or window.ends_s <= now_s:
                window = self._open_window(level, now_s)
            if window.count >= level.count:
                return LimitExceeded(level, window.ends_s)
            counted.append((level, window))
        for _, window in counted:
            window.count += 1
        return None

    def _open_window(self, level: ThrottleLevel, now_s: float) -> _Window:
        if len(self._windows) >= _MAX_WINDOWS:
            self._windows = {key: window for key, window in self._windows.items() if window.ends_s > now_s}
        ends_s = (now_s // level.window_s + 1) * level.window_s if level.is_aligned else now_s + level.window_s
        window = self._windows[level.key] = _Window(ends_s, 0)
        return window


M = TypeVar("M", bound=BaseModel)


class PolicyLevels:
    """Looks up policies by name and says what they count."""

    def __init__(self, state: GatewayState) -> None:
        self._data = {(policy.kind, policy.name): policy.data for policy in state.policies.values()}

    def find_product_levels(self, policy: str | None, context: str) -> tuple[ThrottleLevel, ...]:
        """What limits all callers of an API or MCP server together."""
        return self._find_advanced_levels(policy, API_THROTTLED, context) if policy else ()

    def find_resource_levels(self, policy: str, context: str, target: str, verb: str) -> tuple[ThrottleLevel, ...]:
        """What limits all callers of a resource or tool together."""
        return self._find_advanced_levels(policy, RESOURCE_THROTTLED, context, target, verb)

    def find_plan_levels(self, name: str, *key: str) -> tuple[ThrottleLevel, ...]:
        """What a business plan grants one application at one API or MCP server."""
        data = self._data.get((PolicyKind.SUBSCRIPTION.value, name))
        if data is None:
            return ()
        policy = parse_document(SubscriptionPolicy, data)
        # Without stopOnQuotaReach WSO2 counts and lets pass.
        quota = policy.default_limit.request_count if policy.stop_on_quota_reach else None
        burst = _build_levels(BURST_THROTTLED, policy.burst, name, *key, is_aligned=False)
        return (*_build_levels(SUBSCRIPTION_THROTTLED, quota, name, *key), *burst)

    def find_application_levels(self, application: Application) -> tuple[ThrottleLevel, ...]:
        """What limits an application at everything together."""
        data = self._data.get((PolicyKind.APPLICATION.value, application.throttling_policy))
        count = parse_document(ApplicationPolicy, data).default_limit.request_count if data else None
        return _build_levels(APPLICATION_THROTTLED, count, application.throttling_policy, application.application_id)

    def _find_advanced_levels(self, name: str, fault: Fault, *key: str) -> tuple[ThrottleLevel, ...]:
        data = self._data.get((PolicyKind.ADVANCED.value, name))
        count = parse_document(RequestCount, data["defaultLimit"]["requestCount"]) if data else None
        return _build_levels(fault, count, name, *key)


def parse_document(model: type[M], data: Document) -> M:
    """Read what the state holds in WSO2's own form."""
    # By way of JSON, which is what the state holds: a strict model takes a list for a tuple from JSON alone.
    return model.model_validate_json(json.dumps(data))


def _build_levels(
    fault: Fault, count: RequestCount | None, *key: str, is_aligned: bool = True
) -> tuple[ThrottleLevel, ...]:
    if count is None or count.request_count >= NO_LIMIT:
        return ()
    # The limit is part of the key: a changed policy starts counting anew.
    whole_key = (fault.code, *key, str(count.request_count), str(count.window_s))
    return (ThrottleLevel(whole_key, count.request_count, count.window_s, fault, is_aligned),)
