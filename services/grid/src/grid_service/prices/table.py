"""The market's prices as slots of 15, 30 or 60 min, whatever source they come from."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import accumulate, chain, pairwise

from ev_service.prices import MAX_CO2_G_PER_KWH
from ev_service.units import utc_text

ENERGY = "energy"
"""Name of the part that the market sets."""

TAXES = "taxes"
"""Name of the part that a supplier's prices have in addition to the energy."""

LENGTHS_S = (900, 1800, 3600)
"""Lengths of a slot [s]."""

MAX_STATED_PER_KWH = 10_000.0
"""Largest amount of a part that a source or a tariff states [currency/kWh]: with tax on all parts none passes what may
be answered."""

# A year of quarter hours and some; more would keep the service from answering while they are read.
_MAX_SLOTS = 40_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PriceFormatError(ValueError):
    """Prices that cannot be used: the answer of a source, a file or a message."""


@dataclass(frozen=True, slots=True)
class PriceSlot:
    """What is known of one slot."""

    start: datetime
    """Start, UTC, a whole quarter of an hour."""

    length_s: int
    """Length [s], one of `LENGTHS_S`."""

    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Parts of the price by name [currency/kWh]; empty: not known."""

    co2_g_per_kwh: float | None = None
    """CO2 of energy from the grid [g/kWh]; None: not known."""

    @property
    def end(self) -> datetime:
        """End, UTC."""
        return self.start + timedelta(seconds=self.length_s)


@dataclass(frozen=True)
class PriceTable:
    """Slots in the order of time, none of which overlap; there may be gaps."""

    currency: str | None
    """ISO 4217; None: the source does not say."""

    slots: tuple[PriceSlot, ...]

    @classmethod
    def from_slots(cls, currency: str | None, slots: Iterable[PriceSlot]) -> "PriceTable":
        """Check slots and put them in order; a slot that is given twice with the same values counts once.

        Raises:
            PriceFormatError: there are none, one is impossible, or two contradict each other.
        """
        ordered: list[PriceSlot] = []
        for slot in sorted(slots, key=lambda slot: slot.start):
            _demand_possible(slot)
            if ordered and slot == ordered[-1]:
                continue
            if ordered and slot.start < ordered[-1].end:
                raise PriceFormatError(f"two different prices for {utc_text(slot.start)}")
            ordered.append(slot)
        if not 0 < len(ordered) <= _MAX_SLOTS:
            raise PriceFormatError("it holds no price" if not ordered else f"it holds more than {_MAX_SLOTS} prices")
        return cls(currency, tuple(ordered))

    def find(self, moment: datetime) -> PriceSlot | None:
        """Find the slot that holds a moment; None: not known."""
        index = bisect_right(self._starts, moment) - 1
        return self.slots[index] if index >= 0 and moment < self.slots[index].end else None

    def select(self, start: datetime, end: datetime) -> Sequence[PriceSlot]:
        """Select the slots that overlap a span of time."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        return [slot for slot in self.slots[first : bisect_left(self._starts, end)] if slot.end > start]

    def updated_by(self, newer: "PriceTable", keep_from: datetime) -> "PriceTable":
        """Put newer slots in the place of those that they overlap, and drop what ended before `keep_from`.

        Raises:
            PriceFormatError: the newer ones are in another currency.
        """
        if newer.currency != self.currency:
            raise PriceFormatError(f"its currency changed from {self.currency} to {newer.currency}")
        kept = (slot for slot in self.slots if slot.end > keep_from and not newer.select(slot.start, slot.end))
        slots = sorted(chain(kept, newer.slots), key=lambda slot: slot.start)
        return PriceTable(newer.currency, tuple(slots))

    @cached_property
    def _starts(self) -> list[datetime]:
        return [slot.start for slot in self.slots]


def slots_from_starts(
    starts: Sequence[datetime], parts: Sequence[Mapping[str, float]], co2: Sequence[float | None] | None = None
) -> list[PriceSlot]:
    """Make slots of prices that are given with their starts alone.

    A slot lasts until the next one, or as long as the one before it if that is shorter: a slot before a gap does not
    fill it, and a source may change from hours to quarters.

    Args:
        starts: starts, in any order.
        parts: parts of the price of each; empty: a slot without a price.
        co2: CO2 of each [g/kWh].

    Raises:
        PriceFormatError: no length follows from the starts.
    """
    values = dict[datetime, tuple[Mapping[str, float], float | None]]()
    for start, part, grams in zip(starts, parts, co2 or [None] * len(starts), strict=True):
        if values.setdefault(start, (part, grams)) != (part, grams):
            raise PriceFormatError(f"two different prices for {utc_text(start)}")
    ordered = sorted(values)
    lengths_s = _fill(_fill(_find_lengths_s(ordered))[::-1])[::-1]
    slots: list[PriceSlot] = []
    for start, length_s in zip(ordered, lengths_s, strict=True):
        if length_s is None:
            raise PriceFormatError(f"how long the price of {utc_text(start)} holds does not follow: not 15, 30, 60 min")
        if values[start][0] or values[start][1] is not None:
            slots.append(PriceSlot(start, length_s, *values[start]))
    return slots


def _find_lengths_s(starts: Sequence[datetime]) -> list[int | None]:
    """Find how long each slot lasts [s]; None where it stands alone between gaps."""
    gaps = [None, *((later - earlier).total_seconds() for earlier, later in pairwise(starts)), None]
    lengths_s: list[int | None] = []
    for neighbours in pairwise(gaps[: len(starts) + 1]):
        shortest_s = min((gap_s for gap_s in neighbours if gap_s is not None), default=math.inf)
        if shortest_s % LENGTHS_S[0] and math.isfinite(shortest_s):
            raise PriceFormatError("its prices begin at no whole quarters of an hour from each other")
        lengths_s.append(int(shortest_s) if shortest_s in LENGTHS_S else None)
    return lengths_s


def _fill(lengths_s: Sequence[int | None]) -> list[int | None]:
    """Give slots whose length is not known that of the one before."""
    return list(accumulate(lengths_s, lambda before, own: before if own is None else own))


def seconds_since_epoch(moment: datetime) -> int:
    """Whole seconds since 1970, UTC [s]."""
    return (moment - _EPOCH) // timedelta(seconds=1)


def _demand_possible(slot: PriceSlot) -> None:
    if slot.length_s not in LENGTHS_S or (slot.start - _EPOCH) % timedelta(seconds=LENGTHS_S[0]):
        raise PriceFormatError(f"the price of {utc_text(slot.start)} is for no whole quarters of an hour")
    if any(not abs(value) <= MAX_STATED_PER_KWH for value in slot.parts.values()):
        raise PriceFormatError(f"the price of {utc_text(slot.start)} is impossible")
    if slot.co2_g_per_kwh is not None and not 0 <= slot.co2_g_per_kwh <= MAX_CO2_G_PER_KWH:
        raise PriceFormatError(f"the CO2 of {utc_text(slot.start)} is impossible")
