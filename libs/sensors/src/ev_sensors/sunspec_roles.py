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

_ASLEEP = {1: "off", 2: "sleeping"}
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
    """What to read of a device: once its nameplate, and then the same blocks again and again."""

    polled: tuple[Block, ...]
    nameplate: Block | None


def plan_for(role: Role, blocks: Sequence[Block]) -> Plan:
    """Choose the blocks that tell what a role needs.

    Raises:
        WrongMap: the device has no such model, or not all of it.
    """
    of_model = {block.model: block for block in reversed(blocks)}
    for wanted in _WANTED[role]:
        if all(model in of_model for model in wanted):
            polled = tuple(_whole(of_model[model]) for model in wanted)
            named = next((of_model[model] for model in _NAMEPLATES if model in of_model), None)
            return Plan(polled, None if named is None or role not in _POWER else _whole(named))
    wanted = ", ".join(dict.fromkeys(str(models[0]) for models in _WANTED[role]))
    raise WrongMap(f"it has none of the models {wanted}, only {', '.join(map(str, sorted(of_model)))}")


def _whole(block: Block) -> Block:
    if block.length + 2 < block.span:
        raise WrongMap(f"model {block.model} is {block.length} registers long, at least {block.span - 2} are needed")
    return block


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
    needed = "SoC" if role == "battery" else "W"
    if needed not in points:
        return Refusal(Reason.SCHEMA, f"{needed} is not implemented by the device")
    # With 0 added, as -0 is a number too and looks odd in an answer.
    power_kw = points["W"] * said.factor / _W_PER_KW + 0.0 if "W" in points else None
    state = int(points.get("St", 0))
    if role == "solar" and state in _ASLEEP and power_kw is not None and power_kw > _ASLEEP_GIVES_KW:
        return Refusal(Reason.IMPLAUSIBLE, f"the inverter is {_ASLEEP[state]} and gives {power_kw:g} kW")
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
