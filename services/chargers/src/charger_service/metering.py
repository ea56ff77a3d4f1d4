"""Interpretation of an EVSE's meter values: which are current, and what the car draws by them.

The results are finite and bounded for any input, so that no sum over chargers can overflow.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from charger_service.envelope import NOTHING, Currents, EvseWiring
from charger_service.ports import MeterReading
from ev_service.charging import LEAST_CURRENT_A
from ev_service.lifetimes import Instant

DRAWS_FROM_A = 1.0
"""Current from which a report counts as drawing [A per phase]; below are electronics and the meter's own error."""
_DRAWN_FROM_KW = 0.05
_DRAWN_FROM_A = 0.2
_NEUTRAL_ERROR = 0.25
"""Relative tolerance of a neutral current against the power: voltage, power factor, error of meters."""
_PHASES_ERROR = 0.25
"""Tolerance of a number of phases that is computed from power and current."""
_MOST_A, _MOST_KW, _MOST_KWH = 100_000.0, 100_000.0, 1e9
"""Values above these are read as these: no connection carries them, and a thousand of them still add up."""
_RATING_MARGIN = 1.25
"""Factor above the rating that a sound meter may show: 10 % of voltage (EN 50160), 10 % of error, and a rest."""
_LATE_S = 30.0
"""Delay in excess of earlier samples', by the charger's clock, up to which a sample is current [s]."""
_CLOCK_SET_AFTER_S = 8.0
"""After so long without another sample a late one shows that its charger's clock was set [s]. Less than the interval
of 10 s at which chargers are asked for samples, so that a clock that is set costs one sample at most."""
_LIVE_WITHIN_S = 120.0
"""Tolerance of a charger's clock, which is set at each boot and heartbeat [s]."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SampleOrder:
    """Times of one EVSE's current samples."""

    newest_at: datetime
    """Newest time, by the charger's clock."""
    delay_s: float
    """Arrival less that time for the promptest sample [s]; any number, as the charger's clock may be wrong."""
    heard_s: float
    """Monotonic time of the newest arrival [s]."""


def is_current(order: SampleOrder | None, reading: MeterReading, now_s: float, since_s: float) -> bool:
    """Whether a sample was sent as it was taken; otherwise it is history, and counts for nothing but the record.

    History is what the charger marks as such, and what is older by the charger's own clock than a sample before, or
    came later than others by that clock: stored samples come in a burst, after connecting or between those of now.
    Where nothing else comes, it is not the sample that is old: the clock was set, as NTP or a restart does.

    Args:
        order: what is known of earlier samples; None: there were none.
        reading: the sample.
        now_s: its arrival, monotonic [s].
        since_s: when the charger connected or booted, monotonic [s].
    """
    if reading.is_stored:
        return False
    if order is None or reading.reported_at is None:
        return True
    is_older = reading.reported_at < order.newest_at
    is_late = _delay_s(reading.reported_at, now_s) > order.delay_s + _LATE_S
    is_alone = now_s - max(order.heard_s, since_s) >= _CLOCK_SET_AFTER_S
    return is_alone or not (is_older or is_late)


def is_live(order: SampleOrder | None, reported_at: datetime | None, now: Instant) -> bool:
    """Return whether a message was sent as it happened, by this clock or by its charger's own.

    Stricter than `is_current`: it decides whether a transaction runs, which an old message must not begin.

    Args:
        order: what is known of the times that the EVSE's samples carry; None: nothing.
        reported_at: by the charger's clock; None: it does not say.
        now: its arrival.
    """
    if reported_at is None:
        return False
    if abs((now.wall - reported_at).total_seconds()) <= _LIVE_WITHIN_S:
        return True
    is_prompt = order is not None and _delay_s(reported_at, now.monotonic_s) <= order.delay_s + _LATE_S
    return is_prompt and order is not None and reported_at >= order.newest_at


