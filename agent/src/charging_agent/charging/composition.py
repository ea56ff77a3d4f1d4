"""Puts the chargers' part of the agent together from its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from charging_agent.charging.charger_api import CHARGER_APIS
from charging_agent.charging.controller import Charging, Watcher
from charging_agent.charging.limit_setter import Commander, valid_for_s
from charging_agent.charging.round_interval import divided, rounds_a_turn
from charging_agent.gateway.budget import CallBudget, Limit
from charging_agent.gateway.client import GatewayClient
from charging_agent.gateway.credentials import SHARED
from charging_agent.settings import AgentSettings
from ev_service.clock import Clock

_NAME = "agent"


def charger_scopes(settings: AgentSettings) -> list[str]:
    """The scopes that the token must hold for the chargers; none where they are switched off."""
    return [api.scope for api in CHARGER_APIS] if settings.chargers else []


@dataclass(frozen=True, slots=True)
class Calls:
    """What may be called how often.

    every: of so many rounds the chargers have one. readings: limit of all readings together.
    budgets: of the chargers' APIs.
    """

    every: int
    readings: Limit
    budgets: Mapping[str, CallBudget]


def plan_calls(settings: AgentSettings, limits: Mapping[str, Limit]) -> Calls:
    """Divide what the gateway allows between readings and chargers.

    Args:
        settings: of the agent.
        limits: of the gateway, by API, and of the application.
    """
    shared = limits.get(SHARED, Limit(None))
    if not settings.chargers:
        return Calls(1, shared, {})
    own = {api.name: limits.get(api.name, Limit()) for api in CHARGER_APIS}
    every = rounds_a_turn(settings.period_s, list(own.values()), shared)
    readings, chargers = divided(shared, settings.period_s * every)
    whole = CallBudget(chargers)
    return Calls(every, readings, {name: CallBudget(limit, whole) for name, limit in own.items()})


def make_charging(
    settings: AgentSettings, gateway: GatewayClient, clock: Clock, every: int, watcher: Watcher, deadline_s: float
) -> Charging | None:
    """Make what reads and commands the chargers; None where `AGENT_CHARGERS` is false.

    Args:
        settings: of the agent.
        gateway: makes the calls.
        clock: the run's clock.
        every: of so many rounds the chargers have one.
        watcher: is told what happens.
        deadline_s: real time [s] in which a look at the chargers ends.
    """
    if not settings.chargers:
        return None
    commander = Commander(gateway, clock, settings.device or _NAME)
    return Charging(
        gateway,
        commander,
        clock,
        settings.ages(),
        settings.charging(),
        deadline_s=deadline_s,
        valid_for_s=valid_for_s(settings.period_s * every),
        every=every,
        watcher=watcher,
    )
