"""Puts the rows in their order: what stops something comes after what needs it."""

from collections.abc import Callable, Generator

from wso2_provisioning.verification.assertion_rows import AssertionRows
from wso2_provisioning.verification.cleanup import remove_leftovers
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.echo import EchoBackend
from wso2_provisioning.verification.evidence_rows import EvidenceRows
from wso2_provisioning.verification.import_rows import ImportRows
from wso2_provisioning.verification.limit_rows import LimitRows
from wso2_provisioning.verification.mcp_rows import McpRows
from wso2_provisioning.verification.refusal_rows import RefusalRows
from wso2_provisioning.verification.rows import Observation, Row, RowResult, check_row
from wso2_provisioning.verification.switch_rows import SwitchRows
from wso2_provisioning.verification.token_rows import TokenRows
from wso2_provisioning.verification.tool_rows import ToolRows
from wso2_provisioning.verification.user_rows import UserRows


def build_all_rows(
    site: VerificationContext, *, echo: EchoBackend | None, echo_url: str | None, metrics_log: str | None
) -> list[Row]:
    """Every row, in order.

    Args:
        site: what is looked at.
        echo: a backend of our own, None without one.
        echo_url: where the gateway reaches it.
        metrics_log: where WSO2's metrics log is, None to look at none.
    """
    imports, tools = ImportRows(site), McpRows(site)
    return [
        *TokenRows(site).build_rows(),
        *RefusalRows(site).build_rows(),
        *LimitRows(site).build_rows(),
        *UserRows(site).build_rows(),
        *imports.build_rows(),
        *AssertionRows(site, imports, echo, echo_url).build_rows(),
        *SwitchRows(site).build_rows(),
        *tools.build_rows(),
        *ToolRows(site, echo, echo_url).build_rows(),
        *imports.build_last_rows(),
        *EvidenceRows(site, metrics_log, tools).build_rows(),
    ]


def run_rows(site: VerificationContext, rows: list[Row], report: Callable[[str], None]) -> Generator[RowResult]:
    """Look at each row, and remove what was made for them, also when this is given up half-way.

    Args:
        site: what is looked at.
        rows: in order.
        report: told what could not be removed.
    """
    remove_leftovers(site, report)
    is_clean = False
    try:
        yield from map(check_row, rows)
        is_clean = remove_leftovers(site, report)
        left = Observation("nothing" if is_clean else "something")
        yield check_row(Row("what is left of all this", "administrator", "nothing", lambda: left))
    finally:
        if not is_clean:
            remove_leftovers(site, report)
