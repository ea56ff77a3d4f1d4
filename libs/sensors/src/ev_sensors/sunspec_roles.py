"""Which models make a SunSpec device an inverter, a battery or a meter, and how its points become a measurement."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.phases import phase_values
from ev_sensors.shapes import Role
from ev_sensors.sunspec import METERS, STRINGS, Block, DcString, RegisterMapError, string_count

_W_PER_KW = 1000.0

_ABOVE_NAMEPLATE = 1.2
"""How far power may be above the nameplate: inverters pass it by a tenth for a moment."""

_ASLEEP = {("St", 1): "off", ("St", 2): "sleeping", ("InvSt", 0): "off", ("InvSt", 1): "sleeping"}
"""States in which an inverter gives nothing: `St` of models 101 to 113, `InvSt` of 701."""

_STANDBY = {("St", 8), ("InvSt", 7)}
"""States in which it may give nothing, and then may leave its power out."""

_ASLEEP_GIVES_KW = 0.1

WANTED: Mapping[Role, tuple[tuple[int, ...], ...]] = {
    "solar": ((103,), (102,), (101,), (113,), (112,), (111,), (701,)),
    "battery": ((802,), (713, 701), (713,)),
    "grid": ((203,), (204,), (202,), (201,)),
}
"""What makes a device one of this role, the best first; models of one entry are read together."""

_NAMEPLATES = (120, 702)
_POWER: Mapping[Role, str] = {"solar": "generation_kw", "battery": "active_power_kw"}


_STORAGES = (124, 713, *range(802, 807))
"""Models of a battery: an inverter with one of them has it on its DC side, unless a setting overrides it."""

_BATTERY_STRING = re.compile(r"^St(Dis)?Cha|bat|storage|ess\b", re.IGNORECASE)
"""Labels of DC inputs that are a battery's. Source: `StCha`, `StDisCha` in the register map of Fronius GEN24."""

_NOT_THE_CONNECTION = re.compile("produc|generation|generator|consum", re.IGNORECASE)
"""Labels of meters that do not stand at the connection. Source: options of SolarEdge's meters."""

