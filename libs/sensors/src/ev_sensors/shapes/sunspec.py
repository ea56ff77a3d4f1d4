"""An inverter or battery that sends its SunSpec models as JSON: `{base}/models`, points by the names of the models.

Source: SunSpec Information Model Reference; models 101 to 103 and 111 to 113 (inverter: W, WH, St), 201 to 204 (meter:
W; AphA, WphA, PhVphA and their like by phase), 701 (DER AC measurement: InvSt; W, positive when power is generated),
802 (battery: SoC, W) and 713 (DER storage capacity: SoC).
"""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.shapes import Role, Shape
from ev_sensors.shapes.native import own_status, why_wrong
from ev_sensors.sunspec import MODELS, Kind
from ev_sensors.sunspec_roles import WANTED, SunSpecPoints, to_measurement
from ev_service.units import UtcTimestamp

Points = Mapping[str, int | float]

_ABSENT: Mapping[Kind, frozenset[int]] = {
    Kind.INT16: frozenset({-0x8000, 0x8000}),
    Kind.UINT16: frozenset({0xFFFF, -1}),
    Kind.ACC32: frozenset({0}),
}
"""What stands where a device has no such point, read with its sign and without; a floating point is left out then."""

_HIGHEST_INT16 = 0x7FFF
_SCALES = range(-10, 11)
_UNITS = {"W": "W", "WH": "Wh", "SoC": "Pct"} | {
    f"{point}{phase}": unit for point, unit in (("Aph", "A"), ("Wph", "W"), ("PhVph", "V")) for phase in "ABC"
}
_READ = {*_UNITS, "St", "InvSt"}
_SCALE_NAMES = {"SoC": ("Pct_SF", "SoC_SF")} | {
    f"{point}{phase}": (scale,)
    for point, scale in (("Aph", "A_SF"), ("Wph", "W_SF"), ("PhVph", "V_SF"))
    for phase in "ABC"
}
"""Names of the scale factors that do not bear the name of their point."""


class Models(BaseModel):
    """One message: the models that the device has, each with its points and their scale factors."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    timestamp: UtcTimestamp = Field(description="When it was measured, ISO 8601 with Z or an offset.")
    models: dict[str, dict[str, int | float | str | None]] = Field(
        description="By the number of the model: points, and beside a point `W` its scale factor `W_SF`.",
        examples=[{"103": {"W": 4125, "W_SF": 1, "WH": 1234567, "WH_SF": 0}}],
    )
    units: dict[str, str] = Field(
        default_factory=dict, description="Units of points, where the device says them: W, Wh, Pct."
    )


def scale(points: Points, name: str, model: int) -> float | None:
    """The value of a point; None where the device does not implement it.

    Args:
        points: of one model.
        name: of the point.
        model: number of the model, which says the point's type and whether it has a scale factor.

    Raises:
        ValueError: its scale factor is missing or none, or the point was read without its sign.

    >>> scale({"W": 4125, "W_SF": 1}, "W", 103)
    41250.0
    """
    value, point = points.get(name), MODELS[model][name]
    if value is None or value in _ABSENT.get(point.kind, ()):
        return None
    if point.kind is Kind.INT16 and value > _HIGHEST_INT16:
        raise ValueError(f"{name} {value:g} is more than an int16 holds: it was read without its sign")
    if point.scale is None:
        return float(value)
    names = _SCALE_NAMES.get(name, (f"{name}_SF",))
    factor = next((points[scale] for scale in names if points.get(scale) not in (None, *_ABSENT[Kind.INT16])), None)
    if factor is None:
        raise ValueError(f"{names[0]}: the scale factor of {name} is missing, which model {model} demands")
    if factor not in _SCALES:
        raise ValueError(f"{names[0]} {factor} is no scale factor")
    return float(value) * 10.0 ** int(factor)


def sunspec_shape(role: Role, base: str, *, factor: float) -> Shape:
    """A device that sends SunSpec models.

    Args:
        role: what it measures.
        base: topic without its last word.
        factor: its power is multiplied by it; -1 turns the sign.
    """

    def parse(payload: bytes, _: datetime) -> Measurement | Refusal:
        try:
            said = Models.model_validate_json(payload)
        except ValidationError as error:
            return Refusal(Reason.SCHEMA, why_wrong(error))
        for point, unit in said.units.items():
            if _UNITS.get(point, unit) != unit:
                return Refusal(Reason.UNIT, f"{point} is in {unit}, not in {_UNITS[point]}")
        try:
            return to_measurement(role, SunSpecPoints(models_for(role, said.models), said.timestamp, factor=factor))
        except ValueError as error:
            return Refusal(Reason.SCHEMA, str(error))

    return Shape(f"{base}/models", f"{base}/status", parse, own_status)


def models_for(role: Role, models: Mapping[str, Mapping[str, int | float | str | None]]) -> dict[int, dict[str, float]]:
    """What a message says for a role: scaled points by the number of their model, those that are implemented.

    Args:
        role: what the device measures.
        models: of the message.

    Raises:
        ValueError: no model is there that tells it, or a point that is needed has no scale factor that is one.
    """
    wanted = next((numbers for numbers in WANTED[role] if all(str(number) in models for number in numbers)), None)
    if wanted is None:
        first = dict.fromkeys(numbers[0] for numbers in WANTED[role])
        raise ValueError(f"models: none of {', '.join(map(str, first))} is there")
    return {number: _points(_numbers(models[str(number)]), number) for number in wanted}


def _points(points: Points, model: int) -> dict[str, float]:
    scaled_points = dict[str, float]()
    for name in MODELS[model].keys() & _READ:
        try:
            value = scale(points, name, model)
        except ValueError:
            if MODELS[model][name].is_needed:
                raise
            continue
        if value is not None:
            scaled_points[name] = value
    return scaled_points


def _numbers(points: Mapping[str, int | float | str | None]) -> dict[str, int | float]:
    return {name: value for name, value in points.items() if isinstance(value, int | float)}
