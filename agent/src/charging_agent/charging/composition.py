"""Puts the chargers' part of the agent together from its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from charging_agent.charging.charger_api import CHARGER_APIS
from charging_agent.charging.controller import ChargingController, ChargingListener
from charging_agent.charging.limit_setter import LimitSetter, compute_validity_s
from charging_agent.charging.round_interval import compute_round_interval, split_budget
from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.gateway.client import GatewayClient
from charging_agent.gateway.credentials import APPLICATION_LIMIT
from charging_agent.settings import AgentSettings
from ev_service.clock import Clock

_NAME = "agent"


def list_charger_scopes(settings: AgentSettings) -> list[str]:
    """The scopes that the token must hold for the chargers; none where they are switched off."""
    return [api.scope for api in CHARGER_APIS] if settings.chargers else []


@dataclass(frozen=True, slots=True)
class CallAllocation:
    """What may be called how often.

    round_interval: poll and command the chargers every N-th round. readings: limit of all readings together.
    budgets: of the chargers' APIs.
    """

    round_interval: int
    readings: CallLimit
    budgets: Mapping[str, CallBudget]


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
    watcher: ChargingListener,
    deadline_s: float,
) -> ChargingController | None:
    """Make what reads and commands the chargers; None where `AGENT_CHARGERS` is false.

    Args:
        settings: of the agent.
        gateway: makes the calls.
        clock: the run's clock.
        round_interval: poll and command the chargers every N-th round.
        watcher: is told what happens.
        deadline_s: real time [s] in which a look at the chargers ends.
    """
    if not settings.chargers:
        return None
    commander = LimitSetter(gateway, clock, settings.device or _NAME)
    return ChargingController(
        gateway,
        commander,
        clock,
        settings.ages(),
        settings.charging(),
        deadline_s=deadline_s,
        valid_for_s=compute_validity_s(settings.period_s * round_interval),
        round_interval=round_interval,
        listener=watcher,
    )
