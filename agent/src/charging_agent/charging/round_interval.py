"""In how many of the loop's rounds the chargers get their two calls, where calls are scarce.

Pure. Limits live three of the periods that come out of it, so that a slower pace does not let them lapse.
"""

from collections.abc import Sequence
from math import ceil

from charging_agent.gateway.budget import CallLimit

_CALLS_OF_READINGS, _CALLS_OF_CHARGERS = 3, 2
"""What one round costs: sun, battery and grid; the chargers and their limits."""

_SLOWEST_S = 1200.0
"""Three of these are the longest life that the charger service gives a limit."""


def compute_round_interval(period_s: float, own: Sequence[CallLimit], shared: CallLimit) -> int:
    """Every how many rounds the chargers have their turn, so that the readings have theirs; 1 where calls suffice.

    Args:
        period_s: of the loop [s].
        own: limits of the chargers' APIs.
        shared: limit of the application for all its APIs together.

    >>> rounds_a_turn(15, [CallLimit(10, 60)], CallLimit(None))
    1
    >>> rounds_a_turn(15, [CallLimit(10, 60)], CallLimit(10, 60))
    2
    """
    slowest = max(1, int(_SLOWEST_S / period_s))
    wanted = [*((limit, 1) for limit in own), (shared, _CALLS_OF_READINGS + _CALLS_OF_CHARGERS)]
    turns = [
        _required_interval(limit, calls, period_s, slowest) for limit, calls in wanted if limit.requests is not None
    ]
    return min(slowest, max([1, *turns]))


def _required_interval(limit: CallLimit, calls: int, period_s: float, slowest: int) -> int:
    return ceil(calls * limit.per_s / period_s / limit.requests) if limit.requests else slowest


def split_budget(shared: CallLimit, period_s: float) -> tuple[CallLimit, CallLimit]:
    """Divide the limit for all APIs together between readings and chargers, so that neither starves the other.

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