def add_sample(order: SampleOrder | None, reading: MeterReading, now_s: float) -> SampleOrder | None:
    """Return the times after another current sample."""
    at = reading.reported_at
    if at is None:
        return None if order is None else SampleOrder(order.newest_at, order.delay_s, now_s)
    delay_s = _delay_s(at, now_s)
    if order is not None and at >= order.newest_at and delay_s <= order.delay_s + _LATE_S:
        delay_s = min(delay_s, order.delay_s)
    return SampleOrder(at, delay_s, now_s)


@dataclass(frozen=True, slots=True)
class Meter:
    """The newest current meter values."""

    measured_at: datetime
    """Arrival, UTC."""
    received_s: float
    """Arrival, monotonic [s]."""
    power_kw: float
    """Power [kW], at most the EVSE's rating."""
    current_a: Currents
    """Current as reported, on the site's phases [A].

    Where the phases are not certain, each phase has as much as may be there.
    """
    is_implausible: bool = False
    """Whether power or current exceeds the EVSE's rating by more than a meter's error."""
    even_a: Currents | None = None
    """The power spread over all phases, where the phases are not certain [A]; None: they are."""
    phases_in_use: int | None = None
    """Number of phases on which the car draws; None: not known from the sample."""

    @property
    def likely_a(self) -> Currents:
        """Currents on the site's phases that together are the draw [A]."""
        return self.current_a if self.even_a is None else self.even_a


def compute_meter(reading: MeterReading, wiring: EvseWiring, voltage_v: float, now: Instant) -> Meter | None:
    """Interpret a current sample; None: it has neither current nor power.

    Currents are derived from the power where the meter gives none, and the other way.

    Args:
        reading: what the meter said.
        wiring: how the EVSE is wired.
        voltage_v: between phase and neutral [V].
        now: its arrival.
    """
    reported_kw = _clamp(reading.power_kw, _MOST_KW)
    found = _currents(reading, reported_kw, wiring, voltage_v)
    if found is None:
        return None
    current_a, even_a = found
    rated_kw = wiring.max_current_a * len(wiring.phases) * voltage_v / 1000
    shown_kw = sum(plausible_currents(current_a, wiring)) * voltage_v / 1000 if reported_kw is None else reported_kw
    is_too_strong = shown_kw > rated_kw * _RATING_MARGIN
    return Meter(
        now.wall,
        now.monotonic_s,
        rated_kw if is_too_strong else shown_kw,
        current_a,
        is_too_strong or plausible_currents(current_a, wiring) != current_a,
        even_a,
        None if even_a is not None else _phases_in_use(reading, current_a, reported_kw, wiring, voltage_v),
    )


def plausible_currents(current_a: Currents, wiring: EvseWiring, believed_a: float = 0.0) -> Currents:
    """Reported currents, with the EVSE's rating on phases where more is reported than can be.

    Args:
        current_a: as reported, on the site's phases [A].
        wiring: how the EVSE is wired.
        believed_a: up to this, more than the rating and its margin counts as well [A]: a miswired EVSE may draw it.

    >>> wiring = EvseWiring(("CP-1", 1), "main", (1, 2, 3), 32.0)
    >>> plausible_currents((33.0, 60.0, 1e5), wiring)
    (33.0, 32.0, 32.0)
    >>> plausible_currents((33.0, 60.0, 1e5), wiring, 125.0)
    (33.0, 60.0, 32.0)
    """
    highest_a = max(wiring.max_current_a * _RATING_MARGIN, believed_a)
    first, second, third = (one if one <= highest_a else wiring.max_current_a for one in current_a)
    return first, second, third


def get_energy_kwh(reading: MeterReading) -> float | None:
    """Return the meter's register [kWh]; None: not reported, or out of range."""
    energy_kwh = reading.energy_kwh
    return energy_kwh if energy_kwh is not None and 0 <= energy_kwh <= _MOST_KWH else None


