"""Prices and carbon as they travel: what the grid service answers and what the agent accepts."""

import math
import re
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp

MAX_HOURS = 48
"""Longest horizon that can be asked for [h]."""

MAX_INTERVALS = MAX_HOURS * 4 + 1
"""Most intervals of one answer: 48 h of 15 min, and the one that has begun."""

MAX_PARTS = 8
"""Most parts of one price."""

PRICE_BOUND_PER_KWH = 100_000.0
"""Largest amount of a part of a price [currency/kWh]: wide enough for every currency."""

MAX_CO2_G_PER_KWH = 5000.0
"""Highest CO2 of energy from the grid [g/kWh]; a kilowatt-hour from lignite has about 1100."""

ROUNDING = 1e-5
"""How far a price may lie from the sum of its parts [currency/kWh]: each part is rounded to six decimals."""

_PART_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def _check_part_name(name: str) -> str:
    if not _PART_NAME.fullmatch(name):
        raise ValueError("a part has a name such as energy, network or taxes")
    return name


# Not a pattern of the schema: OpenAPI 3.0 has none for the names of properties.
PartName = Annotated[str, AfterValidator(_check_part_name)]
PartPrice = Annotated[float, Field(ge=-PRICE_BOUND_PER_KWH, le=PRICE_BOUND_PER_KWH)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="Currency, ISO 4217.", examples=["EUR"])]


class PriceInterval(BaseModel):
    """Prices in one interval. A price may be negative: then taking energy is paid for.

    Raises:
        ValueError: a price is not the sum of its parts.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    interval_start: UtcTimestamp = Field(
        description="Start of the interval, UTC; it lasts `resolution_s`.", examples=["2026-06-21T16:00:00Z"]
    )
    import_price_per_kwh: float = Field(
        ge=-PRICE_BOUND_PER_KWH * MAX_PARTS,
        le=PRICE_BOUND_PER_KWH * MAX_PARTS,
        description="Price of energy drawn from the grid, the sum of `import_parts` [currency/kWh].",
        examples=[0.3012],
    )
    import_parts: dict[PartName, PartPrice] = Field(
        min_length=1,
        max_length=MAX_PARTS,
        description="What that price is made of, by name: `energy`, `network`, `taxes` … [currency/kWh].",
        examples=[{"energy": 0.0912, "network": 0.1525, "taxes": 0.0575}],
    )
    export_price_per_kwh: float | None = Field(
        default=None,
        ge=-PRICE_BOUND_PER_KWH * MAX_PARTS,
        le=PRICE_BOUND_PER_KWH * MAX_PARTS,
        description="What is paid for energy given to the grid, the sum of `export_parts` [currency/kWh]; null: not "
        "known.",
        examples=[0.0786],
    )
    export_parts: dict[PartName, PartPrice] = Field(
        default_factory=dict[str, float],
        max_length=MAX_PARTS,
        description="What the export price is made of, by name [currency/kWh]; empty: not known.",
    )
    co2_g_per_kwh: float | None = Field(
        default=None,
        ge=0,
        le=MAX_CO2_G_PER_KWH,
        description="CO2 of energy drawn from the grid [g/kWh]; null: not known.",
    )

    @model_validator(mode="after")
    def _is_sum_of_parts(self) -> Self:
        if abs(math.fsum(self.import_parts.values()) - self.import_price_per_kwh) > ROUNDING:
            raise ValueError("import_price_per_kwh must be the sum of import_parts")
        if (self.export_price_per_kwh is None) != (not self.export_parts):
            raise ValueError("export_price_per_kwh and export_parts go together")
        if (
            self.export_price_per_kwh is not None
            and abs(math.fsum(self.export_parts.values()) - self.export_price_per_kwh) > ROUNDING
        ):
            raise ValueError("export_price_per_kwh must be the sum of export_parts")
        return self


class GridPrices(Reading):
    """Prices of energy over the connection from now on, as far as they are known.

    An interval whose price is not known is absent: nothing is guessed.

    Raises:
        ValueError: the intervals do not rise in steps of `resolution_s`, or `known_until` is not what they say.
    """

    currency: Currency
    fetched_at: UtcTimestamp | None = Field(
        default=None,
        description="When prices last came from the market's source, UTC; null: they stand in the tariff file alone.",
    )
    resolution_s: Literal[900, 1800, 3600] = Field(description="Length of each interval [s].", examples=[900])
    intervals: tuple[PriceInterval, ...] = Field(
        min_length=1,
        max_length=MAX_INTERVALS,
        strict=False,
        description="Known intervals, the earliest first; the first may have begun.",
    )
    known_until: UtcTimestamp = Field(
        description="From `timestamp` until here every interval is known, UTC; equal to `timestamp` if the present one "
        "is not. Day-ahead prices of the next day are published around noon."
    )
    demand_charge_per_kw: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Charge on the highest mean power of a billing month, as it is now [currency/kW]; null: none.",
        examples=[15.48],
    )
    error: str | None = Field(
        default=None,
        max_length=400,
        description="What keeps prices from being complete or new, in one sentence; null: nothing.",
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        step = timedelta(seconds=self.resolution_s)
        starts = [interval.interval_start for interval in self.intervals]
        if any(later <= earlier or (later - earlier) % step for earlier, later in pairwise(starts)):
            raise ValueError("the intervals must rise in steps of resolution_s")
        if starts[0] + step <= self.timestamp:
            raise ValueError("the first interval must not be over at timestamp")
        if self.known_until != find_known_end(self.timestamp, starts, step):
            raise ValueError("known_until must be the end of the intervals that follow timestamp without a gap")
        return self


def find_known_end(now: datetime, starts: list[datetime], step: timedelta) -> datetime:
    """Find the end of the intervals that hold `now` and follow each other without a gap; `now` if none holds it.

    Args:
        now: a moment.
        starts: starts of intervals, rising.
        step: length of each.
    """
    known_until = now
    for start in starts:
        if start > known_until:
            break
        known_until = start + step
    return known_until
