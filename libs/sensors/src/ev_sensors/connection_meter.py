"""What is plausible for the meter of the grid connection, whatever protocol it speaks and whoever reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ev_sensors.checks import Nominal, Range, Rules, Slope
from ev_sensors.measurement import Measurement
from ev_sensors.message_validator import Device
from ev_sensors.phases import PhaseCurrents, by_phase, phase_currents
from ev_service.settings import SiteSettings
from ev_service.telemetry import GridLoad
from ev_service.units import Ampere, Kilowatt, Percent, Volt

_HIGHEST_SHARE = 3.0
"""Load over limit that no connection carries for longer than its fuses need."""

_ROUNDING_PERCENT = 1.0
"""How far a recorded share may be from its two powers [%]: recordings round each of the three."""

_LEAST_POWER_FACTOR = 0.5
"""Active over apparent power of one phase at the least: lamps and idle power supplies go lower, and draw little."""

_VOLTAGE_TOLERANCE = 0.1
"""How far the voltage may be from the nominal one, as a share (EN 50160)."""

_TOLERATED_SHARE = 0.02
"""How far phases and total may be apart in any case, as a share of the limit: they are not measured at one moment."""

_W_PER_KW = 1000.0


def connection_meter(site: SiteSettings) -> Device[GridLoad]:
    """The meter at the connection.

    Currents count where one of each phase of the site is known, and not while an assumed direction does not fit the
    power. The meter's own values of the phases must match it.

    Args:
        site: its name, what its connection may carry, its voltage and its phases.
    """
    highest_kw = _HIGHEST_SHARE * site.limit_kw
    # One phase may carry all of it: a phase that is far beyond its share is what protection has to see.
    highest_a = highest_kw * _W_PER_KW / site.voltage_v
    # A load that falls sets charging free, so a fall that no consumer makes has to be confirmed sooner than a rise.
    rise = Slope(site.limit_kw, 0.5 * site.limit_kw)
    fall = Slope(0.6 * site.limit_kw, 0.1 * site.limit_kw)
    ranges = {"load_kw": Range(0.0, highest_kw, rise, fall), "export_kw": Range(0.0, highest_kw)}
    # Without slopes of their own: what one phase makes up shows in the total, or contradicts it.
    for name, highest in (("current_a", highest_a), ("magnitude_a", highest_a), ("power_kw", highest_kw)):
        ranges |= dict.fromkeys(by_phase(name, [0.0] * site.phases), Range(-highest, highest))
    meter = _Meter(site)
    rules = Rules(ranges, {"limit_kw": Nominal(site.limit_kw)}, meter.why_implausible)
    return Device("grid", rules, meter.reading, meter.combine)


@dataclass(frozen=True, slots=True)
class _Meter:
    """What the values of a measurement say at one site."""

    site: SiteSettings

    def why_implausible(self, values: Mapping[str, float]) -> str | None:
        """Why values cannot hold together, or None."""
        load_kw, limit_kw = values["load_kw"], self.site.limit_kw
        reason = contradiction(
            told_percent=values.get("load_percent", load_percent(load_kw, limit_kw)),
            load_kw=load_kw,
            limit_kw=limit_kw,
            export_kw=values["export_kw"],
        )
        phases = self._phases(values)
        return reason if phases is None or phases.is_assumed else reason or self._why_not(phases, values)

    def reading(self, measured: Measurement, source: str) -> GridLoad:
        """A measurement as a service answers it."""
        values, limit_kw = measured.values, self.site.limit_kw
        phases = self._phases(values)
        return GridLoad(
            site_id=self.site.id,
            timestamp=measured.timestamp,
            source=source,
            load_percent=load_percent(values["load_kw"], limit_kw),
            load_kw=values["load_kw"],
            limit_kw=limit_kw,
            export_kw=values["export_kw"],
            current_a=None if phases is None or self._why_not(phases, values) else phases.current_a,
            # A meter at the connection sees the cars, unless the device reports another location.
            includes_charging=bool(values.get("includes_charging", True)),
        )

    def combine(self, readings: Sequence[GridLoad]) -> GridLoad:
        """Several meters as one: what one draws and another gives is balanced, in all and on each phase."""
        power_kw = sum(reading.load_kw - reading.export_kw for reading in readings)
        currents = [reading.current_a for reading in readings if reading.current_a is not None]
        load_kw, limit_kw = max(power_kw, 0.0), self.site.limit_kw
        return GridLoad(
            site_id=self.site.id,
            timestamp=min(reading.timestamp for reading in readings),
            source=readings[0].source,
            load_percent=load_percent(load_kw, limit_kw),
            load_kw=load_kw,
            limit_kw=limit_kw,
            export_kw=max(-power_kw, 0.0),
            current_a=tuple(map(sum, zip(*currents, strict=True))) if len(currents) == len(readings) else None,
            includes_charging=any(reading.includes_charging for reading in readings),
        )

    def _phases(self, values: Mapping[str, float]) -> PhaseCurrents | None:
        return phase_currents(values, self.site.phases, self.site.voltage_v)

    def _why_not(self, phases: PhaseCurrents, values: Mapping[str, float]) -> str | None:
        power_kw = values["load_kw"] - values["export_kw"]
        return _phase_contradiction(phases.current_a, power_kw, self.site.limit_kw, self.site.voltage_v)


def load_percent(load_kw: float, limit_kw: float) -> float:
    """Share of the connection that is used [%]; may pass 100.

    Args:
        load_kw: power drawn from the grid [kW], >= 0.
        limit_kw: what the connection may carry [kW], > 0.
    """
    return load_kw / limit_kw * 100


def why_implausible(reading: GridLoad, voltage_v: Volt) -> str | None:
    """Why one connection cannot carry this, or None.

    Args:
        reading: the whole reading.
        voltage_v: between phase and neutral [V], nominal.
    """
    return contradiction(
        told_percent=reading.load_percent,
        load_kw=reading.load_kw,
        limit_kw=reading.limit_kw,
        export_kw=reading.export_kw,
    ) or _phase_contradiction(reading.current_a or (), reading.load_kw - reading.export_kw, reading.limit_kw, voltage_v)


def contradiction(*, told_percent: Percent, load_kw: Kilowatt, limit_kw: Kilowatt, export_kw: Kilowatt) -> str | None:
    """Why the figures of one connection cannot hold together, or None.

    Args:
        told_percent: share that is said to be used [%].
        load_kw: power drawn from the grid [kW].
        limit_kw: what the connection may carry [kW], > 0.
        export_kw: power given to the grid [kW].
    """
    share = load_percent(load_kw, limit_kw)
    if abs(told_percent - share) > _ROUNDING_PERCENT:
        return (
            f"load_percent {told_percent:g} does not fit load_kw {load_kw:g} "
            f"over limit_kw {limit_kw:g}, which is {share:.1f} %"
        )
    if load_kw > 0 and export_kw > 0:
        return f"it draws {load_kw:g} kW and gives {export_kw:g} kW at once"
    return None


def _phase_contradiction(
    current_a: Sequence[Ampere], power_kw: Kilowatt, limit_kw: Kilowatt, voltage_v: Volt
) -> str | None:
    """Why currents and power of one connection cannot hold together, or None.

    A current says how much power its phase carries at the most; how much less it is depends on the power factor, which
    a meter that gives currents alone does not tell.

    Args:
        current_a: of each phase [A], positive is drawn; none where they are not known.
        power_kw: of all phases [kW], positive is drawn.
        limit_kw: what the connection may carry [kW], > 0.
        voltage_v: between phase and neutral [V], nominal.
    """
    if not current_a:
        return None
    # Of a year of minutes this is asked half a million times: without a generator for each sign it takes half as long.
    drawn_a = given_a = 0.0
    for current in current_a:
        if current > 0:
            drawn_a += current
        else:
            given_a -= current
    drawn_kw, given_kw = drawn_a * voltage_v / _W_PER_KW, given_a * voltage_v / _W_PER_KW
    margin_kw = _VOLTAGE_TOLERANCE * (drawn_kw + given_kw) + _TOLERATED_SHARE * limit_kw
    least_kw = _LEAST_POWER_FACTOR * drawn_kw - given_kw - margin_kw
    most_kw = drawn_kw - _LEAST_POWER_FACTOR * given_kw + margin_kw
    if least_kw <= power_kw <= most_kw:
        return None
    phases = ", ".join(f"{current:g}" for current in current_a)
    return f"current_a {phases} does not fit {power_kw:g} kW in all, it would be {least_kw:.1f} to {most_kw:.1f} kW"
