"""Tariffs by time of use with a demand charge, in the JSON schema of ACN-Sim, and the bill.

Source of the schema: acnportal, `signals.tariffs` (Lee et al., "ACN-Sim: An Open-Source Simulator for Data-Driven
Electric Vehicle Charging Research", 2021).
"""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_DAYS_OF_MASK = {"WEEKDAYS": range(5), "WEEKENDS": range(5, 7), "ALL": range(7)}


class TariffError(ValueError):
    """A tariff file cannot be used, or has no single price for a day; the message says which."""


@dataclass(frozen=True, slots=True)
class TariffSchedule:
    """Prices of some days of the year."""

    name: str
    """`id` in the file."""

    first: tuple[int, int]
    """Month and day on which it takes effect."""

    last: tuple[int, int]
    """Last month and day in effect; before `first`: it goes on over the turn of the year."""

    weekdays: frozenset[int]
    """0 is Monday."""

    hours: tuple[float, ...]
    """Local hours from which each price holds; ascending from 0."""

    prices_per_kwh: tuple[float, ...]
    """One for each of `hours` [currency/kWh]."""

    demand_charge_per_kw: float
    """Price of the month's highest power [currency/kW]."""

    def is_in_effect(self, day: date) -> bool:
        """Whether it holds on a local day."""
        at = (day.month, day.day)
        within = self.first <= at <= self.last if self.first <= self.last else at >= self.first or at <= self.last
        return within and day.weekday() in self.weekdays

    def price_per_kwh(self, local: datetime) -> float:
        """Price at a local time of a day on which it holds [currency/kWh]."""
        hour = local.hour + local.minute / 60 + local.second / 3600
        return self.prices_per_kwh[bisect_right(self.hours, hour) - 1]


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff of several schedules, of which one holds on each day."""

    name: str
    """As in the file."""

    schedules: tuple[TariffSchedule, ...]
    """For each day one; two that say the same count as one."""

    def schedule_of(self, day: date) -> TariffSchedule:
        """The schedule of a local day.

        Raises:
            TariffError: none holds on that day, or two that differ.
        """
        found = [schedule for schedule in self.schedules if schedule.is_in_effect(day)]
        if not found:
            raise TariffError(f"tariff {self.name} has no price for {day} ({day:%A})")
        prices = {(one.hours, one.prices_per_kwh, one.demand_charge_per_kw) for one in found}
        if len(prices) > 1:
            names = ", ".join(schedule.name for schedule in found)
            raise TariffError(f"tariff {self.name} has several prices for {day} ({day:%A}): {names}")
        return found[0]

    def price_per_kwh(self, local: datetime) -> float:
        """Price at a local time [currency/kWh].

        Raises:
            TariffError: as `schedule_of`.
        """
        return self.schedule_of(local.date()).price_per_kwh(local)


def read_tariff(file: Path) -> Tariff:
    """Read a tariff file.

    Raises:
        TariffError: the file cannot be read or is not of the schema.
    """
    try:
        document = cast(object, json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TariffError(f"{file} cannot be read: {error}") from error
    try:
        entries = cast(Mapping[str, Any], document)["schedule"]
        name = str(cast(Mapping[str, Any], document).get("name", file.stem))
        return Tariff(name, tuple(_parse_schedule(entry) for entry in entries))
    except KeyError as error:
        raise TariffError(f"{file} lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise TariffError(f"{file}: {error}") from error


def _parse_schedule(entry: Mapping[str, Any]) -> TariffSchedule:
    name, mask = str(entry.get("id", "without id")), entry["dow_mask"]
    if mask not in _DAYS_OF_MASK:
        raise ValueError(f"dow_mask of {name} is {mask!r}, none of {', '.join(_DAYS_OF_MASK)}")
    times, prices = entry["times"], entry["tariffs"]
    if len(times) != len(prices):
        raise ValueError(f"{name} has {len(times)} times and {len(prices)} tariffs")
    steps = sorted((float(hour), float(price)) for hour, price in zip(times, prices, strict=True))
    hours = [hour for hour, _ in steps]
    if not steps or hours[0] != 0 or hours[-1] >= 24 or len(set(hours)) < len(hours):
        raise ValueError(f"times of {name} are {times}: they begin at 0, end before 24 and differ")
    demand = float(entry["demand_charge"])
    if not all(np.isfinite([demand, *(price for _, price in steps)])) or demand < 0:
        raise ValueError(f"{name} has a price that is no number, or a negative demand charge")
    first, last = _parse_day(entry, "effective_start"), _parse_day(entry, "effective_end")
    weekdays = frozenset(_DAYS_OF_MASK[mask])
    return TariffSchedule(name, first, last, weekdays, tuple(hours), tuple(price for _, price in steps), demand)


def _parse_day(entry: Mapping[str, Any], field: str) -> tuple[int, int]:
    text = str(entry[field])
    month, _, day = text.partition("-")
    if not (month.isdigit() and day.isdigit() and 1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        raise ValueError(f"{field} is {text!r}, not a month and day such as 06-01")
    return int(month), int(day)


@dataclass(frozen=True, slots=True)
class Bill:
    """What the site pays."""

    energy: float
    """Energy by time of use [currency]."""

    demand: float
    """Demand charges of all months [currency]."""

    peak_kw: float
    """Highest mean power of a step [kW]."""

    @property
    def total(self) -> float:
        """Sum of both [currency]."""
        return self.energy + self.demand


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Prices of the steps of a simulation."""

    per_kwh: FloatArray
    """Price of energy [currency/kWh], one per step."""

    demand_per_kw: FloatArray
    """Demand charge in effect [currency/kW], one per step."""

    month: npt.NDArray[np.int64]
    """Number of the local calendar month, from 0, one per step."""

    step_h: float
    """Length of a step [h]."""

    def compute_bill(self, power_kw: FloatArray) -> Bill:
        """Compute the bill of a power drawn from the grid.

        Each calendar month costs the demand charge on its highest step, at the price in effect in that step.

        Args:
            power_kw: mean power of each step [kW]; negative values cost nothing.
        """
        drawn_kw = np.maximum(power_kw, 0.0)
        demand = sum(
            float(np.max(np.where(self.month == month, drawn_kw * self.demand_per_kw, 0.0)))
            for month in np.unique(self.month)
        )
        return Bill(float(self.per_kwh @ drawn_kw) * self.step_h, demand, float(drawn_kw.max(initial=0.0)))


