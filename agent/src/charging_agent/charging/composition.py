"""Creates the charging controller and divides the call budget between readings and chargers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from charging_agent.charging.charger_api import CHARGER_APIS, LimitSetter, compute_validity_s
from charging_agent.charging.controller import ChargingController, ChargingListener
from charging_agent.gateway.budget import APPLICATION_LIMIT, CallBudget, CallLimit
from charging_agent.gateway.client import GatewayClient
from charging_agent.settings import AgentSettings
from ev_service.clock import Clock

_CALLS_OF_READINGS, _CALLS_OF_CHARGERS = 3, 2
"""What one round costs: sun, battery and grid; the chargers and their limits."""

_SLOWEST_S = 1200.0
"""Three of these are the longest life that the charger service gives a limit."""


def compute_round_interval(period_s: float, own: Sequence[CallLimit], shared: CallLimit) -> int:
    """Poll and command chargers every N-th round so that both fit into the call budget; 1 if the budget is not scarce.

    Args:
        period_s: of the loop [s].
        own: limits of the chargers' APIs.
        shared: limit of the application for all its APIs together.

    >>> compute_round_interval(15, [CallLimit(10, 60)], CallLimit(None))
    1
    >>> compute_round_interval(15, [CallLimit(10, 60)], CallLimit(10, 60))
    2
    """
    slowest = max(1, int(_SLOWEST_S / period_s))
    wanted = [*((limit, 1) for limit in own), (shared, _CALLS_OF_READINGS + _CALLS_OF_CHARGERS)]
    turns = [
        ceil(calls * limit.per_s / period_s / limit.requests) if limit.requests else slowest
        for limit, calls in wanted
        if limit.requests is not None
    ]
    return min(slowest, max([1, *turns]))


def split_budget(shared: CallLimit, period_s: float) -> tuple[CallLimit, CallLimit]:
    """Split the application's call limit between readings and chargers.

    Args:
        shared: limit of the application.
        period_s: between two turns of the chargers [s].

    Returns:
        What the readings may spend and what the chargers may. Where there is not enough for one round of both, the
        readings have it all: without them everything pauses anyway.
    """
    if shared.requests is None:
        return shared, shared
    chargers = _CALLS_OF_CHARGERS * ceil(shared.per_s / period_s)
    chargers = min(chargers, shared.requests - _CALLS_OF_READINGS)
    chargers = chargers if chargers >= _CALLS_OF_CHARGERS else 0
    return CallLimit(shared.requests - chargers, shared.per_s), CallLimit(chargers, shared.per_s)


_NAME = "agent"


def list_charger_scopes(settings: AgentSettings) -> list[str]:
    """List the scopes that the token needs for the chargers; empty where they are switched off."""
    return [api.scope for api in CHARGER_APIS] if settings.chargers else []


@dataclass(frozen=True, slots=True)
class CallAllocation:
    """Call limits of readings and chargers."""

    round_interval: int
    """Poll and command the chargers every N-th round."""
    readings: CallLimit
    """Limit of all readings together."""
    budgets: Mapping[str, CallBudget]
    """Budgets of the chargers' APIs, by name."""


def allocate_calls(settings: AgentSettings, limits: Mapping[str, CallLimit]) -> CallAllocation:
    """Divide what the gateway allows between readings and chargers.

    Args:
        settings: of the agent.
        limits: of the gateway, by API, and of the application.
    """
    shared = limits.get(APPLICATION_LIMIT, CallLimit(None))
    if not settings.chargers:
        return CallAllocation(1, shared, {})
    own = {api.name: limits.get(api.name, CallLimit()) for api in CHARGER_APIS}
    every = compute_round_interval(settings.period_s, list(own.values()), shared)
    readings, chargers = split_budget(shared, settings.period_s * every)
    whole = CallBudget(chargers)
    return CallAllocation(every, readings, {name: CallBudget(limit, whole) for name, limit in own.items()})


def build_controller(
    settings: AgentSettings,
    gateway: GatewayClient,
    clock: Clock,
    round_interval: int,
    listener: ChargingListener,
    deadline_s: float,
) -> ChargingController | None:
    """Build the charging controller; None where `AGENT_CHARGERS` is false.

    Args:
        settings: of the agent.
        gateway: makes the calls.
        clock: the run's clock.
        round_interval: poll and command the chargers every N-th round.
        listener: receives alarms, plans and commands.
        deadline_s: real time in which a poll of the chargers ends [s].
    """
    if not settings.chargers:
        return None
    limit_setter = LimitSetter(gateway, clock, settings.device or _NAME)
    return ChargingController(
        gateway,
        limit_setter,
        clock,
        settings.ages(),
        settings.charging(),
        deadline_s=deadline_s,
        valid_for_s=compute_validity_s(settings.period_s * round_interval),
        round_interval=round_interval,
        listener=listener,
    )
