"""Day-ahead prices as the ENTSO-E Transparency Platform publishes them: document type A44.

Source: ENTSO-E, "Static Data and Transparency Platform Restful API - user guide", 4.2.10 (day-ahead prices [12.1.D]),
and "Introduction of different Timeseries possibilities (curveTypes)": in a curve A03 a position that repeats the value
of the one before it is left out.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from grid_service.prices.table import ENERGY, PriceFormatError, PriceSlot, PriceTable

_RESOLUTIONS_S = {"PT15M": 900, "PT30M": 1800, "PT60M": 3600, "PT1H": 3600}
_DAY_AHEAD = "A01"
_VARIABLE_BLOCKS = "A03"
_SEQUENTIAL = ("A01", _VARIABLE_BLOCKS)
_MAX_POSITIONS = 10_000
_PER_MWH = 1000.0
_TOLD = 120


def parse_entsoe(content: bytes) -> PriceTable:
    """Parse a `Publication_MarketDocument` of type A44.

    Of the auctions of one zone the first counts (`classificationSequence_AttributeInstanceComponent.position` 1, the
    coupled day-ahead auction), of its resolutions the finest.

    Raises:
        PriceFormatError: it is not that, or an `Acknowledgement_MarketDocument` that says why there is none.
    """
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise PriceFormatError("it is not well-formed XML without a DTD") from error
    kind = _local(root)
    if kind == "Acknowledgement_MarketDocument":
        reason = " ".join(_text(root, "Reason/text").split())
        raise PriceFormatError(f"ENTSO-E reports: {reason[:_TOLD]!r}")
    if kind != "Publication_MarketDocument" or _text(root, "type") != "A44":
        raise PriceFormatError(f"it is a {kind[:_TOLD]} and not a Publication_MarketDocument of type A44")
    series = [one for one in _find(root, "TimeSeries") if _is_day_ahead(one)]
    currencies = {_text(one, "currency_Unit.name") for one in series}
    units = {_text(one, "price_Measure_Unit.name") for one in series}
    if not series or len(currencies) != 1 or units != {"MWH"}:
        raise PriceFormatError("it has no day-ahead prices in one currency per MWH")
    currency = currencies.pop()
    if not re.fullmatch("[A-Z]{3}", currency):
        raise PriceFormatError("its currency is not one of ISO 4217")
    first = min(_sequence(one) for one in series)
    slots = [slot for one in series if _sequence(one) == first for slot in _read_series(one)]
    return _finest(currency, slots)


def _finest(currency: str, slots: list[PriceSlot]) -> PriceTable:
    by_length = [[slot for slot in slots if slot.length_s == length] for length in sorted(set(_RESOLUTIONS_S.values()))]
    chosen: PriceTable | None = None
    for same in reversed([same for same in by_length if same]):
        table = PriceTable.from_slots(currency, same)
        chosen = table if chosen is None else chosen.updated_by(table, table.slots[0].start - timedelta(days=36_500))
    if chosen is None:
        raise PriceFormatError("it holds no price")
    return chosen


def _read_series(series: Element) -> Iterator[PriceSlot]:
    # Without a curve type it is A01, as documents before version 7.3 had none.
    curve = _text(series, "curveType") or _SEQUENTIAL[0]
    if curve not in _SEQUENTIAL:
        raise PriceFormatError(f"a series in it has the curve type {curve[:_TOLD]!r}")
    for period in _find(series, "Period"):
        yield from _read_period(period, carries_forward=curve == _VARIABLE_BLOCKS)


def _read_period(period: Element, *, carries_forward: bool) -> Iterator[PriceSlot]:
    length_s = _RESOLUTIONS_S.get(_text(period, "resolution"))
    if length_s is None:
        raise PriceFormatError(f"its resolution {_text(period, 'resolution')[:_TOLD]!r} is not 15, 30 or 60 min")
    start, end = (_moment(_text(period, f"timeInterval/{name}")) for name in ("start", "end"))
    step = timedelta(seconds=length_s)
    count, rest = divmod(end - start, step)
    if rest or not 0 < count <= _MAX_POSITIONS:
        raise PriceFormatError("a period in it is no whole number of intervals")
    prices = _read_points(period, count)
    last: float | None = None
    for position in range(1, count + 1):
        price = prices.get(position, last if carries_forward else None)
        if price is not None:
            yield PriceSlot(start + (position - 1) * step, length_s, {ENERGY: price / _PER_MWH})
        last = price


def _read_points(period: Element, count: int) -> dict[int, float]:
    prices = dict[int, float]()
    for point in _find(period, "Point"):
        try:
            position, price = int(_text(point, "position")), float(_text(point, "price.amount"))
        except ValueError as error:
            raise PriceFormatError("a point in it has no position or no price") from error
        if not 1 <= position <= count or prices.setdefault(position, price) != price:
            raise PriceFormatError(f"its position {position} is outside of its period or given twice")
    return prices


def _is_day_ahead(series: Element) -> bool:
    return _text(series, "contract_MarketAgreement.type") in ("", _DAY_AHEAD)


def _sequence(series: Element) -> int:
    text = _text(series, "classificationSequence_AttributeInstanceComponent.position")
    return int(text) if text.isdecimal() and text.isascii() else 1


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise PriceFormatError("a period in it has no start or no end") from error
    if moment.tzinfo is None:
        raise PriceFormatError("a period in it has a start or an end without an offset")
    return moment.astimezone(UTC)


def _find(element: Element, name: str) -> list[Any]:
    return [child for child in element if _local(child) == name]


def _text(element: Element, path: str) -> str:
    for name in path.split("/"):
        found = _find(element, name)
        if not found:
            return ""
        element = found[0]
    return (element.text or "").strip()


def _local(element: Element) -> str:
    # The namespace carries the version of the schema, of which several are in use.
    return element.tag.rpartition("}")[2]
