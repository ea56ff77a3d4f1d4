"""Values of single phases: what a meter reports, what a measurement holds, and the currents computed from it.

A measurement holds, each by phase: `current_l1_a`, signed as the wire's `current_a`; `magnitude_l1_a`, a current of
which the meter does not say which way it flows; `power_l1_kw`, signed, and `voltage_l1_v`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ev_service.units import Ampere, Volt

_W_PER_KW = 1000.0

_VOLTAGE_TOLERANCE = 0.2
"""A measured voltage that is further from the nominal one, as a share, is not that between phase and neutral."""


@dataclass(frozen=True, slots=True)
class PhaseCurrents:
    """The current of each phase."""

    current_a: tuple[Ampere, ...]
    """L1 [A], L2, L3, positive is drawn."""

    is_assumed: bool
    """Whether the meter did not say of each which way it flows."""


def by_phase(name: str, values: Iterable[float | None]) -> dict[str, float]:
    """Values of L1, L2, L3 under a name for each; what is not known is left out.

    >>> by_phase("power_kw", (1.0, None, 0.5))
    {'power_l1_kw': 1.0, 'power_l3_kw': 0.5}
    """
    stem, _, unit = name.rpartition("_")
    return {f"{stem}_l{phase}_{unit}": value for phase, value in enumerate(values, start=1) if value is not None}


def phase_values(
    *,
    current_a: Sequence[float | None] = (),
    power_w: Sequence[float | None] = (),
    voltage_v: Sequence[float | None] = (),
    factor: float,
) -> dict[str, float]:
    """Values of L1, L2, L3 as a measurement holds them; most meters give currents without a sign.

    Args:
        current_a: currents [A]; a meter that gives a negative one signs all of them.
        power_w: active powers [W], positive as the site draws them.
        voltage_v: between phase and neutral [V].
        factor: power and current are multiplied by it; -1 turns the sign.
    """
    is_signed = any(current is not None and current < 0 for current in current_a) and not any(
        power is not None for power in power_w
    )
    scale = factor if is_signed else abs(factor)
    currents = (None if current is None else (current if is_signed else abs(current)) * scale for current in current_a)
    powers = (None if power is None else power * factor / _W_PER_KW for power in power_w)
    return (
        by_phase("current_a" if is_signed else "magnitude_a", currents)
        | by_phase("power_kw", powers)
        | by_phase("voltage_v", voltage_v)
    )


def phase_currents(values: Mapping[str, float], phases: int, nominal_v: Volt) -> PhaseCurrents | None:
    """The currents of a site's phases; None where one of them is not known.

    A current without a sign takes the one of its phase's power. Without that either, it is taken as drawn where the
    whole site draws, and is not known where it exports.

    Args:
        values: of a measurement, with the whole site's `load_kw`.
        phases: how many the site has; values of further phases are ignored.
        nominal_v: between phase and neutral [V], where the meter does not say it.
    """
    currents, is_assumed = list[float](), False
    for phase in range(1, phases + 1):
        current_a, power_kw = values.get(f"current_l{phase}_a"), values.get(f"power_l{phase}_kw")
        magnitude_a = values.get(f"magnitude_l{phase}_a")
        if current_a is None and power_kw is not None:
            voltage_v = values.get(f"voltage_l{phase}_v", nominal_v)
            if abs(voltage_v - nominal_v) > _VOLTAGE_TOLERANCE * nominal_v:
                voltage_v = nominal_v
            size_a = abs(power_kw) * _W_PER_KW / voltage_v if magnitude_a is None else magnitude_a
            current_a = size_a if power_kw >= 0 else -size_a
        elif current_a is None and values["load_kw"] > 0:
            current_a, is_assumed = magnitude_a, True
        if current_a is None:
            return None
        currents.append(current_a)
    return PhaseCurrents(tuple(currents), is_assumed)
