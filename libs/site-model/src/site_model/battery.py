"""The stationary battery: an energy balance and the rule by which it is charged and discharged.

It takes what the panels give beyond the building's need, and gives it back in the evening.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from site_model.parameters import Storage


class Interval(NamedTuple):
    """What the battery meets for a while.

    pv_kw, building_kw [kW]: generation of the panels and load of the building, both >= 0, constant meanwhile.
    """

    local_hour: int
    """Hour of the local day in which the interval begins, 0..23."""

    pv_kw: float
    building_kw: float


@dataclass(frozen=True, slots=True)
class BatteryInterval:
    """What the battery did in one interval.

    soc_before_percent, soc_after_percent [%]: charge at both ends, 0..100.
    """

    active_power_kw: float
    """At its terminals [kW], positive charges, negative discharges."""

    soc_before_percent: float
    soc_after_percent: float


def simulate(
    storage: Storage, intervals: Iterable[Interval], *, step_s: float, soc_percent: float
) -> Iterator[BatteryInterval]:
    """Follow the battery through intervals of equal length.

    Args:
        storage: capacity, limits, efficiency, reserve and evening.
        intervals: one after the other, without a gap.
        step_s: length of each interval [s], > 0.
        soc_percent: charge before the first interval [%], 0..100.

    Yields:
        One result for each interval.
    """
    hours = step_s / 3600
    one_way = sqrt(storage.round_trip_efficiency)
    stored_kwh = storage.capacity_kwh * soc_percent / 100
    for interval in intervals:
        wanted_kw = compute_wanted_power_kw(storage, interval)
        power_kw = _possible_power_kw(storage, wanted_kw, stored_kwh=stored_kwh, hours=hours)
        before_kwh = stored_kwh
        stored_kwh += power_kw * hours * (one_way if power_kw > 0 else 1 / one_way)
        # A full or an empty battery is exactly at its bound, not off by a rounding error.
        stored_kwh = min(max(stored_kwh, 0.0), storage.capacity_kwh)
        yield BatteryInterval(power_kw, _percent(storage, before_kwh), _percent(storage, stored_kwh))


def compute_wanted_power_kw(storage: Storage, interval: Interval) -> float:
    """What the battery would do with energy and room without end [kW], positive charges.

    All surplus of the sun up to the charging limit, at any hour; what the building lacks in the evening, up to the
    discharging limit; nothing else: it is never charged from the grid and never discharged into it.
    """
    surplus_kw = interval.pv_kw - interval.building_kw
    if surplus_kw > 0:
        return min(surplus_kw, storage.max_charge_power_kw)
    if storage.evening_from_hour <= interval.local_hour < storage.evening_to_hour:
        return max(surplus_kw, -storage.max_discharge_power_kw)
    return 0.0


def _possible_power_kw(storage: Storage, wanted_kw: float, *, stored_kwh: float, hours: float) -> float:
    one_way = sqrt(storage.round_trip_efficiency)
    if wanted_kw >= 0:
        room_kwh = storage.capacity_kwh - stored_kwh
        return min(wanted_kw, room_kwh / one_way / hours)
    spendable_kwh = max(stored_kwh - storage.capacity_kwh * storage.reserve_percent / 100, 0.0)
    # Adding zero turns the -0.0 of an empty battery into the 0.0 that a reader expects.
    return max(wanted_kw, -spendable_kwh * one_way / hours) + 0.0


def _percent(storage: Storage, stored_kwh: float) -> float:
    return min(stored_kwh / storage.capacity_kwh * 100, 100.0)
