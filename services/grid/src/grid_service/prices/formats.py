"""Formats of prices: our own JSON and CSV, Energy-Charts, aWATTar and Tibber; each becomes a `PriceTable`.

ENTSO-E's XML is in `entsoe`. An answer is used whole or not at all.
"""

import csv
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ev_service.prices import Currency
from ev_service.units import UtcTimestamp
from grid_service.prices.table import ENERGY, TAXES, PriceFormatError, PriceSlot, PriceTable, slots_from_starts

_PER_MWH = 1000.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT = re.compile(r"([A-Z]{3})/MWH")
_TOLD = 80


class _Document(BaseModel):
    # Tolerant of further fields, which public sources add; numbers must be finite.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


M = TypeVar("M", bound=_Document)


def parse_own(content: bytes) -> PriceTable:
    """Parse our own JSON: `currency` and `intervals` of `interval_start`, `price_per_kwh`, `co2_g_per_kwh`.

    `resolution_s` is the length of each interval; without it lengths follow from the starts.

    Raises:
        PriceFormatError: it is not that.
    """
    document = _read(_Own, content)
    starts = [interval.interval_start for interval in document.intervals]
    parts = [_energy(interval.price_per_kwh) for interval in document.intervals]
    co2 = [interval.co2_g_per_kwh for interval in document.intervals]
    if document.resolution_s is None:
        return PriceTable.from_slots(document.currency, slots_from_starts(starts, parts, co2))
    length_s, known = document.resolution_s, zip(starts, parts, co2, strict=True)
    slots = (PriceSlot(start, length_s, part, grams) for start, part, grams in known if part or grams is not None)
    return PriceTable.from_slots(document.currency, slots)


class _OwnInterval(_Document):
    interval_start: UtcTimestamp
    price_per_kwh: float | None = None
    co2_g_per_kwh: float | None = None


class _Own(_Document):
    currency: Currency
    resolution_s: int | None = None
    intervals: tuple[_OwnInterval, ...] = Field(min_length=1)


