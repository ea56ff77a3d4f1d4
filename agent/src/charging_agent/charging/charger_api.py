"""The two APIs of the chargers: where they stand on the gateway, what they need, and how one call of each looks.

Over REST, whatever protocol the readings are asked for in. The names are those of the artifacts under wso2/; a contract
test holds them together.
"""

from collections.abc import Sequence
from functools import partial

from pydantic import TypeAdapter

from charging_agent.gateway.protocol import ApiRequest, PublishedApi
from ev_service.charging import Chargers, Limit, LimitResults

CHARGERS = PublishedApi("ChargerAPI", "/chargers/1.0.0/chargers", "chargers:read", "GET /chargers/1.0.0/chargers")
LIMITS = PublishedApi(
    "ChargerControlAPI", "/charger-control/1.0.0/limits", "chargers:control", "PUT /charger-control/1.0.0/limits"
)
CHARGER_APIS = (CHARGERS, LIMITS)

MAX_LIMITS_PER_CALL = 1000
"""As many as one call takes."""

_LARGEST_BYTES = 4 * 1024 * 1024
"""A thousand chargers with one EVSE each are about one MiB."""

_COMMAND_S = 8.0
"""The service waits for chargers twice, for reductions and for increases, by default 3 s each."""

_LIMITS_JSON = TypeAdapter(tuple[Limit, ...])


def build_read_request() -> ApiRequest[Chargers]:
    """Ask for all chargers with their cars."""
    return ApiRequest(
        CHARGERS.name,
        CHARGERS.resource,
        "GET",
        CHARGERS.path,
        Chargers.model_validate_json,
        max_bytes=_LARGEST_BYTES,
    )


def build_limits_request(limits: Sequence[Limit], commander: str, decision_id: str) -> ApiRequest[LimitResults]:
    """Set limits, at most `MOST_LIMITS`; doing it twice does no harm.

    Args:
        limits: the important ones first.
        commander: who commands, for the lease.
        decision_id: the decision that they come from.
    """
    return ApiRequest(
        LIMITS.name,
        LIMITS.resource,
        "PUT",
        LIMITS.path,
        partial(_parse_results, len(limits)),
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        content=_LIMITS_JSON.dump_json(tuple(limits), exclude_none=True),
        query={"commander": commander, "decision_id": decision_id},
        max_bytes=_LARGEST_BYTES,
        timeout_s=_COMMAND_S,
    )


def _parse_results(asked: int, body: bytes) -> LimitResults:
    answered = LimitResults.model_validate_json(body)
    if len(answered.results) != asked:
        raise ValueError(f"{len(answered.results)} results for {asked} limits")
    return answered
