"""Our own form: `site/{site_id}/{role}/{device_id}/telemetry`, fields of the wire models with their units in the names.

docs/asyncapi.yaml describes it for those who build devices.
"""

import json
from datetime import datetime
from functools import partial
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.phases import by_phase
from ev_sensors.shapes import Role, Shape, Status
from ev_service.units import (
    Ampere,
    Kilowatt,
    KilowattHour,
    KilowattPeak,
    Percent,
    UtcTimestamp,
    WattPerSquareMetre,
)


class Telemetry(BaseModel):
    """What every message of a device carries."""

    # Extra fields are kept for a look at their units, and go no further.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    timestamp: UtcTimestamp = Field(
        description="When it was measured, by the device's clock, ISO 8601 with Z or an offset.",
        examples=["2026-06-21T16:00:00.250Z"],
    )
    sequence: int = Field(
        ge=0, le=2**63 - 1, description="Number of the message; rises, also over a restart.", examples=[1782057600]
    )


class SolarTelemetry(Telemetry):
    """What the panels give."""

    generation_kw: Kilowatt = Field(description="AC power that the panels give [kW].", examples=[41.0])
    capacity_kwp: KilowattPeak | None = Field(
        default=None, description="Rated DC power [kWp]; where it is said, it must be the one that is set."
    )
    poa_global_w_m2: WattPerSquareMetre | None = Field(
        default=None, description="Irradiance in the plane of the panels [W/m²].", examples=[870.0]
    )


class BatteryTelemetry(Telemetry):
    """How full the battery is, and what it does."""

    soc_percent: Percent = Field(description="State of charge [%].", examples=[83.0])
    capacity_kwh: KilowattHour | None = Field(
        default=None, description="Usable capacity [kWh]; may have aged from the one that is set."
    )
    active_power_kw: Kilowatt | None = Field(
        default=None, description="Power at the terminals [kW]: positive charges.", examples=[12.5]
    )


class GridTelemetry(Telemetry):
    """What the grid connection carries."""

    load_kw: Kilowatt = Field(description="Power drawn from the grid [kW], 0 while power is given.", examples=[61.0])
    export_kw: Kilowatt = Field(default=0.0, description="Power given to the grid [kW].", examples=[0.0])
    limit_kw: Kilowatt | None = Field(
        default=None, description="What the connection may carry [kW]; where it is said, it must be the one set."
    )
    load_percent: Percent | None = Field(
        default=None, description="`load_kw` over `limit_kw` [%]; where it is said, it must fit."
    )
    includes_charging: bool = Field(default=True, description="Whether the load holds the charging of the cars.")
    current_a: tuple[Ampere, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Current of L1, L2, L3 [A], one for each phase of the site, negative while that phase gives power.",
        examples=[[106.0, 88.4, 70.7]],
    )


class DeviceStatus(BaseModel):
    """Birth message and last will of a device, retained."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    status: Literal["online", "offline"] = Field(description="online: the birth. offline: the will, or a goodbye.")
    timestamp: UtcTimestamp = Field(
        description="When the device wrote it; a last will is written when the connection begins.",
        examples=["2026-06-21T16:00:00Z"],
    )


TELEMETRY: dict[Role, type[Telemetry]] = {
    "solar": SolarTelemetry,
    "battery": BatteryTelemetry,
    "grid": GridTelemetry,
}

_HEAD = frozenset(Telemetry.model_fields)
_UNITS = frozenset(
    {"w", "kw", "mw", "kwp", "wh", "kwh", "mwh", "va", "kva", "a", "ma", "ka", "v", "percent", "fraction", "w_m2"}
)


def own_shape(role: Role, base: str) -> Shape:
    """The shape of a device that speaks as we do.

    Args:
        role: what it measures.
        base: topic without its last word, `site/{site_id}/{role}/{device_id}`.
    """
    model = TELEMETRY[role]
    stems = frozenset(_stem(name) for name in model.model_fields if name not in _HEAD)
    return Shape(f"{base}/telemetry", f"{base}/status", partial(_parse, model, stems), own_status)


def own_status(payload: bytes) -> Status | None:
    """Read a birth message or last will of ours."""
    try:
        return DeviceStatus.model_validate_json(payload).status
    except ValidationError:
        return None


def why_wrong(error: ValidationError) -> str:
    """What a message breaks, by field, without what it held."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}" for item in found[:5])


def _parse(model: type[Telemetry], stems: frozenset[str], payload: bytes, _: datetime) -> Measurement | Refusal:
    try:
        told = model.model_validate_json(payload)
    except ValidationError as error:
        return _wrong_unit(_names(payload), stems) or Refusal(Reason.SCHEMA, why_wrong(error))
    if told.model_extra and (refusal := _wrong_unit(set(told.model_extra), stems)):
        return refusal
    said = told.__dict__.items()
    values = {name: value for name, value in said if name not in _HEAD and value is not None}
    phases = by_phase("current_a", values.pop("current_a", ()))
    return Measurement(told.timestamp, values | phases, told.sequence)


def _wrong_unit(names: set[str], stems: frozenset[str]) -> Refusal | None:
    """A quantity of ours under the name of another unit, or of none: 41,000 W are not 41,000 kW."""
    wrong = sorted(name for name in names if (_stem(name) in stems and _stem(name) != name) or name in stems)
    return Refusal(Reason.UNIT, f"not in the unit of the schema: {', '.join(wrong)}") if wrong else None


def _names(payload: bytes) -> set[str]:
    try:
        told: object = json.loads(payload)
    except (ValueError, RecursionError):
        return set()
    known = {name for model in TELEMETRY.values() for name in model.model_fields}
    return set(cast(dict[str, object], told)) - known if isinstance(told, dict) else set()


def _stem(name: str) -> str:
    """The name without its unit.

    >>> _stem("poa_global_w_m2"), _stem("soc_percent"), _stem("includes_charging")
    ('poa_global', 'soc', 'includes_charging')
    """
    for unit in ("w_m2", name.rpartition("_")[2]):
        if unit in _UNITS and name.endswith(f"_{unit}"):
            return name.removesuffix(f"_{unit}")
    return name
