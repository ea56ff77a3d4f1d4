"""What the market's prices and the site's tariff add up to in each interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ev_service.errors import SourceUnavailableError
from ev_service.prices import GridPrices, PriceInterval, find_known_end
from ev_service.units import utc_text
from grid_service.prices.table import ENERGY, PriceFormatError, PriceTable, seconds_since_epoch
from grid_service.prices.tariff import VAT, LocalTariff, ValueAddedTax

_DECIMALS = 6
_MAX_ERROR = 400
_NO_PARTS: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class PriceInputs:
    """Everything that prices are made of."""

    site_id: str
    """Name of the site."""

    source: str
    """Where prices come from, as readings name it."""

    tariff: LocalTariff
    """The site's tariff."""

    needs_market: bool
    """Whether a price without the market's part is not known."""

    market: PriceTable | None = None
    """The market's prices; None: there are none, yet or at all."""

    fetched_at: datetime | None = None
    """When they came, UTC."""

    co2: PriceTable | None = None
    """CO2 from a file of its own; it takes precedence over that of the market's source and of the tariff."""

    errors: tuple[str, ...] = ()
    """What keeps inputs from being complete or new, each in one sentence."""


def build_prices(inputs: PriceInputs, now: datetime, hours: int) -> GridPrices:
    """Add up the prices of all intervals from now on.

    Args:
        inputs: what they are made of.
        now: moment of the question, UTC.
        hours: how far to look ahead [h].

    Raises:
        SourceUnavailableError: the price of no interval is known.
    """
    currency = _demand_one_currency(inputs)
    end = now + timedelta(hours=hours)
    step = timedelta(seconds=_find_resolution_s(inputs, now, end))
    start = now - timedelta(seconds=seconds_since_epoch(now) % step.seconds, microseconds=now.microsecond)
    wanted = [start + index * step for index in range(math.ceil((end - start) / step))]
    intervals = [interval for moment in wanted if (interval := _build_interval(inputs, moment)) is not None]
    if not intervals:
        raise SourceUnavailableError(_describe(inputs, None) or "no price is known from now on")
    known_until = find_known_end(now, [interval.interval_start for interval in intervals], step)
    return GridPrices(
        site_id=inputs.site_id,
        timestamp=now,
        source=inputs.source,
        currency=currency,
        fetched_at=inputs.fetched_at,
        resolution_s=step.seconds,  # pyright: ignore[reportArgumentType]  (a divisor of the hour, checked by the model)
        intervals=tuple(intervals),
        known_until=known_until,
        demand_charge_per_kw=inputs.tariff.demand_charge_at(now),
        error=_describe(inputs, known_until if intervals[-1].interval_start >= known_until else None),
    )


def _demand_one_currency(inputs: PriceInputs) -> str:
    stated, given = inputs.tariff.tariff.currency, None if inputs.market is None else inputs.market.currency
    if stated is not None and given is not None and stated != given:
        raise SourceUnavailableError(f"prices come in {given}, the tariff file has {stated}")
    currency = stated or given
    if currency is None:
        raise SourceUnavailableError(_describe(inputs, None) or "no currency: the tariff file has to state it")
    return currency


def _find_resolution_s(inputs: PriceInputs, now: datetime, end: datetime) -> int:
    slots = [slot for table in (inputs.market, inputs.co2) if table is not None for slot in table.select(now, end)]
    bounds_s = (second for slot in slots for second in (slot.length_s, seconds_since_epoch(slot.start) % 3600))
    return math.gcd(inputs.tariff.find_resolution_s(now, end), *bounds_s)


def _build_interval(inputs: PriceInputs, start: datetime) -> PriceInterval | None:
    """Add up one interval; None where a part is not known."""
    stated = inputs.tariff.values_at(start)
    slot = None if inputs.market is None else inputs.market.find(start)
    market = _NO_PARTS if slot is None else slot.parts
    if stated.import_parts is None or (inputs.needs_market and not market):
        return None
    imported = {name: round(value, _DECIMALS) for name, value in {**market, **stated.import_parts}.items()}
    imported |= _tax(imported, inputs.tariff.tariff.vat)
    if not imported:
        return None
    exported = _export_parts(inputs, market, stated.export_parts)
    carbon = None if inputs.co2 is None else inputs.co2.find(start)
    co2 = (carbon and carbon.co2_g_per_kwh, slot and slot.co2_g_per_kwh, stated.co2_g_per_kwh)
    return PriceInterval(
        interval_start=start,
        import_price_per_kwh=round(math.fsum(imported.values()), _DECIMALS),
        import_parts=imported,
        export_price_per_kwh=round(math.fsum(exported.values()), _DECIMALS) if exported else None,
        export_parts=exported,
        co2_g_per_kwh=next((grams for grams in co2 if grams is not None), None),
    )


def _tax(parts: Mapping[str, float], vat: ValueAddedTax | None) -> dict[str, float]:
    if vat is None or not parts:
        return {}
    taxed = [value for name, value in parts.items() if vat.of is None or name in vat.of]
    return {VAT: round(math.fsum(taxed) * vat.percent / 100, _DECIMALS)}


def _export_parts(
    inputs: PriceInputs, market: Mapping[str, float], stated: Mapping[str, float] | None
) -> dict[str, float]:
    share = inputs.tariff.tariff.export_energy_share
    if stated is None or (share is not None and ENERGY not in market):
        return {}
    energy = {} if share is None else {ENERGY: share * market[ENERGY]}
    return {name: round(value, _DECIMALS) for name, value in {**energy, **stated}.items()}


def _describe(inputs: PriceInputs, gap: datetime | None) -> str | None:
    sentences = list(inputs.errors)
    if gap is not None:
        sentences.append(f"prices from {utc_text(gap)} on are missing, though later ones are known")
    return "; ".join(sentences)[:_MAX_ERROR] or None


def demand_distinct_parts(tariff: LocalTariff, market_parts: frozenset[str]) -> None:
    """Check that a tariff states no part that the source of prices gives.

    Raises:
        PriceFormatError: it does.
    """
    if twice := sorted(market_parts & tariff.tariff.import_parts.keys()):
        raise PriceFormatError(f"import_parts names {', '.join(twice)}, which the source of prices gives")
