"""Meter values as chargers send them, and what they mean.

Pure. OCPP 1.6 writes values as texts with a unit, 2.0.1 as numbers with a unit and a power of ten; measurands, phases
and locations are the same words. What can not be read is left out, never guessed.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from charger_service.ports import MeterReading

MEASURANDS = ("Energy.Active.Import.Register", "Current.Import", "Power.Active.Import")
"""What is asked of a charger, the most needed first."""

_ENERGY, _CURRENT, _POWER = MEASURANDS
# Into kWh, A and kW; a missing unit means Wh in both versions.
_FACTORS = {
    _ENERGY: {"Wh": 0.001, "kWh": 1.0, None: 0.001},
    _CURRENT: {"A": 1.0, None: 1.0},
    _POWER: {"W": 0.001, "kW": 1.0, None: 0.001},
}
_LINES = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}


def time_of(text: str | None) -> datetime | None:
    """A time as chargers write it, in UTC also without an offset; None where it can not be read."""
    if text is None:
        return None
    try:
        said = datetime.fromisoformat(text)
        return said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def moment(text: str, now: datetime) -> datetime:
    """When something happened by a charger's clock: never later than now, and now where it can not be read."""
    said = time_of(text)
    return now if said is None or said > now else said


def reading(
    meter_value: Mapping[str, Any], transaction_id: str | None, *, is_stored: bool = False
) -> MeterReading | None:
    """One `meterValue` (keys in snake case); None where it says nothing that counts here.

    Args:
        meter_value: as it came.
        transaction_id: that it belongs to; None: not said.
        is_stored: whether the charger says that it kept the value while it was offline.
    """
    totals: dict[str, float] = {}
    lines: dict[str, list[float | None]] = {}
    for sample in meter_value["sampled_value"]:
        measurand = sample.get("measurand", _ENERGY)
        if measurand not in _FACTORS or sample.get("location", "Outlet") != "Outlet":
            continue
        value = _value(sample, measurand)
        if value is None:
            continue
        phase = sample.get("phase")
        if phase is None:
            totals[measurand] = value
        elif phase in _LINES:
            lines.setdefault(measurand, [None, None, None])[_LINES[phase]] = value
    if not totals and not lines:
        return None
    return MeterReading(
        reported_at=time_of(meter_value["timestamp"]),
        transaction_id=transaction_id,
        current_a=_three(lines.get(_CURRENT)),
        current_each_a=None if _CURRENT in lines else totals.get(_CURRENT),
        power_kw=_total(_POWER, totals, lines),
        energy_kwh=_total(_ENERGY, totals, lines),
        is_stored=is_stored,
    )


def _value(sample: Mapping[str, Any], measurand: str) -> float | None:
    """In kWh, A or kW; None where it is no number, or its unit means something else.

    A current or power beyond all numbers is infinite, as somebody may really draw more than is believed. A current is a
    magnitude: a meter whose transformer is turned round writes what is drawn as a negative one.
    """
    unit, exponent = sample.get("unit"), 0
    if (of_measure := sample.get("unit_of_measure")) is not None:
        unit, exponent = of_measure.get("unit"), of_measure.get("multiplier", 0)
    factor = _FACTORS[measurand].get(unit)
    try:
        value = float(sample["value"])
        value = value * 10.0**exponent if value else value
    except ValueError:
        return None
    except OverflowError:
        value = math.inf
    if measurand == _CURRENT:
        value = abs(value)
    is_number = math.isfinite(value) or (value > 0 and measurand != _ENERGY)
    return value * factor if factor is not None and is_number and value >= 0 else None


def _three(lines: list[float | None] | None) -> tuple[float, float, float] | None:
    if lines is None:
        return None
    first, second, third = (value or 0.0 for value in lines)
    return first, second, third


def _total(measurand: str, totals: Mapping[str, float], lines: Mapping[str, list[float | None]]) -> float | None:
    if measurand in totals or measurand not in lines:
        return totals.get(measurand)
    return sum(value for value in lines[measurand] if value is not None)
