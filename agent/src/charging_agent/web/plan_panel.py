"""The charging plan on the status page."""

from html import escape
from string import Template

from charging_agent.web.charger_panel import LocalText
from charging_agent.web.plan_schemas import CarPlanAnswer, PlanAnswer


def render_plan_panel(plan: PlanAnswer, local: LocalText) -> str:
    """Render what each car gets next and why; nothing where there is no plan."""
    if plan.ends_at is None:
        return ""
    basis = "".join(f"<li>{escape(sentence)}</li>" for sentence in plan.basis)
    rows = "".join(_render_car(car, plan, local) for car in plan.cars)
    return _PANEL.substitute(
        at=local(plan.decided_at),
        rules=f"{plan.rule_ceiling_kw:g}",
        peak=f"{plan.peak_kw:.1f}",
        rows=rows,
        basis=basis,
    )


def _render_car(car: CarPlanAnswer, plan: PlanAnswer, local: LocalText) -> str:
    following = (
        "no change" if len(car.powers) < 2 else f"{car.powers[1].power_kw:g} kW, {local(car.powers[1].starts_at)}"
    )
    leaves = "not known" if car.departure is None else local(car.departure)
    cost = "" if car.cost is None else f"{car.cost:.2f} {escape(plan.currency or '')}"
    return (
        f"<tr><td>{escape(car.charger_id)}/{car.evse_id}</td><td>{car.ceiling_kw:.1f} kW</td><td>{following}</td>"
        f"<td>{leaves}</td><td>{car.energy_kwh:.1f} kWh</td><td>{cost}</td></tr>"
        f"<tr><td></td><td colspan='5' class='small'>{escape(car.explanation)}</td></tr>"
    )


_PANEL = Template(
    """<h2>Plan</h2>
<table><tr><th>EVSE</th><th>now up to</th><th>next</th><th>leaves</th><th>energy</th><th>cost</th></tr>$rows</table>
<p class="small">planned at $at; highest expected import $peak kW; by the rules: $rules kW for each charging point</p>
<ul class="small">$basis</ul>"""
)
