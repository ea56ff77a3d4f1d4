"""Prices as a decision sees them: compact, so that each record can hold them whole, and kept apart from readings.

Prices share the call budget of the grid's readings and never cost one of these its call. A missing price degrades no
decision.
"""

import logging
from datetime import datetime, timedelta
from math import ceil
from typing import Self

from pydantic import Field, model_validator

from charging_agent.gateway.budget import CallBudget
from charging_agent.gateway.calls import FailureReason, GatewayCallError, ReadingApi
from charging_agent.gateway.client import GatewayClient
from ev_service.clock import Clock
from ev_service.prices import Currency, GridPrices
from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp
from wso2_terms import codes

PRICES = "grid"
"""Name of the grid's prices in `DecisionInputs.prices`."""

GRID_PRICES = ReadingApi("grid", "/grid-prices", "getGridPrices", GridPrices, max_bytes=256 * 1024)
"""Where prices are read; published by the API of the grid's readings."""

HORIZON = timedelta(hours=24)
"""How far ahead prices are kept for decisions."""

MAX_AGE = timedelta(hours=24)
"""How old an answer may be: what was published for an hour still holds, but not what nobody has confirmed for a day."""

NOT_PUBLISHED_S = 3600.0
"""A site that has no prices is asked again after this time [s]."""

_RESERVED_CALLS = 3
"""Most calls of one refresh: a refused token, and over MCP the list of tools, cost one more each."""

_MAX_INTERVALS = 97
_CLOCK_STEP = timedelta(seconds=5)

_logger = logging.getLogger(__name__)


