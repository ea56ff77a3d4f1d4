"""The chargers on the status page."""

from html import escape
from string import Template

from charging_agent.calls import OK
from charging_agent.chargers.status import CarAnswer, ChargersAnswer
from ev_service.units import utc_text


def chargers_panel(told: ChargersAnswer) -> str:
    """Write the part of the page that shows the chargers; everything from outside is text there."""
    rows = "".join(_row(car) for car in told.cars) or "<tr><td colspan='5'>no car is there</td></tr>"
    alarms = [f"{name} draws more than its limit" for name in told.overdrawing]
    alarms += [f"the meter of {name} says nothing" for name in told.without_meter]
    alarms += [f"the connection's meter does not confirm what {name} reports" for name in told.contradicted]
    alarms += [told.trouble] if told.trouble else []
    return _PANEL.substitute(
        room="" if told.room_kw is None else f" of {told.room_kw:.1f} kW",
        drawn=f"{told.drawn_kw:.1f}",
        rows=rows,
        alarms="".join(f"<p class='missing'>{escape(alarm)}</p>" for alarm in alarms),
        said=escape(_said(told)),
    )


def _row(car: CarAnswer) -> str:
    drawn = "" if car.power_kw is None else f"{car.power_kw:.1f} kW"
    state = car.state.value if car.is_connected else "not connected"
    return (
        f"<tr><th>{escape(car.charger_id)}/{car.evse_id}</th><td>{state}</td><td>{car.limit_a:g} A</td>"
        f"<td>{drawn}</td><td>{escape(car.limited_by or '')}</td></tr>"
    )


def _said(told: ChargersAnswer) -> str:
    age = "" if told.age_s is None else f", {told.age_s:g} s old"
    parts = [f"chargers {told.status.value}{age}"]
    parts += [f"commanding: {told.commanding}"] if told.commanding != OK else []
    if told.lease is not None:
        parts.append(f"{told.lease.commander} commands until {utc_text(told.lease.until.replace(microsecond=0))}")
    if told.limit_kw is not None:
        parts.append(f"building and cars together at most {told.limit_kw:g} kW")
    return ", ".join(parts)


_PANEL = Template(
    """<h2>Cars: $drawn kW$room</h2>
$alarms
<table><tr><th>car at</th><th>state</th><th>limit</th><th>draws</th><th>limited by</th></tr>$rows</table>
<p class="small">$said</p>"""
)
