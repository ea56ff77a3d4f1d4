"""The plain status page, for people on the operator's network."""

from base64 import b64encode
from datetime import datetime
from hashlib import sha256
from html import escape
from string import Template
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from charging_agent.agent import Agent, DecisionResult
from charging_agent.ledger.errors import LedgerUnavailableError
from charging_agent.ledger.ledger import Ledger
from charging_agent.web.charger_panel import LocalText, compute_allowance, render_chargers_panel, render_headline
from charging_agent.web.charger_schemas import build_chargers_answer
from charging_agent.web.plan_panel import render_plan_panel
from charging_agent.web.plan_schemas import build_plan_answer
from charging_agent.web.schemas import build_decision_answer, build_decision_summary
from ev_service.clock import Clock
from ev_service.middleware import CONTENT_SECURITY_POLICY
from ev_service.openapi import OPERATIONS_TAG
from ev_service.settings import SiteSettings

_RECORDS_SHOWN = 8


def create_page_route(agent: Agent, ledger: Ledger, site: SiteSettings, clock: Clock) -> APIRouter:
    """Make the page's route.

    Args:
        agent: whose decision and cars are shown.
        ledger: the latest records are listed.
        site: its name, and the time zone in which times are written.
        clock: the run's clock.
    """
    router = APIRouter(tags=[OPERATIONS_TAG])
    zone = ZoneInfo(site.timezone)

    def local(at: datetime) -> str:
        return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")

    @router.get("/", operation_id="getStatusPage", summary="The last decision, for people", response_class=HTMLResponse)
    async def status_page() -> HTMLResponse:
        """What cars may draw and why, the last decision, its readings and the cars; asks the gateway nothing."""
        now, latest, charging = clock.now(), agent.latest, agent.charging
        answer = None if charging is None else build_chargers_answer(charging)
        newest = None if charging is None else charging.latest_reading
        first = ""
        if charging is not None and answer is not None and newest is not None:
            first = render_headline(compute_allowance(newest, charging.limits_in_force(newest), answer, now, local))
        text = _PAGE.substitute(
            site=escape(site.id),
            now=local(now),
            headline=first,
            decision=_NOTHING_YET
            if latest is None
            else _render_decision(latest, site.id, local, is_headline=not first),
            chargers="" if answer is None else render_chargers_panel(answer, local),
            plan=""
            if agent.latest_round is None
            else render_plan_panel(build_plan_answer(agent.latest_round, site.id), local),
            records=await _render_records(ledger, local),
            style=_STYLE,
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})

    return router


async def _render_records(ledger: Ledger, local: LocalText) -> str:
    try:
        recent = [build_decision_summary(record) for record in await ledger.summaries(_RECORDS_SHOWN)]
    except LedgerUnavailableError as error:
        return f"<p class='missing'>The ledger cannot be read: {escape(error.message)}</p>"
    rows = "".join(
        f"<tr><td>{one.sequence}</td><td>{local(one.decided_at)}</td>"
        f"<td>{one.charging_power_kw:g} kW</td><td>{one.rule.value}</td>"
        f'<td><a href="/decisions/{one.decision_id}/explain">explain</a></td></tr>'
        for one in recent
    )
    damage = "" if ledger.damage is None else f"<p class='missing'>{escape(ledger.damage)}</p>"
    kept = "kept on disk" if ledger.is_persistent else "kept in memory only: AGENT_STATE_DIR is not set"
    return damage + _RECORDS.substitute(rows=rows, kept=kept)


def _render_decision(decided: DecisionResult, site_id: str, local: LocalText, *, is_headline: bool) -> str:
    answer = build_decision_answer(decided, site_id)
    rows = "".join(
        f"<tr><th>{name}</th><td class={reading['status']}>{escape(str(reading.pop('status')))}</td>"
        f"<td>{escape(', '.join(f'{key} {value}' for key, value in reading.items()))}</td></tr>"
        for name, reading in answer.readings.model_dump(mode="json", exclude_none=True).items()
    )
    return (_DECISION if is_headline else _DECISION_BELOW).substitute(
        power=f"{answer.charging_power_kw:g}",
        action=answer.action.value,
        rule=answer.rule.value,
        reason=escape(answer.reason),
        at=local(answer.decided_at),
        rows=rows,
        record=f"decision {answer.decision_id}" if decided.is_recorded else "in no record",
    )


_NOTHING_YET = "<p>No decision yet.</p>"
_READINGS = """<table><tr><th>reading</th><th>status</th><th>values</th></tr>$rows</table>
<p class="small">rule $rule, decided at $at, $record</p>"""
_DECISION = Template(
    f"""<p class="power $action"><b>$power kW</b> <span>$action</span></p>
<p>$reason</p>
{_READINGS}"""
)
_DECISION_BELOW = Template(
    f"""<h2>The agent's decision: $power kW, $action, for each charging point</h2>
<p>$reason</p>
{_READINGS}"""
)
_RECORDS = Template(
    """<h2>Signed records</h2>
<table><tr><th>record</th><th>decided at</th><th>power</th><th>rule</th><th></th></tr>$rows</table>
<p class="small">$kept</p>"""
)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #1d2733 }
.power b { font-size: 3.5rem } .power span { font-size: 1.5rem; margin-left: 1rem }
.pause b { color: #b3261e } .slow b { color: #b26a00 } .normal b { color: #1565c0 } .fast b { color: #1b7f3b }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
.stale { color: #b26a00 } .missing { color: #b3261e } .why { font-size: 1.15rem }
.small { color: #667; font-size: .85rem }
"""
# The page loads nothing and runs nothing; of styles only this one counts.
_POLICY = (
    f"{CONTENT_SECURITY_POLICY}; img-src data:; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)
_PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Charging at $site</title>
<link rel="icon" href="data:,">
<style>$style</style></head><body>
<h1>Charging at $site</h1>
$headline
$chargers
$plan
$decision
$records
<p class="small">$now · <a href="/optimize-charging">decide now</a> · <a href="/health">health</a> ·
<a href="/openapi.json">API</a> · <a href="/metrics">metrics</a></p>
</body></html>"""
)
