"""Meter values as chargers send them, and what they mean.

OCPP 1.6 writes values as texts with a unit, 2.0.1 as numbers with a unit and a power of ten; measurands, phases
and locations are the same words. What cannot be read is left out, never guessed.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

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
_LOCATIONS = ("Outlet", "Cable", "Body", "Inlet")
"""Where what a car draws may be measured, the best first; at the inlet a charger's own consumption is in it."""
_NEUTRAL = "N"
_LINES = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}
_COUNTED_PHASES = frozenset({None, _NEUTRAL, *_LINES})


def time_of(text: str | None) -> datetime | None:
    """A time as chargers write it, in UTC also without an offset; None where it cannot be read."""
    if text is None:
        return None
    try:
        said = datetime.fromisoformat(text)
        return said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def moment(text: str, now: datetime) -> datetime:
    """When something happened by a charger's clock: never later than now, and now where it cannot be read."""
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
    found = {measurand: _best_samples(meter_value["sampled_value"], measurand) for measurand in MEASURANDS}
    if not any(found.values()):
        return None
    current = found[_CURRENT]
    lines_a = _lines(current)
    return MeterReading(
        reported_at=time_of(meter_value["timestamp"]),
        transaction_id=transaction_id,
        current_a=None if lines_a is None else _three(lines_a),
        current_each_a=None if lines_a is not None else current.get(None),
        neutral_a=None if lines_a is not None else current.get(_NEUTRAL),
        power_kw=_total(found[_POWER]),
        energy_kwh=_total(found[_ENERGY]),
        is_stored=is_stored,
    )


_Samples: TypeAlias = Mapping[str | None, float]
"""Values of one measurand at one location, by phase; None: of no phase."""


def _best_samples(samples: Sequence[Mapping[str, Any]], measurand: str) -> _Samples:
    """What was measured where the car is connected, or else as near to it as there is."""
    by_location: dict[str, dict[str | None, float]] = {}
    for sample in samples:
        phase = sample.get("phase")
        if sample.get("measurand", _ENERGY) != measurand or (phase not in _COUNTED_PHASES):
            continue
        value = _value(sample, measurand)
        if value is not None:
            by_location.setdefault(sample.get("location", _LOCATIONS[0]), {})[phase] = value
    found = (by_location[location] for location in _LOCATIONS if location in by_location)
    return next(found, dict[str | None, float]())


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


def _lines(samples: _Samples) -> dict[int, float] | None:
    """Values by line, from 0; None where no line is named."""
    return {_LINES[phase]: value for phase, value in samples.items() if phase in _LINES} or None


def _three(lines: Mapping[int, float]) -> tuple[float, float, float]:
    return lines.get(0, 0.0), lines.get(1, 0.0), lines.get(2, 0.0)


def _total(samples: _Samples) -> float | None:
    if None in samples:
        return samples[None]
    lines = _lines(samples)
    return None if lines is None else sum(lines.values())