def parse_csv(content: bytes) -> PriceTable:
    """Parse a CSV with a header, separated by `,` or `;`.

    Columns: `interval_start` (ISO 8601 with offset) or `utc_timestamp` (UTC without one); `price_per_kwh` or
    `price_per_mwh`; `co2_g_per_kwh`; `currency`. An empty cell is a value that is not known.

    Raises:
        PriceFormatError: it is not that.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PriceFormatError("it is not UTF-8 text") from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(StringIO(text), delimiter=";" if ";" in header else ",")
    columns = set(reader.fieldnames or ())
    if not columns & {"interval_start", "utc_timestamp"} or not columns & set(_VALUE_COLUMNS):
        raise PriceFormatError(f"its header has no start or no value, but {_shorten(header)}")
    starts: list[datetime] = []
    parts: list[Mapping[str, float]] = []
    co2: list[float | None] = []
    currencies = set[str]()
    try:
        for row in reader:
            starts.append(_row_start(row))
            prices = [_number(row, "price_per_kwh"), _number(row, "price_per_mwh", _PER_MWH)]
            parts.append(_energy(next((price for price in prices if price is not None), None)))
            co2.append(_number(row, "co2_g_per_kwh"))
            currencies.update({row["currency"]} if row.get("currency") else ())
    except (ValueError, TypeError, AttributeError, OverflowError, csv.Error) as error:
        raise PriceFormatError(f"line {reader.line_num} cannot be read") from error
    if len(currencies) > 1:
        raise PriceFormatError(f"it has prices in {' and '.join(sorted(currencies))}")
    return PriceTable.from_slots(next(iter(currencies), None), slots_from_starts(starts, parts, co2))


_VALUE_COLUMNS = ("price_per_kwh", "price_per_mwh", "co2_g_per_kwh")


def _row_start(row: Mapping[str, str]) -> datetime:
    if start := row.get("interval_start"):
        moment = datetime.fromisoformat(start)
        if moment.tzinfo is None:
            raise ValueError("a local time without offset names two moments when clocks are set back")
        return moment.astimezone(UTC)
    moment = datetime.fromisoformat(row["utc_timestamp"])
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _number(row: Mapping[str, str], column: str, divisor: float = 1.0) -> float | None:
    text = (row.get(column) or "").strip()
    return float(text) / divisor if text else None


def parse_energy_charts(content: bytes) -> PriceTable:
    """Parse the answer of Energy-Charts to `/price?bzn=…`.

    Source: api.energy-charts.info, OpenAPI document: `unix_seconds`, `price` and `unit`, such as `EUR / MWh`; a price
    that is not known is null.

    Raises:
        PriceFormatError: it is not that.
    """
    document = _read(_EnergyCharts, content)
    if len(document.unix_seconds) != len(document.price):
        raise PriceFormatError("it has another number of times than of prices")
    starts = [_from_epoch(seconds) for seconds in document.unix_seconds]
    parts = [_energy(price, _PER_MWH) for price in document.price]
    return PriceTable.from_slots(_currency_per_mwh(document.unit), slots_from_starts(starts, parts))


class _EnergyCharts(_Document):
    unix_seconds: tuple[int, ...]
    price: tuple[float | None, ...]
    unit: str


def parse_awattar(content: bytes) -> PriceTable:
    """Parse the answer of aWATTar to `/v1/marketdata`.

    Source: awattar.de/services/api: `data` of `start_timestamp` and `end_timestamp` [ms], `marketprice` and `unit`,
    which is `Eur/MWh`.

    Raises:
        PriceFormatError: it is not that.
    """
    data = _read(_Awattar, content).data
    currencies = {_currency_per_mwh(entry.unit) for entry in data}
    if len(currencies) != 1:
        raise PriceFormatError("it holds no price" if not data else "it has prices in several currencies")
    slots = (
        PriceSlot(
            _from_epoch(entry.start_timestamp / 1000),
            (entry.end_timestamp - entry.start_timestamp) // 1000,
            _energy(entry.marketprice, _PER_MWH),
        )
        for entry in data
    )
    return PriceTable.from_slots(currencies.pop(), slots)


class _AwattarEntry(_Document):
    start_timestamp: int
    end_timestamp: int
    marketprice: float
    unit: str


class _Awattar(_Document):
    data: tuple[_AwattarEntry, ...]


def parse_tibber(content: bytes) -> PriceTable:
    """Parse the answer of Tibber to a query of `priceInfo { today, tomorrow }`: of the first home with a subscription.

    `tomorrow` is empty until about 13:00. The parts are `energy` and `taxes`. Source: developer.tibber.com, type
    `Price`: `total` is the sum of `energy` and `tax`.

    Raises:
        PriceFormatError: it is not that, or holds an error.
    """
    document = _read(_Tibber, content)
    if document.errors or document.data is None:
        reasons = "; ".join(error.message for error in document.errors) or "no data"
        raise PriceFormatError(f"it reports: {_shorten(reasons)}")
    homes = document.data.viewer.homes
    offered = [home.currentSubscription.priceInfo for home in homes if home.currentSubscription is not None]
    if not offered or offered[0] is None:
        raise PriceFormatError("no home in it has a subscription with prices")
    prices = [*offered[0].today, *offered[0].tomorrow]
    currencies = {price.currency for price in prices}
    if len(currencies) > 1:
        raise PriceFormatError("it has prices in several currencies")
    slots = slots_from_starts([price.startsAt.astimezone(UTC) for price in prices], [price.parts() for price in prices])
    return PriceTable.from_slots(next(iter(currencies), None), slots)


class _TibberPrice(_Document):
    # The field names are Tibber's.
    startsAt: AwareDatetime
    energy: float
    tax: float
    total: float
    currency: Currency | None = None

    def parts(self) -> Mapping[str, float]:
        if abs(self.energy + self.tax - self.total) > _TIBBER_ROUNDING:
            raise PriceFormatError("in it total is not the sum of energy and tax")
        return {ENERGY: self.energy, TAXES: self.tax}


_TIBBER_ROUNDING = 1e-3


class _TibberPriceInfo(_Document):
    today: tuple[_TibberPrice, ...]
    tomorrow: tuple[_TibberPrice, ...] = ()


class _TibberSubscription(_Document):
    priceInfo: _TibberPriceInfo | None = None


class _TibberHome(_Document):
    currentSubscription: _TibberSubscription | None = None


class _TibberViewer(_Document):
    homes: tuple[_TibberHome, ...]


class _TibberData(_Document):
    viewer: _TibberViewer


class _TibberError(_Document):
    message: str


class _Tibber(_Document):
    data: _TibberData | None = None
    errors: tuple[_TibberError, ...] = ()


def _read(model: type[M], content: bytes) -> M:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise PriceFormatError(
                f"it is not JSON but begins with {_shorten(content[:_TOLD].decode(errors='replace'))}"
            ) from error
        place = ".".join(map(str, first["loc"])) or "it"
        raise PriceFormatError(f"{place}: {first['msg']}") from error


def _energy(price: float | None, divisor: float = 1.0) -> Mapping[str, float]:
    return {} if price is None else {ENERGY: price / divisor}


def _from_epoch(seconds: float) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise PriceFormatError("a time in it is impossible") from error


def _currency_per_mwh(unit: str) -> str:
    found = _UNIT.fullmatch(re.sub(r"\s", "", unit).upper())
    if found is None:
        raise PriceFormatError(f"its unit is {_shorten(unit)} and not such as EUR/MWh")
    return found[1]


def _shorten(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text.strip())
    return f"{printable[:_TOLD]!r}"
