"""Whether a measurement may count: its time, its order, its range, and how far it is from the one before.

The device's history goes in and comes out. A step that no real site makes is not believed at once and not
refused for ever: once three messages in a row agree with each other, the device, and not the spike, was right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_service.units import utc_text

AHEAD_S = 5.0
"""How far a device's clock may be ahead [s]; the agent takes no reading from further in the future."""

OLDEST_S = 60.0
"""Age beyond which a message carries no usable value [s]: the agent's stale limit."""

CONFIRMED_BY = 3
"""Messages in a row that must agree before an unlikely step is believed: two spikes in a row happen, three do not."""


@dataclass(frozen=True, slots=True)
class Slope:
    """How far a value may move between two messages: `at_once`, and `per_s` for each second between them."""

    at_once: float
    per_s: float

    def allows(self, change: float, elapsed_s: float) -> bool:
        """Whether a change, >= 0, is believable after so long."""
        return change <= self.at_once + self.per_s * elapsed_s


@dataclass(frozen=True, slots=True)
class Range:
    """What one value may be, both ends included, and how it may move; a direction without a slope may jump."""

    low: float
    high: float
    rise: Slope | None = None
    fall: Slope | None = None


@dataclass(frozen=True, slots=True)
class Nominal:
    """A figure that is set for the site; a device may repeat it, and may not change it."""

    value: float
    tolerance: float = 0.01
    """How far the device's word may be off, as a share of the figure."""


def _nothing(_: Mapping[str, float]) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """What is plausible for one kind of device."""

    ranges: Mapping[str, Range]
    """By the names of values; a value without a range is not looked at."""

    nominal: Mapping[str, Nominal] = field(default_factory=dict[str, Nominal])
    """Figures that are set, by name."""

    implausible: Callable[[Mapping[str, float]], str | None] = _nothing
    """Why values cannot hold together, or None."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a device."""

    accepted: Measurement | None = None
    """The newest measurement that counted."""

    doubted: Measurement | None = None
    """The newest of those since that do not follow from it."""

    doubts: int = 0
    """How many of them in a row agree with each other."""


def validate(measurement: Measurement, past: Past, now: datetime, rules: Rules) -> tuple[Past, Refusal | None]:
    """Judge one measurement.

    Args:
        measurement: as the device sent it.
        past: what is known of the device.
        now: the run's time, aware UTC.
        rules: what is plausible for it.

    Returns:
        What is known afterwards, and None where the measurement counts, else why it does not.
    """
    refusal = _wrong_time(measurement, past, now) or _wrong_values(measurement.values, rules)
    if refusal is not None:
        return past, refusal
    if past.accepted is None:
        return Past(measurement), None
    doubt = _break(past.accepted, measurement, rules)
    if doubt is None:
        return Past(measurement), None
    agrees = past.doubted is not None and _break(past.doubted, measurement, rules) is None
    doubts = past.doubts + 1 if agrees else 1
    if doubts >= CONFIRMED_BY:
        return Past(measurement), None
    return replace(past, doubted=measurement, doubts=doubts), doubt


def is_outdated(measurement: Measurement, now: datetime) -> bool:
    """Whether it is too old to tell anything about now."""
    return (now - measurement.timestamp).total_seconds() > OLDEST_S


def _wrong_time(measurement: Measurement, past: Past, now: datetime) -> Refusal | None:
    moment = measurement.timestamp
    ahead_s = (moment - now).total_seconds()
    if ahead_s > AHEAD_S:
        return Refusal(Reason.CLOCK_AHEAD, f"timestamp {utc_text(moment)} is {ahead_s:.0f} s ahead")
    if is_outdated(measurement, now):
        return Refusal(
            Reason.TOO_OLD, f"timestamp {utc_text(moment)} is {-ahead_s:.0f} s old, {OLDEST_S:.0f} s at most"
        )
    return None if past.accepted is None else _replay(past.accepted, measurement)


def _replay(before: Measurement, after: Measurement) -> Refusal | None:
    """Why the second cannot be the later one, or None; within one moment its number decides, where there is one."""
    counts = before.sequence is not None and after.sequence is not None and after.sequence > before.sequence
    if after.timestamp > before.timestamp or (after.timestamp == before.timestamp and counts):
        return None
    moments = f"{utc_text(after.timestamp)} does not come after {utc_text(before.timestamp)}"
    return Refusal(Reason.REPLAYED, f"timestamp {moments}")


def _wrong_values(values: Mapping[str, float], rules: Rules) -> Refusal | None:
    for name, nominal in rules.nominal.items():
        told = values.get(name)
        if told is not None and abs(told - nominal.value) > nominal.tolerance * nominal.value:
            return Refusal(Reason.NOMINAL, f"{name} {told:g} is not the {nominal.value:g} that is set here")
    for name, span in rules.ranges.items():
        told = values.get(name)
        # Written so that what is no number fails too.
        if told is not None and not span.low <= told <= span.high:
            return Refusal(Reason.RANGE, f"{name} {told:g} is not within {span.low:g} and {span.high:g}")
    reason = rules.implausible(values)
    return None if reason is None else Refusal(Reason.IMPLAUSIBLE, reason)


def _break(before: Measurement, after: Measurement, rules: Rules) -> Refusal | None:
    """Why one does not follow from the other, or None."""
    if refusal := _replay(before, after):
        return refusal
    elapsed_s = (after.timestamp - before.timestamp).total_seconds()
    if before.sequence is not None and after.sequence is not None and after.sequence <= before.sequence:
        return Refusal(Reason.SEQUENCE, f"sequence {after.sequence} does not come after {before.sequence}")
    if before.energy_kwh is not None and after.energy_kwh is not None and after.energy_kwh < before.energy_kwh:
        return Refusal(Reason.COUNTER, f"energy_kwh {after.energy_kwh:g} is less than {before.energy_kwh:g}")
    for name, span in rules.ranges.items():
        if name in before.values and name in after.values:
            change = after.values[name] - before.values[name]
            slope = span.rise if change > 0 else span.fall
            if slope is not None and not slope.allows(abs(change), elapsed_s):
                return Refusal(Reason.RATE, f"{name} moved by {change:g} within {elapsed_s:g} s")
    return None