def compute_price_series(tariff: Tariff, starts: Sequence[datetime], step_s: int) -> PriceSeries:
    """Compute the prices of steps.

    The price of a step is that at its start.

    Args:
        tariff: of the site.
        starts: start of each step in local time; the clock may be put forward or back between them.
        step_s: length of a step [s].

    Raises:
        TariffError: the tariff has no single price for one of the days.
    """
    schedules: dict[date, TariffSchedule] = {}
    prices, demand, months = list[float](), list[float](), list[int]()
    for start in starts:
        day = start.date()
        schedule = schedules.get(day) or schedules.setdefault(day, tariff.schedule_of(day))
        prices.append(schedule.price_per_kwh(start))
        demand.append(schedule.demand_charge_per_kw)
        months.append(start.year * 12 + start.month)
    month = np.array(months, dtype=np.int64)
    return PriceSeries(np.array(prices), np.array(demand), month - month[0], step_s / 3600)


def create_default_tariff() -> Tariff:
    """A made-up tariff for simulations without a file: dear from 16 to 21 h, with a demand charge."""
    day = TariffSchedule(
        name="every day",
        first=(1, 1),
        last=(12, 31),
        weekdays=frozenset(range(7)),
        hours=(0.0, 7.0, 16.0, 21.0),
        prices_per_kwh=(0.10, 0.16, 0.30, 0.16),
        demand_charge_per_kw=12.0,
    )
    return Tariff("made-up", (day,))
