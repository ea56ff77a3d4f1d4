"""To which current each EVSE falls when nobody commands it.

Pure. All fallbacks together with the building fit under the site's limit, whatever cars come: so they hold without
this service, without the agent and without the gateway.
"""

from collections.abc import Sequence
from dataclasses import replace

from charger_service.envelope import (
    NOTHING,
    CurrentRequest,
    Envelope,
    EvseKey,
    EvseWiring,
    PhaseLoads,
    compute_headroom,
)


def choose_fallbacks(
    wirings: Sequence[EvseWiring], envelope: Envelope, *, building_kw: float | None, fallback_a: float
) -> dict[EvseKey, float]:
    """Give the fallback to as many EVSEs as it fits for, in their order, and 0 A to the others.

    Args:
        wirings: all EVSEs, in the order in which they are served.
        envelope: the shared limits.
        building_kw: highest load of the building that is expected [kW], spread evenly over the phases; None: not
            known, so that nothing can be promised to any EVSE.
        fallback_a: current per phase [A], 0 or at least 6.

    >>> site = Envelope(10.0, 230.0, 1, {"main": 100.0})
    >>> wirings = [EvseWiring((name, 1), "main", (1,), 32.0) for name in ("CP-1", "CP-2")]
    >>> choose_fallbacks(wirings, site, building_kw=8.0, fallback_a=6.0)
    {('CP-1', 1): 6.0, ('CP-2', 1): 0.0}
    """
    fallbacks = {wiring.key: 0.0 for wiring in wirings}
    if building_kw is None or building_kw >= envelope.site_limit_kw:
        return fallbacks
    beside = replace(envelope, site_limit_kw=envelope.site_limit_kw - building_kw)
    loads = PhaseLoads()
    for wiring in wirings:
        wanted_a = min(fallback_a, wiring.max_current_a)
        # All or nothing: a fallback that is lower here and there would be one more thing to explain.
        if compute_headroom(CurrentRequest(wiring, wanted_a, None, NOTHING), loads, beside)[0] >= wanted_a:
            loads.add(wiring, wiring.currents(wanted_a))
            fallbacks[wiring.key] = wanted_a
    return fallbacks
