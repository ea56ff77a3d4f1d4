"""What makes a SunSpec device an inverter, a battery or a meter, and what its points say in our words. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.phases import phase_values
from ev_sensors.shapes import Role
from ev_sensors.sunspec import Block, WrongMap

_W_PER_KW = 1000.0

_ABOVE_NAMEPLATE = 1.2
"""How far power may be above the nameplate: inverters pass it by a tenth for a moment."""

_ASLEEP = {("St", 1): "off", ("St", 2): "sleeping", ("InvSt", 0): "off", ("InvSt", 1): "sleeping"}
"""States in which an inverter gives nothing: `St` of models 101 to 113, `InvSt` of 701."""

_STANDBY = {("St", 8), ("InvSt", 7)}
"""States in which it may give nothing, and then may leave its power out."""

_ASLEEP_GIVES_KW = 0.1

_WANTED: Mapping[Role, tuple[tuple[int, ...], ...]] = {
    "solar": ((103,), (102,), (101,), (113,), (112,), (111,), (701,)),
    "battery": ((802,), (713, 701), (713,)),
    "grid": ((203,), (204,), (202,), (201,)),
}
"""What makes a device one of this role, the best first; models of one entry are read together."""

_NAMEPLATES = (120, 702)
_POWER: Mapping[Role, str] = {"solar": "generation_kw", "battery": "active_power_kw"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read of a device: once its nameplate, and then the same blocks again and again.

    polled: the first is needed; the others, and the nameplate, are left out where they cannot be read.
    """

    polled: tuple[Block, ...]
    nameplate: Block | None


def plan_for(role: Role, blocks: Sequence[Block]) -> Plan:
    """Choose the blocks that tell what a role needs; a block that is too short counts as not there.

    Raises:
        WrongMap: the device has no such model, or not all of it.
    """
    of_model = {block.model: block for block in reversed(blocks) if block.is_whole}
    for wanted in _WANTED[role]:
        if all(model in of_model for model in wanted):
            named = next((of_model[model] for model in _NAMEPLATES if model in of_model), None)
            return Plan(tuple(of_model[model] for model in wanted), named if role in _POWER else None)
    first_models = tuple(dict.fromkeys(models[0] for models in _WANTED[role]))
    short = next((block for block in blocks if block.model in first_models), None)
    if short is not None:
        needed = short.span - 2
        raise WrongMap(f"model {short.model} is {short.length} registers long, at least {needed} are needed")
    wanted = ", ".join(map(str, first_models))
    found = ", ".join(map(str, sorted({block.model for block in blocks})))
    raise WrongMap(f"it has none of the models {wanted}, only {found}")


@dataclass(frozen=True, slots=True)
class Said:
    """All that a device said at one moment: points by the number of their model.

    timestamp: the last moment before it was asked, aware UTC. sequence: number of the question, rising.
    factor: power is multiplied by it. rated_kw: of the nameplate, if there is one.
    """

    models: Mapping[int, Mapping[str, float]]
    timestamp: datetime
    sequence: int
    factor: float = 1.0
    rated_kw: float | None = None

    @property
    def heartbeat(self) -> float | None:
        """The battery's heartbeat, which counts its seconds; None where it has none."""
        return self.models.get(802, {}).get("Hb")


def rated_kw(nameplate: Mapping[str, float]) -> float | None:
    """Rated power of the nameplate [kW]; None where it says none."""
    rated_w = nameplate.get("WRtg", 0.0)
    return rated_w / _W_PER_KW if rated_w > 0 else None


def measured(role: Role, said: Said) -> Measurement | Refusal:
    """What a device said, in the words of a role.

    Power is positive as the device gives it: SunSpec counts so for inverters, and for a battery that discharges; a
    meter's is positive as the site draws it.
    """
    points = {name: value for model in said.models.values() for name, value in model.items()}
    asleep = next((name for state, name in _ASLEEP.items() if points.get(state[0]) == state[1]), None)
    may_leave_out = asleep is not None or any(points.get(name) == state for name, state in _STANDBY)
    if role == "solar" and may_leave_out:
        points.setdefault("W", 0.0)
    needed = "SoC" if role == "battery" else "W"
    if needed not in points:
        return Refusal(Reason.SCHEMA, f"{needed} is not implemented by the device")
    # With 0 added, as -0 is a number too and looks odd in an answer.
    power_kw = points["W"] * said.factor / _W_PER_KW + 0.0 if "W" in points else None
    if role == "solar" and asleep is not None and power_kw is not None and power_kw > _ASLEEP_GIVES_KW:
        return Refusal(Reason.IMPLAUSIBLE, f"the inverter is {asleep} and gives {power_kw:g} kW")
    values = _values(role, points, power_kw, said.factor)
    told_kw = abs(values.get(_POWER.get(role, ""), 0.0))
    if said.rated_kw is not None and told_kw > _ABOVE_NAMEPLATE * said.rated_kw:
        return Refusal(Reason.RANGE, f"{told_kw:g} kW is too much for the {said.rated_kw:g} kW of the nameplate")
    energy_wh = points.get("WH") if role == "solar" else None
    energy_kwh = None if energy_wh is None else energy_wh / _W_PER_KW
    return Measurement(said.timestamp, values, sequence=said.sequence, energy_kwh=energy_kwh)


def _values(role: Role, points: Mapping[str, float], power_kw: float | None, factor: float) -> dict[str, float]:
    if role == "battery":
        power = {} if power_kw is None else {"active_power_kw": 0.0 - power_kw}
        capacity = {"capacity_kwh": points["WHRtg"] / _W_PER_KW} if points.get("WHRtg") else {}
        return {"soc_percent": points["SoC"]} | power | capacity
    if power_kw is None:
        return {}
    if role == "grid":
        current_a, power_w, voltage_v = (
            [points.get(f"{name}{phase}") for phase in "ABC"] for name in ("Aph", "Wph", "PhVph")
        )
        phases = phase_values(current_a=current_a, power_w=power_w, voltage_v=voltage_v, factor=factor)
        return {"load_kw": max(0.0, power_kw), "export_kw": max(0.0, -power_kw)} | phases
    return {"generation_kw": power_kw}