def _clamp(value: float | None, most: float) -> float | None:
    """Clamp a value to 0 to `most`; None where it is not a number."""
    return None if value is None or math.isnan(value) else min(max(value, 0.0), most)


def _currents(
    reading: MeterReading, power_kw: float | None, wiring: EvseWiring, voltage_v: float
) -> tuple[Currents, Currents | None] | None:
    """`Meter.current_a` and `Meter.even_a`; None: the sample says nothing of currents."""
    if reading.current_a is not None and not all(map(math.isnan, reading.current_a)):
        lines = [_clamp(abs(current_a), _MOST_A) or 0.0 for current_a in reading.current_a]
        # A charger on one phase may call it by its own name or by the site's.
        return wiring.currents(max(lines)) if len(wiring.phases) == 1 else _on_site(lines, wiring), None
    each_a = _clamp(reading.current_each_a, _MOST_A)
    if each_a is not None:
        return wiring.currents(each_a), None
    together_a = None if power_kw is None else power_kw * 1000 / voltage_v
    neutral_a = _clamp(reading.neutral_a, _MOST_A)
    if neutral_a is not None and (phases := _phases_by_neutral(neutral_a, together_a, wiring)) is not None:
        return wiring.currents(neutral_a, phases), None
    if power_kw is None or together_a is None:
        return None
    if power_kw < _DRAWN_FROM_KW:
        return NOTHING, None
    return _by_power(together_a, neutral_a, wiring)


def _phases_in_use(
    reading: MeterReading, current_a: Currents, power_kw: float | None, wiring: EvseWiring, voltage_v: float
) -> int | None:
    """`Meter.phases_in_use`, where the currents are certain.

    One current without a phase does not say it alone: it counts on every phase, and the power shows on how many it is.
    """
    each_a = _clamp(reading.current_each_a, _MOST_A)
    if reading.current_a is not None or each_a is None:
        return sum(one_a >= DRAWS_FROM_A for one_a in current_a)
    if power_kw is None or each_a < LEAST_CURRENT_A:
        return None
    by_power = min(power_kw * 1000 / (voltage_v * each_a), len(wiring.phases))
    phases = round(by_power)
    return phases if phases > 0 and abs(by_power - phases) <= _PHASES_ERROR else None


def _phases_by_neutral(neutral_a: float, together_a: float | None, wiring: EvseWiring) -> int | None:
    """On how many phases a car draws that puts this current on the neutral; None: it does not say.

    One phase puts its own current there, two of equal current the same current, three of them none. A car on one
    phase draws from L1 of its charger, which is the one that it has a contact for (IEC 62196-2).
    """
    if len(wiring.phases) == 1 or together_a is None:
        return 1 if neutral_a >= _DRAWN_FROM_A else None
    return next((n for n in (1, 2) if abs(together_a - n * neutral_a) <= _NEUTRAL_ERROR * together_a), None)


def _by_power(together_a: float, neutral_a: float | None, wiring: EvseWiring) -> tuple[Currents, Currents | None]:
    """Distribute a power: all of it on each phase, or as much as the EVSE provides on one."""
    even_a = together_a / len(wiring.phases)
    is_balanced = neutral_a is not None and neutral_a <= _NEUTRAL_ERROR * even_a
    if is_balanced or even_a >= wiring.max_current_a or len(wiring.phases) == 1:
        return wiring.currents(even_a), None
    return wiring.currents(min(together_a, wiring.max_current_a)), wiring.currents(even_a)


def _on_site(lines: list[float], wiring: EvseWiring) -> Currents:
    on_site = [0.0, 0.0, 0.0]
    for line_a, phase in zip(lines, wiring.phases, strict=False):
        on_site[phase - 1] = line_a
    return on_site[0], on_site[1], on_site[2]


def _delay_s(at: datetime, now_s: float) -> float:
    return now_s - (at - _EPOCH).total_seconds()
