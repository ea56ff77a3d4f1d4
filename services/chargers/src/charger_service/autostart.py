"""Requests a transaction where a car waits and its charger does not start one by itself.

Many chargers stay in Preparing (OCPP 1.6; 2.0.1: Occupied without a transaction) until RemoteStartTransaction, because
no token can be presented there. There is one request per car, and a second one where no transaction follows. What a
driver ended is not started again: requests need an EVSE that had no session since it was last free.
"""

import logging
import math
from dataclasses import dataclass

from charger_service.command_queue import CommandQueue
from charger_service.drivers import AUTOSTART_TOKEN, Drivers
from charger_service.envelope import EvseKey
from charger_service.evse_facts import EvseFacts
from charger_service.site import ChargingSite
from ev_service.charging import EvseState

AFTER_S = 15.0
"""How long a car waits before the request [s]: time enough to present a token."""
AGAIN_AFTER_S = 30.0
"""Time until the second request [s]: a car that was allowed to charge has started by then."""
_MOST_TIMES = 2

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _StartRequest:
    """Requests for the car that waits."""

    times: int = 0
    last_s: float = -math.inf
    """Monotonic time of the last one [s]."""


class Autostart:
    """Finds cars that wait.

    Args:
        site: the site's state.
        queue: sends requests to the chargers.
        drivers: who may charge.
    """

    def __init__(self, site: ChargingSite, queue: CommandQueue, drivers: Drivers) -> None:
        self._site = site
        self._queue = queue
        self._drivers = drivers
        self._asked: dict[EvseKey, _StartRequest] = {}

    def is_asked(self, key: EvseKey) -> bool:
        """Return whether the service requested the transaction that now starts."""
        return key in self._asked and self._drivers.may_charge(AUTOSTART_TOKEN)

    def check(self, key: EvseKey, now_s: float) -> None:
        """Request a transaction where that is due; now_s: monotonic [s]."""
        facts = self._site.evses[key]
        if facts.is_served or facts.state is EvseState.AVAILABLE:
            self._asked.pop(key, None)
            return
        if not self._waits(key, facts, now_s):
            return
        asked = self._asked.get(key, _StartRequest())
        if asked.times >= _MOST_TIMES or now_s - asked.last_s < AGAIN_AFTER_S:
            return
        self._asked[key] = _StartRequest(asked.times + 1, now_s)
        if self._drivers.may_charge(AUTOSTART_TOKEN):
            self._queue.start_transaction(key, AUTOSTART_TOKEN)
        elif not asked.times:
            where = {"charger_id": key[0], "evse_id": key[1], "id_token": AUTOSTART_TOKEN}
            _logger.warning("a car waits, and the list of tokens lacks the one of autostart", extra=where)

    def _waits(self, key: EvseKey, facts: EvseFacts, now_s: float) -> bool:
        """Whether a car waits long enough, at a charger that accepts commands, and no override stops all cars.

        A charger that reconnects has time to report first what happened while it was offline.
        """
        charger, given = self._site.chargers[key[0]], self._site.override
        since_s = max(facts.state_since_s, charger.since_s)
        if facts.state is not EvseState.OCCUPIED or not charger.is_ready or now_s - since_s < AFTER_S:
            return False
        if given is not None and given.override.kind == "stop":
            return False
        is_configured = self._site.quirks(key[0]).autostart
        return self._drivers.is_open if is_configured is None else is_configured
