"""The plain status page, for people on the operator's network."""

from html import escape
from string import Template

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from charging_agent.agent import Agent, Decided
from charging_agent.chargers.panel import chargers_panel
from charging_agent.chargers.status import chargers_status
from charging_agent.ledger.errors import LedgerUnavailable
from charging_agent.ledger.ledger import Ledger
from charging_agent.wire import answer, summary
from ev_service.clock import Clock
from ev_service.openapi import OPERATIONS_TAG
from ev_service.units import utc_text

_RECORDS_SHOWN = 8


def page_route(agent: Agent, ledger: Ledger, site_id: str, clock: Clock) -> APIRouter:
    """Make the page's route."""
    router = APIRouter(tags=[OPERATIONS_TAG])

    @router.get("/", operation_id="getStatusPage", summary="The last decision, for people", response_class=HTMLResponse)
    async def status_page() -> str:
        """The last decision, its readings and the cars; asks the gateway nothing."""
        latest = agent.latest
        return _PAGE.substitute(
            site=escape(site_id),
            now=utc_text(clock.now().replace(microsecond=0)),
            decision=_NOTHING_YET if latest is None else _decision(latest, site_id),
            chargers="" if agent.charging is None else chargers_panel(chargers_status(agent.charging)),
            records=await _records(ledger),
        )

    return router


async def _records(ledger: Ledger) -> str:
    try:
        recent = [summary(record) for record in await ledger.summaries(_RECORDS_SHOWN)]
    except LedgerUnavailable as error:
        return f"<p class='missing'>The ledger cannot be read: {escape(error.message)}</p>"
    rows = "".join(
        f"<tr><td>{one.sequence}</td><td>{utc_text(one.decided_at.replace(microsecond=0))}</td>"
        f"<td>{one.charging_power_kw:g} kW</td><td>{one.rule.value}</td>"
        f'<td><a href="/decisions/{one.decision_id}/explain">explain</a></td></tr>'
        for one in recent
    )
    damage = "" if ledger.damage is None else f"<p class='missing'>{escape(ledger.damage)}</p>"
    kept = "kept on disk" if ledger.is_kept else "kept in memory only: AGENT_STATE_DIR is not set"
    return damage + _RECORDS.substitute(rows=rows, kept=kept)


def _decision(decided: Decided, site_id: str) -> str:
    told = answer(decided, site_id)
    rows = "".join(
        f"<tr><th>{name}</th><td class={reading['status']}>{escape(str(reading.pop('status')))}</td>"
        f"<td>{escape(', '.join(f'{key} {value}' for key, value in reading.items()))}</td></tr>"
        for name, reading in told.readings.model_dump(mode="json", exclude_none=True).items()
    )
    return _DECISION.substitute(
        power=f"{told.charging_power_kw:g}",
        action=told.action.value,
        rule=told.rule.value,
        reason=escape(told.reason),
        at=utc_text(told.decided_at.replace(microsecond=0)),
        rows=rows,
        record=f"decision {told.decision_id}" if decided.is_recorded else "in no record",
    )


_NOTHING_YET = "<p>No decision yet.</p>"
_DECISION = Template(
    """<p class="power $action"><b>$power kW</b> <span>$action</span></p>
<p>$reason</p>
<table><tr><th>reading</th><th>status</th><th>values</th></tr>$rows</table>
<p class="small">rule $rule, decided at $at, $record</p>"""
)
_RECORDS = Template(
    """<h2>Signed records</h2>
<table><tr><th>record</th><th>decided at</th><th>power</th><th>rule</th><th></th></tr>$rows</table>
<p class="small">$kept</p>"""
)
_PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Charging at $site</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #1d2733 }
.power b { font-size: 3.5rem } .power span { font-size: 1.5rem; margin-left: 1rem }
.pause b { color: #b3261e } .slow b { color: #b26a00 } .normal b { color: #1565c0 } .fast b { color: #1b7f3b }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
td.stale { color: #b26a00 } td.missing { color: #b3261e } .small { color: #667; font-size: .85rem }
</style></head><body>
<h1>Charging at $site</h1>
$decision
$chargers
$records
<p class="small">$now · <a href="/optimize-charging">decide now</a> · <a href="/health">health</a> ·
<a href="/openapi.json">API</a> · <a href="/metrics">metrics</a></p>
</body></html>"""
)
