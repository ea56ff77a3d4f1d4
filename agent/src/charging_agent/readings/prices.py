"""Prices as a decision sees them: compact, so that each record can hold them whole, and kept apart from readings."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from charging_agent.gateway.calls import ReadingApi
from charging_agent.readings.outlook_cache import HORIZON, MAX_INTERVALS, drop_past, is_young
from ev_service.prices import Currency, GridPrices
from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp

PRICES = "grid"
"""Name of the grid's prices in `DecisionInputs.prices`."""

GRID_PRICES = ReadingApi("grid", "/grid-prices", "getGridPrices", GridPrices, max_bytes=256 * 1024)
"""Where prices are read; published by the API of the grid's readings."""

MAX_AGE = timedelta(hours=24)
"""How old an answer may be: what was published for an hour still holds, but not what nobody has confirmed for a day."""


class PriceOutlook(Reading):
    """Sums of the parts of each price, from the interval that has begun on; null where a price is not known.

    Raises:
        ValueError: the lists have different lengths.
    """

    currency: Currency
    starts_at: UtcTimestamp = Field(description="Start of the first interval, UTC.")
    resolution_s: int = Field(gt=0, le=3600, description="Length of each interval [s].")
    import_price_per_kwh: tuple[float | None, ...] = Field(
        min_length=1, max_length=MAX_INTERVALS, strict=False, description="Price of energy drawn [currency/kWh]."
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
        if not is_young(self.timestamp, now, MAX_AGE):
            return None
        left = drop_past(self, ("import_price_per_kwh", "export_price_per_kwh", "co2_g_per_kwh"), now)
        return None if all(price is None for price in left.import_price_per_kwh) else left