class PriceOutlook(Reading):
    """Sums of the parts of each price, from the interval that has begun on; null where a price is not known.

    Raises:
        ValueError: the lists have different lengths.
    """

    currency: Currency
    starts_at: UtcTimestamp = Field(description="Start of the first interval, UTC.")
    resolution_s: int = Field(gt=0, le=3600, description="Length of each interval [s].")
    import_price_per_kwh: tuple[float | None, ...] = Field(
        min_length=1, max_length=_MAX_INTERVALS, strict=False, description="Price of energy drawn [currency/kWh]."
    )
    export_price_per_kwh: tuple[float | None, ...] = Field(
        strict=False, description="What is paid for energy given [currency/kWh]."
    )
    co2_g_per_kwh: tuple[float | None, ...] = Field(strict=False, description="CO2 of energy drawn [g/kWh].")
    demand_charge_per_kw: float | None = Field(default=None, ge=0, description="Demand charge [currency/kW and month].")

    @model_validator(mode="after")
    def _is_rectangular(self) -> Self:
        lengths = {len(self.import_price_per_kwh), len(self.export_price_per_kwh), len(self.co2_g_per_kwh)}
        if len(lengths) != 1:
            raise ValueError("import, export and CO2 must have the same length")
        return self

    @classmethod
    def from_prices(cls, prices: GridPrices) -> "PriceOutlook":
        """Take from an answer what decisions need."""
        step, first = timedelta(seconds=prices.resolution_s), prices.intervals[0].interval_start
        known = {(one.interval_start - first) // step: one for one in prices.intervals}
        held = [known.get(index) for index in range(min(max(known) + 1, HORIZON // step + 1))]
        return cls(
            site_id=prices.site_id,
            timestamp=prices.timestamp,
            source=prices.source,
            currency=prices.currency,
            starts_at=first,
            resolution_s=prices.resolution_s,
            import_price_per_kwh=tuple(one and one.import_price_per_kwh for one in held),
            export_price_per_kwh=tuple(one and one.export_price_per_kwh for one in held),
            co2_g_per_kwh=tuple(one and one.co2_g_per_kwh for one in held),
            demand_charge_per_kw=prices.demand_charge_per_kw,
        )

    def cut(self, now: datetime) -> "PriceOutlook | None":
        """Return what is left from the interval of `now` on; None if nothing is, or if it is too old."""
        if not -_CLOCK_STEP <= now - self.timestamp <= MAX_AGE:
            return None
        step = timedelta(seconds=self.resolution_s)
        over = max(0, (now - self.starts_at) // step)
        if all(price is None for price in self.import_price_per_kwh[over:]):
            return None
        if not over:
            return self
        return self.model_copy(
            update={
                "starts_at": self.starts_at + over * step,
                "import_price_per_kwh": self.import_price_per_kwh[over:],
                "export_price_per_kwh": self.export_price_per_kwh[over:],
                "co2_g_per_kwh": self.co2_g_per_kwh[over:],
            }
        )


def has_calls_for_prices(budget: CallBudget, now: datetime, period_s: float, sources: int) -> bool:
    """Tell whether a refresh leaves every reading its calls for the rest of the gateway's window.

    Args:
        budget: of the API that publishes the prices.
        now: the run's time.
        period_s: a reading is fetched once in this time at most [s].
        sources: number of readings that share the application's budget.
    """
    application = budget.application
    limits = [(budget, 1), *(((application, sources),) if application is not None else ())]
    for one, readings in limits:
        left = one.own_remaining(now)
        if left is None:
            continue
        rounds = ceil((one.window_end(now) - now).total_seconds() / period_s) + 1
        if left - _RESERVED_CALLS < rounds * readings:
            return False
    return True


class PriceCache:
    """Holds the newest prices, and fetches new ones when they are due and calls are left over.

    Args:
        gateway: fetches them.
        budget: of the API that publishes them.
        clock: the run's clock.
        refresh_s: from one fetch to the next [s].
        period_s: a reading is fetched once in this time at most [s].
        sources: number of readings that share the application's budget.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        budget: CallBudget,
        clock: Clock,
        *,
        refresh_s: float,
        period_s: float,
        sources: int,
    ) -> None:
        self._gateway, self._budget, self._clock = gateway, budget, clock
        self._refresh_s, self._period_s, self._sources = refresh_s, period_s, sources
        self._held: PriceOutlook | None = None
        self._due_s = -1.0
        self._cuts = 0
        self.error: FailureReason | None = None
        """What the last fetch met; None: nothing, or there was none yet."""

    def current(self, now: datetime) -> PriceOutlook | None:
        """Return the prices from `now` on, without any call; None if none are known."""
        return None if self._held is None else self._held.cut(now)

    def is_due(self) -> bool:
        """Whether new prices are wanted and may be fetched now."""
        if self._clock.monotonic_s() < self._due_s:
            return False
        return has_calls_for_prices(self._budget, self._clock.now(), self._period_s, self._sources)

    async def refresh(self) -> bool:
        """Fetch prices once.

        Returns:
            Whether a deny policy refused: its answer counts for all readings.
        """
        cuts, self._due_s = self._cuts, self._clock.monotonic_s() + self._refresh_s
        try:
            prices = PriceOutlook.from_prices(await self._gateway.fetch_once(GRID_PRICES))
        except GatewayCallError as failure:
            self._on_failure(failure)
            return failure.code == codes.DENIED.code
        except ValueError:
            self.error = FailureReason.INVALID_READING
            return False
        # What was asked before the agent was cut off tells nothing any more.
        if cuts == self._cuts:
            self._held, self.error = prices, None
        return False

    def revoke_access(self) -> None:
        """Forget the prices held, and what a call in flight may still bring."""
        self._held, self.error = None, FailureReason.BLOCKED
        self._cuts += 1

    def _on_failure(self, failure: GatewayCallError) -> None:
        if failure.reason is FailureReason.BLOCKED:
            self.revoke_access()
        if failure.reason is FailureReason.NOT_FOUND:
            self._due_s = self._clock.monotonic_s() + max(self._refresh_s, NOT_PUBLISHED_S)
        if failure.reason is not self.error:
            _logger.warning("prices not fetched", extra={"reason": failure.reason.value, "code": failure.code})
        self.error = failure.reason
