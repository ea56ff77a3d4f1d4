"""The two APIs of the chargers: where they stand on the gateway, what they need, and how one call of each looks.

Over REST, whatever protocol the readings are asked for in. The names are those of the artifacts under wso2/; a contract
test holds them together.
"""

from collections.abc import Sequence
from functools import partial

from pydantic import TypeAdapter

from charging_agent.gateway.protocol import Exchange, Published
from ev_service.charging import Chargers, Limit, LimitResults

CHARGERS = Published("ChargerAPI", "/chargers/1.0.0/chargers", "chargers:read", "GET /chargers/1.0.0/chargers")
LIMITS = Published(
    "ChargerControlAPI", "/charger-control/1.0.0/limits", "chargers:control", "PUT /charger-control/1.0.0/limits"
)
CHARGER_APIS = (CHARGERS, LIMITS)

MOST_LIMITS = 1000
"""As many as one call takes."""

_LARGEST_BYTES = 4 * 1024 * 1024
"""A thousand chargers with one EVSE each are about one MiB."""

_COMMAND_S = 8.0
"""The service waits for chargers twice, for reductions and for increases, by default 3 s each."""

_LIMITS_JSON = TypeAdapter(tuple[Limit, ...])


def reading() -> Exchange[Chargers]:
    """Ask for all chargers with their cars."""
    return Exchange(
        CHARGERS.name,
        CHARGERS.resource,
        "GET",
        CHARGERS.path,
        Chargers.model_validate_json,
        most_bytes=_LARGEST_BYTES,
    )


def setting(limits: Sequence[Limit], commander: str, decision_id: str) -> Exchange[LimitResults]:
    """Set limits, at most `MOST_LIMITS`; doing it twice does no harm.

    Args:
        limits: the important ones first.
        commander: who commands, for the lease.
        decision_id: the decision that they come from.
    """
    return Exchange(
        LIMITS.name,
        LIMITS.resource,
        "PUT",
        LIMITS.path,
        partial(_results, len(limits)),
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        content=_LIMITS_JSON.dump_json(tuple(limits), exclude_none=True),
        query={"commander": commander, "decision_id": decision_id},
        most_bytes=_LARGEST_BYTES,
        timeout_s=_COMMAND_S,
    )


def _results(asked: int, body: bytes) -> LimitResults:
    answered = LimitResults.model_validate_json(body)
    if len(answered.results) != asked:
        raise ValueError(f"{len(answered.results)} results for {asked} limits")
    return answered