PowerSource = Literal["ac", "dc", "strings"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a device is meant, where it measures several."""

    power: Literal["auto", "ac", "dc", "strings"] = "auto"
    """Where the sun's power is taken from; auto: AC, and for a hybrid inverter the strings, else DC."""

    strings: frozenset[int] = frozenset()
    """The numbers of the DC inputs that are panels, from 1; none: all whose label names no battery."""

    meter: int | None = None
    """Number of the meter at the connection, from 1 in the order of the map; None: there is only one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read of a device: once its nameplate, and then the same blocks again and again."""

    polled: tuple[Block, ...]
    """The first is needed; the others, and the nameplate, are left out where they cannot be read."""

    nameplate: Block | None
    power: PowerSource = "ac"
    """Where the sun's power is taken from."""

    strings: Block | None = None
    """Model 160, where it is needed."""

    warning: str | None = None
    """What an operator should look at."""


def plan_for(
    role: Role, blocks: Sequence[Block], selection: Selection | None = None, labels: Mapping[int, str] | None = None
) -> Plan:
    """Choose the blocks that tell what a role needs; a block that is too short counts as not there.

    Args:
        role: what the device is read for.
        blocks: its map.
        selection: which part of it is meant.
        labels: what its meters are called, by their addresses.

    Raises:
        RegisterMapError: the device has no such model, or not all of it, or several and no setting selects one.
    """
    selection = selection or Selection()
    if role == "grid" and any(block.model in METERS for block in blocks):
        return Plan((_choose_meter(blocks, selection.meter, labels or {}),), None)
    of_model = {block.model: block for block in reversed(blocks) if block.is_whole}
    for wanted in WANTED[role]:
        if all(model in of_model for model in wanted):
            polled = tuple(of_model[model] for model in wanted)
            named = next((of_model[model] for model in _NAMEPLATES if model in of_model), None)
            return Plan(polled, named) if role == "battery" else _plan_sun(polled, named, blocks, selection)
    first_models = tuple(dict.fromkeys(models[0] for models in WANTED[role]))
    for block in blocks:
        if block.model in first_models:
            raise _too_short(block)
    wanted = ", ".join(map(str, first_models))
    found = ", ".join(map(str, sorted({block.model for block in blocks})))
    raise RegisterMapError(f"it has none of the models {wanted}, only {found}")


def _too_short(block: Block) -> RegisterMapError:
    needed = block.span - 2
    return RegisterMapError(f"model {block.model} is {block.length} registers long, at least {needed} are needed")


def _choose_meter(blocks: Sequence[Block], number: int | None, labels: Mapping[int, str]) -> Block:
    meters = [block for block in blocks if block.model in METERS]
    listed = ", ".join(
        f"{number} is model {meter.model} at {meter.address} ({labels.get(meter.address) or 'no label'})"
        for number, meter in enumerate(meters, 1)
    )
    if number is None and (len(meters) > 1 or _NOT_THE_CONNECTION.search(labels.get(meters[0].address, ""))):
        raise RegisterMapError(f"which meter stands at the connection is not set, see …_MODBUS_METER: {listed}")
    if number is not None and number > len(meters):
        raise RegisterMapError(f"it has no meter {number}: {listed}")
    meter = meters[(number or 1) - 1]
    if not meter.is_whole:
        raise _too_short(meter)
    return meter


def _plan_sun(polled: tuple[Block, ...], named: Block | None, blocks: Sequence[Block], selection: Selection) -> Plan:
    strings = next((block for block in blocks if block.model == STRINGS and string_count(block)), None)
    is_hybrid = any(block.model in _STORAGES for block in blocks)
    power: PowerSource = "ac"
    if selection.power != "auto":
        power = selection.power
    elif selection.strings:
        power = "strings"
    elif is_hybrid:
        power = "dc" if strings is None else "strings"
    if power == "strings" and strings is None:
        raise RegisterMapError(f"it has no model {STRINGS}, which lists its strings")
    if strings is not None and max(selection.strings, default=0) > string_count(strings):
        raise RegisterMapError(f"it has no string {max(selection.strings)}, only {string_count(strings)}")
    warnings = {
        "ac": "it has a battery, whose power counts as sun where it is connected to this inverter",
        "dc": "it has a battery, whose power counts as sun where the inverter measures both on its DC side",
        "strings": "it has a battery: of its strings those count whose label names none, see …_MODBUS_STRINGS",
    }
    is_clear = not is_hybrid or bool(selection.strings)
    # The nameplate bounds AC power: panels that charge a battery as well may give more.
    return Plan(
        polled,
        named if power == "ac" else None,
        power,
        strings if power == "strings" else None,
        None if is_clear else warnings[power],
    )


@dataclass(frozen=True, slots=True)
class SunSpecPoints:
    """All that a device said at one moment: points by the number of their model."""

    models: Mapping[int, Mapping[str, float]]
    timestamp: datetime
    """The last moment before it was asked, aware UTC."""

    sequence: int | None = None
    """Number of the question, rising; None: it was not asked."""

    factor: float = 1.0
    """Power is multiplied by it."""

    rated_kw: float | None = None
    """Of the nameplate, if there is one."""

    power: PowerSource = "ac"
    """Where the sun's power is taken from."""

    strings: Sequence[DcString] = ()
    """The DC inputs."""

    panels: frozenset[int] = frozenset()
    """Numbers of those that are panels; none: all but those whose label names a battery."""

    @property
    def heartbeat(self) -> float | None:
        """The battery's heartbeat, which counts its seconds; None where it has none."""
        return self.models.get(802, {}).get("Hb")


def get_rated_kw(nameplate: Mapping[str, float]) -> float | None:
    """Rated power of the nameplate [kW]; None where it gives none."""
    rated_w = nameplate.get("WRtg", 0.0)
    return rated_w / _W_PER_KW if rated_w > 0 else None


def to_measurement(role: Role, said: SunSpecPoints) -> Measurement | Refusal:
    """What a device said, in the words of a role.

    Power is positive as the device gives it: SunSpec counts so for inverters, and for a battery that discharges; a
    meter's is positive as the site draws it.
    """
    points = {name: value for model in said.models.values() for name, value in model.items()}
    asleep = next((name for state, name in _ASLEEP.items() if points.get(state[0]) == state[1]), None)
    if said.power != "ac":
        points = {name: value for name, value in points.items() if name != "W"} | _panel_power(points, said)
    may_leave_out = asleep is not None or any(points.get(name) == state for name, state in _STANDBY)
    if role == "solar" and may_leave_out:
        points.setdefault("W", 0.0)
    needed = "SoC" if role == "battery" else "W"
    if needed not in points:
        hint = "" if said.power == "ac" else f" for {said.power}: set …_MODBUS_POWER if its W holds no battery"
        return Refusal(Reason.SCHEMA, f"{needed} is not implemented by the device{hint}")
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


def _panel_power(points: Mapping[str, float], said: SunSpecPoints) -> dict[str, float]:
    """What the panels alone give, as `W` [W]; nothing where it is absent."""
    if said.power == "dc":
        return {"W": points["DCW"]} if "DCW" in points else {}
    chosen = said.panels or {string.number for string in said.strings if not _BATTERY_STRING.search(string.label)}
    told = [string for string in said.strings if string.power_w is not None]
    # An input at rest leaves its power out; where all of them do, nothing is known.
    return {"W": sum(string.power_w or 0.0 for string in told if string.number in chosen)} if told else {}


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
