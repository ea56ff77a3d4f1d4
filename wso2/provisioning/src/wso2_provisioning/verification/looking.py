"""Puts the rows in their order: what stops something comes after what needs it."""

from collections.abc import Callable, Generator

from wso2_provisioning.verification.assertion_rows import AssertionRows
from wso2_provisioning.verification.echo import Echo
from wso2_provisioning.verification.evidence_rows import EvidenceRows
from wso2_provisioning.verification.import_rows import ImportRows
from wso2_provisioning.verification.leftovers import remove_leftovers
from wso2_provisioning.verification.limit_rows import LimitRows
from wso2_provisioning.verification.mcp_rows import McpRows
from wso2_provisioning.verification.refusal_rows import RefusalRows
from wso2_provisioning.verification.rows import Result, Row, Seen, look
from wso2_provisioning.verification.site import Site
from wso2_provisioning.verification.switch_rows import SwitchRows
from wso2_provisioning.verification.token_rows import TokenRows
from wso2_provisioning.verification.tool_rows import ToolRows
from wso2_provisioning.verification.user_rows import UserRows


def every_row(site: Site, *, echo: Echo | None, echo_url: str | None, metrics_log: str | None) -> list[Row]:
    """Every row, in order.

    Args:
        site: what is looked at.
        echo: a backend of our own, None without one.
        echo_url: where the gateway reaches it.
        metrics_log: where WSO2's metrics log is, None to look at none.
    """
    imports, tools = ImportRows(site), McpRows(site)
    return [
        *TokenRows(site).rows(),
        *RefusalRows(site).rows(),
        *LimitRows(site).rows(),
        *UserRows(site).rows(),
        *imports.rows(),
        *AssertionRows(site, imports, echo, echo_url).rows(),
        *SwitchRows(site).rows(),
        *tools.rows(),
        *ToolRows(site, echo, echo_url).rows(),
        *imports.last_rows(),
        *EvidenceRows(site, metrics_log, tools).rows(),
    ]


def look_at_all(site: Site, rows: list[Row], report: Callable[[str], None]) -> Generator[Result]:
    """Look at each row, and remove what was made for them, also when this is given up half-way.

    Args:
        site: what is looked at.
        rows: in order.
        report: told what could not be removed.
    """
    remove_leftovers(site, report)
    is_clean = False
    try:
        yield from map(look, rows)
        is_clean = remove_leftovers(site, report)
        left = Seen("nothing" if is_clean else "something")
        yield look(Row("what is left of all this", "administrator", "nothing", lambda: left))
    finally:
        if not is_clean:
            remove_leftovers(site, report)
