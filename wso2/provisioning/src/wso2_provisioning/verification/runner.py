"""All rows in their order: a row that stops something follows those that need it."""

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
    context: VerificationContext, *, echo: EchoBackend | None, echo_url: str | None, metrics_log: str | None
) -> list[Row]:
    """Return all rows in their order.

    Args:
        context: of the verified WSO2.
        echo: the echo backend, None without one.
        echo_url: URL at which the gateway reaches it.
        metrics_log: of WSO2; None skips its rows.
    """
    imports, tools = ImportRows(context), McpRows(context)
    return [
        *TokenRows(context).build_rows(),
        *RefusalRows(context).build_rows(),
        *LimitRows(context).build_rows(),
        *UserRows(context).build_rows(),
        *imports.build_rows(),
        *AssertionRows(context, imports, echo, echo_url).build_rows(),
        *SwitchRows(context).build_rows(),
        *tools.build_rows(),
        *ToolRows(context, echo, echo_url).build_rows(),
        *imports.build_last_rows(),
        *EvidenceRows(context, metrics_log, tools).build_rows(),
    ]


def run_rows(context: VerificationContext, rows: list[Row], report: Callable[[str], None]) -> Generator[RowResult]:
    """Observe each row, and remove what was created for them, also if the run is interrupted.

    Args:
        context: of the verified WSO2.
        rows: in their order.
        report: called with what could not be removed.
    """
    remove_leftovers(context, report)
    is_clean = False
    try:
        yield from map(check_row, rows)
        is_clean = remove_leftovers(context, report)
        left = Observation("nothing" if is_clean else "something")
        yield check_row(Row("what is left of all this", "administrator", "nothing", lambda: left))
    finally:
        if not is_clean:
            remove_leftovers(context, report)
