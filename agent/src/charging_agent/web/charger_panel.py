"""The chargers on the status page: what cars may draw now and why, and each car."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from string import Template

from charging_agent.charging.fleet import iter_evses, power_kw
from charging_agent.charging.sharing import CarKey, LimitedBy
from charging_agent.gateway.calls import OK
from charging_agent.readings.assessment import Status
from charging_agent.web.charger_schemas import CarAnswer, ChargersAnswer
from ev_service.charging import Chargers, GridSignal, Override, SignalScope

LocalText = Callable[[datetime], str]
"""Writes a time as the site's clocks show it."""

# By protection of the connection, in the words of the charger service.
_BY_PROTECTION = frozenset({"protection", "measured_load", "meter_lost"})
_BY_DELAY = {
    LimitedBy.MINIMUM_OFF_TIME.value: "a car that stopped a moment ago may not start yet",
    LimitedBy.RAMP.value: "power rises in steps",
    LimitedBy.HYSTERESIS.value: "more would fit, by too little to change for",
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the cars that are there may draw together, by the limits in force."""

    power_kw: float
    """Sum over all cars [kW]."""

    reason: str
    """What keeps them there, one sentence."""

    is_pause: bool
    """Whether something other than the decision holds all of them at 0 kW."""


def compute_allowance(
    newest: Chargers, limits_a: Mapping[CarKey, float], answer: ChargersAnswer, now: datetime, local: LocalText
) -> Allowance:
    """What cars may really draw, and why.

    Args:
        newest: the chargers as last read.
        limits_a: limits in force per phase [A], as far as is known.
        answer: the chargers as answered by the API.
        now: the run's time, by which limits have lapsed or not.
        local: writes times.
    """
    may_draw_kw = 0.0
    for key, _, evse in iter_evses(newest):
        if evse.session is not None:
            until = max((at for at in (evse.valid_until, answer.valid_until) if at is not None), default=None)
            current_a = evse.fallback_a if until is not None and until <= now else limits_a[key]
            may_draw_kw += power_kw(current_a, len(evse.phases), newest.voltage_v)
    override = newest.override if newest.override is not None and newest.override.until > now else None
    is_stop = override is not None and override.kind == "stop"
    return Allowance(may_draw_kw, _find_reason(newest, answer, override, local), is_stop)


def _find_reason(newest: Chargers, answer: ChargersAnswer, override: Override | None, local: LocalText) -> str:
    if answer.status is Status.MISSING:
        return (
            f"The agent has not been able to read the chargers since {local(newest.timestamp)}"
            f" ({answer.error or 'no answer'}); limits that are not renewed fall to each charger's fallback."
        )
    if override is not None:
        what = "stopped all cars" if override.kind == "stop" else f"allowed {override.charging_power_kw:g} kW per car"
        return f"An operator {what}, until {local(override.until)}."
    limiting = {car.limited_by for car in answer.cars if not car.draws_without_session}
    active = [signal for signal in newest.grid_signals if signal.is_in_force]
    if limiting & _BY_PROTECTION:
        return "Protection of the connection holds cars lower than the agent would."
    if answer.commanding != OK and answer.trouble:
        return f"The agent's limits are not taken: {answer.trouble}."
    if active and LimitedBy.GRID_SIGNAL.value in limiting:
        return f"The grid operator limits: {'; '.join(_render_signal(one, local) for one in active)}."
    if not limiting:
        return "No session is there that a limit could be set for." if answer.cars else "No car is there."
    if LimitedBy.SURPLUS.value in limiting:
        return "Cars on surplus wait for more sun, or for it to last."
    for word, sentence in _BY_DELAY.items():
        if word in limiting:
            return f"An increase is delayed: {sentence}."
    return "As the agent decided."


def render_headline(allowance: Allowance) -> str:
    """Write what cars may draw, and why, as the first line of the page."""
    return _HEADLINE.substitute(
        power=f"{allowance.power_kw:.1f}",
        reason=escape(allowance.reason),
        kind="pause" if allowance.is_pause else "",
    )


def render_chargers_panel(answer: ChargersAnswer, local: LocalText) -> str:
    """Write the part of the page that shows the chargers; everything from outside is text there.

    Args:
        answer: the chargers as answered by the API.
        local: writes times.
    """
    rows = "".join(_render_row(car) for car in answer.cars) or "<tr><td colspan='5'>no car is there</td></tr>"
    alarms = [f"{name} draws more than its limit" for name in answer.overdrawing]
    alarms += [
        f"{car.charger_id}/{car.evse_id} draws power without a session"
        for car in answer.cars
        if car.draws_without_session
    ]
    alarms += [f"the meter of {name} says nothing" for name in answer.without_meter]
    alarms += [f"the connection's meter does not confirm what {name} reports" for name in answer.contradicted]
    alarms += [answer.trouble] if answer.trouble else []
    return _PANEL.substitute(
        drawn=f"{answer.drawn_kw:.1f}",
        rows=rows,
        alarms="".join(f"<p class='missing'>{escape(alarm)}</p>" for alarm in alarms),
        said=escape(_render_summary(answer, local)),
    )


def _render_row(car: CarAnswer) -> str:
    drawn = "" if car.power_kw is None else f"{car.power_kw:.1f} kW"
    state = car.state.value if car.is_connected else "not connected"
    return (
        f"<tr><th>{escape(car.charger_id)}/{car.evse_id}</th><td>{state}</td><td>{car.limit_a:g} A</td>"
        f"<td>{drawn}</td><td>{escape(car.limited_by or '')}</td></tr>"
    )


def _render_summary(answer: ChargersAnswer, local: LocalText) -> str:
    # Between two rounds a reading grows older than a decision may use; that is no trouble.
    age = "" if answer.age_s is None else f" {answer.age_s:.0f} s ago"
    parts = [f"chargers read{age}" if answer.status is not Status.MISSING else f"chargers missing, last read{age}"]
    parts += [f"commanding: {answer.commanding}"] if answer.commanding != OK else []
    if answer.lease is not None:
        parts.append(f"{answer.lease.commander} commands until {local(answer.lease.until)}")
    if answer.limit_kw is not None:
        parts.append(f"building and cars together at most {answer.limit_kw:g} kW")
    parts += [f"the grid operator's signal: {_render_signal(signal, local)}" for signal in answer.grid_signals]
    return ", ".join(parts)


def _render_signal(signal: GridSignal, local: LocalText) -> str:
    whom = "all cars together" if signal.applies_to is SignalScope.CHARGING else "building and cars together"
    begin = "" if signal.is_in_force or signal.valid_from is None else f" from {local(signal.valid_from)}"
    end = f" until {local(signal.valid_until)}" if signal.valid_until is not None else ""
    default = f" while its source ({signal.source}) is silent" if signal.is_default else ""
    return f"{whom} at most {signal.limit_kw:g} kW{begin}{end}{default}"


_HEADLINE = Template(
    """<p class="power $kind"><b>$power kW</b> <span>cars may draw</span></p>
<p class="why">$reason</p>"""
)
_PANEL = Template(
    """<h2>Cars draw $drawn kW</h2>
$alarms
<table><tr><th>car at</th><th>state</th><th>limit</th><th>draws</th><th>limited by</th></tr>$rows</table>
<p class="small">$said</p>"""
)
