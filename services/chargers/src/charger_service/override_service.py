"""Orders of the service itself: the operator's override, and the fallback where nobody commands.

Such an order lasts as long as its reason; on the charger it has an end all the same, and is renewed before that.
"""

import math
from collections.abc import Iterable
from datetime import timedelta

from charger_service.command_queue import CommandQueue
from charger_service.envelope import GRID_SIGNAL, EvseKey, EvseWiring
from charger_service.limit_allocator import LimitAllocator, LimitRequest
from charger_service.limit_state import PROTECTION, Cause, LimitOrder
from charger_service.site import ActiveOverride, ChargingSite, isolate_errors
from ev_service.charging import LEAST_CURRENT_A, Override
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant


def override_a(override: Override, wiring: EvseWiring, voltage_v: float) -> float:
    """Current per phase [A] that an override gives one EVSE: 0, or at least 6 and at most what it can give.

    Args:
        override: the operator's order.
        wiring: the EVSE.
        voltage_v: between phase and neutral [V].
    """
    power_kw = override.charging_power_kw or 0.0
    # Down to tenths, which is what OCPP carries.
    limit_a = int(power_kw * 10_000 / voltage_v / len(wiring.phases) + 1e-6) / 10
    return 0.0 if limit_a < LEAST_CURRENT_A else min(limit_a, wiring.max_current_a)


class OverrideService:
    """Orders the override that is in force, else the fallback.

    Args:
        site: the site's state.
        allocator: for orders that may raise a limit.
        queue: for orders that cannot.
        clock: the run's clock.
        longest_s: how long an order lasts on the charger [s].
    """

    def __init__(
        self, site: ChargingSite, allocator: LimitAllocator, queue: CommandQueue, clock: Clock, longest_s: float
    ) -> None:
        self._site = site
        self._allocator = allocator
        self._queue = queue
        self._clock = clock
        self._longest = timedelta(seconds=longest_s)

    async def enforce(self, keys: Iterable[EvseKey] | None = None) -> None:
        """Send the override to the cars that are there, or to some of them."""
        active = self._site.override
        if active is None:
            return
        lifetime = self._lifetime(active)
        voltage_v = self._site.rules.settings.voltage_v
        requests: list[LimitRequest] = []
        for key in self._site.wirings if keys is None else keys:
            with isolate_errors("enforcing the override", key):
                if self._site.get_session(key) is not None:
                    limit_a = override_a(active.override, self._site.wirings[key], voltage_v)
                    requests.append(LimitRequest(key, limit_a, lifetime, Cause.OVERRIDE))
        if requests:
            await self._allocator.apply(requests, lambda: self._site.override is not active)

    def release(self) -> None:
        """End the override: cars fall to their fallback until an agent commands again."""
        self._site.override = None
        for key, state in self._site.limit_states.items():
            with isolate_errors("ending the override", key):
                if state.wanted is not None and state.wanted.cause is Cause.OVERRIDE:
                    self.fall_back(key)

    def fall_back(self, key: EvseKey) -> None:
        """Send one EVSE its fallback."""
        now = read_clock(self._clock)
        lifetime = EarlierEnd.until(now, now.wall + self._longest)
        self._queue.send(key, LimitOrder(self._site.limit_states[key].fallback_a, lifetime, Cause.FALLBACK))

    def limit_new_session(self, key: EvseKey) -> None:
        """Send the limit of a car or charger that is new: what was ordered before, else its fallback.

        It is sent also where the charger holds it as default profile: some ignore their default.
        """
        active, before, now = self._site.override, self._site.limit_states[key].wanted, read_clock(self._clock)
        if before is not None and not before.lifetime.has_ended(now) and not self.is_due(key, now):
            self._queue.send_again(key)
        elif active is not None and active.override.kind == "stop":
            self._queue.send(key, LimitOrder(0.0, self._lifetime(active), Cause.OVERRIDE))
        else:
            # A fixed power that is more than this follows with the supervisor's next check.
            self.fall_back(key)

    def is_due(self, key: EvseKey, now: Instant) -> bool:
        """Return whether the service's order for an EVSE is to be renewed: it nears its end, or its reason changed."""
        order, active = self._site.limit_states[key].wanted, self._site.override
        if order is None or order.cause is Cause.AGENT:
            return order is None or active is not None or order.lifetime.has_ended(now)
        if order.limited_by == PROTECTION and order.limit_a < self._site.caps.get(key, math.inf):
            return True
        if order.limited_by == GRID_SIGNAL and not self._site.signal.is_in_force:
            return True
        remaining_s = order.lifetime.remaining_s(now)
        ends_soon = remaining_s < self._longest.total_seconds() / 2
        if active is not None:
            is_last = remaining_s > active.lifetime.remaining_s(now) - _SAME_END_S
            return order.cause is not Cause.OVERRIDE or (ends_soon and not is_last)
        fallback_a = self._site.limit_states[key].fallback_a
        has_risen = order.limit_a < fallback_a and order.limited_by is None
        return order.cause is not Cause.FALLBACK or ends_soon or order.limit_a > fallback_a or has_risen

    def _lifetime(self, active: ActiveOverride) -> EarlierEnd:
        """Compute the lifetime of an order on the charger, which is renewed where the override lasts longer."""
        now = read_clock(self._clock)
        return EarlierEnd.until(now, min(active.lifetime.expected_end(now), now.wall + self._longest))


_SAME_END_S = 1.0
