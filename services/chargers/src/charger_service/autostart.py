"""Asks chargers to begin a transaction where a car waits and its charger does not begin one by itself.

Many chargers stay in Preparing (OCPP 1.6; 2.0.1: Occupied without a transaction) until RemoteStartTransaction, because
nobody can present a token there. Each car is asked for once, and once more where no transaction follows. What a driver
ended is not begun again: a charger is only asked where no session was since the EVSE was last free.
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
"""How long a car waits before its charger is asked [s]: time enough to present a token."""
AGAIN_AFTER_S = 30.0
"""When a charger is asked for the second time [s]: a car that was allowed to charge has begun by then."""
_MOST_TIMES = 2

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _StartRequest:
    """How often a charger was asked for the car that waits, and when last, monotonic [s]."""

    times: int = 0
    last_s: float = -math.inf


class Autostart:
    """Looks for cars that wait.

    Args:
        site: what is known and ordered.
        queue: the way to the chargers.
        drivers: who may charge.
    """

    def __init__(self, site: ChargingSite, queue: CommandQueue, drivers: Drivers) -> None:
        self._site = site
        self._queue = queue
        self._drivers = drivers
        self._asked: dict[EvseKey, _StartRequest] = {}

    def is_asked(self, key: EvseKey) -> bool:
        """Whether the EVSE's charger was asked to begin the transaction that it now begins."""
        return key in self._asked and self._drivers.may_charge(AUTOSTART_TOKEN)

    def check(self, key: EvseKey, now_s: float) -> None:
        """Ask the EVSE's charger where that is due; now_s: monotonic [s]."""
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
        """Whether a car waits long enough, at a charger that takes orders, and nobody stopped all cars.

        A charger that comes back has time to tell first what happened while it was away.
        """
        charger, given = self._site.chargers[key[0]], self._site.override
        since_s = max(facts.state_since_s, charger.since_s)
        if facts.state is not EvseState.OCCUPIED or not charger.is_ready or now_s - since_s < AFTER_S:
            return False
        if given is not None and given.override.kind == "stop":
            return False
        is_configured = self._site.quirks(key[0]).autostart
        return self._drivers.is_open if is_configured is None else is_configured
