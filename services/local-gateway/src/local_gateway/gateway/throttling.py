"""Throttling: the limits that policies put on callers, and the counters for them.

Quotas use windows aligned to the epoch, so that a minute is a UTC clock minute; burst limits use windows that start
with their first call.
Source: WSO2 API Manager 4.6 (throttle policy templates, ThrottleHandler): rejected calls are not counted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from local_gateway.state import NO_LIMIT, Application, Document, GatewayState
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
    """One limit that a call is counted against."""

    key: tuple[str, ...]
    """Identity of the counter; calls with equal keys share one."""

    count: int
    """Calls allowed per window."""

    window_s: int
    """Length of the window [s]."""

    fault: Fault
    """Fault of a call that exceeds the limit."""

    is_aligned: bool
    """Windows are aligned to the epoch, else they start with the first call."""


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """The first limit that rejects a call."""

    level: ThrottleLevel
    """The limit."""

    ends_s: float
    """End of its window [s since epoch]."""


@dataclass(slots=True)
class _Window:
    ends_s: float
    count: int


class Throttle:
    """Counters of one gateway."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, ...], _Window] = {}

    def admit(self, levels: Iterable[ThrottleLevel], now_s: float) -> LimitExceeded | None:
        """Count a call, unless a limit is exceeded.

        Args:
            levels: Limits in the order in which they are checked.
            now_s: Current time [s since epoch].

        Returns:
            The exceeded limit, None if the call is admitted.
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
    """Finds the limits that throttling policies define."""

    def __init__(self, state: GatewayState) -> None:
        self._data = {(policy.kind, policy.name): policy.data for policy in state.policies.values()}

    def find_product_levels(self, policy: str | None, context: str) -> tuple[ThrottleLevel, ...]:
        """Return the limits that all callers of an API or MCP server share."""
        return self._find_advanced_levels(policy, API_THROTTLED, context) if policy else ()

    def find_resource_levels(self, policy: str, context: str, target: str, verb: str) -> tuple[ThrottleLevel, ...]:
        """Return the limits that all callers of a resource or tool share."""
        return self._find_advanced_levels(policy, RESOURCE_THROTTLED, context, target, verb)

    def find_plan_levels(self, name: str, *key: str) -> tuple[ThrottleLevel, ...]:
        """Return the limits of a business plan for one application at one product."""
        data = self._data.get((PolicyKind.SUBSCRIPTION.value, name))
        if data is None:
            return ()
        policy = parse_document(SubscriptionPolicy, data)
        # Without stopOnQuotaReach WSO2 counts the calls and admits them.
        quota = policy.default_limit.request_count if policy.stop_on_quota_reach else None
        burst = _build_levels(BURST_THROTTLED, policy.burst, name, *key, is_aligned=False)
        return (*_build_levels(SUBSCRIPTION_THROTTLED, quota, name, *key), *burst)

    def find_application_levels(self, application: Application) -> tuple[ThrottleLevel, ...]:
        """Return the limits of an application across all products."""
        data = self._data.get((PolicyKind.APPLICATION.value, application.throttling_policy))
        count = parse_document(ApplicationPolicy, data).default_limit.request_count if data else None
        return _build_levels(APPLICATION_THROTTLED, count, application.throttling_policy, application.application_id)

    def _find_advanced_levels(self, name: str, fault: Fault, *key: str) -> tuple[ThrottleLevel, ...]:
        data = self._data.get((PolicyKind.ADVANCED.value, name))
        count = parse_document(RequestCount, data["defaultLimit"]["requestCount"]) if data else None
        return _build_levels(fault, count, name, *key)


def parse_document(model: type[M], data: Document) -> M:
    """Parse a document of the state into its model."""
    # Validated from JSON text, because a strict model accepts a list for a tuple only there.
    return model.model_validate_json(json.dumps(data))


def _build_levels(
    fault: Fault, count: RequestCount | None, *key: str, is_aligned: bool = True
) -> tuple[ThrottleLevel, ...]:
    if count is None or count.request_count >= NO_LIMIT:
        return ()
    # The limit is part of the key, so that a changed policy starts with a new counter.
    whole_key = (fault.code, *key, str(count.request_count), str(count.window_s))
    return (ThrottleLevel(whole_key, count.request_count, count.window_s, fault, is_aligned),)
