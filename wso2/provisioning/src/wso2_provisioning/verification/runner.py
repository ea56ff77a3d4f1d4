"""All rows in their order: a row that stops something follows those that need it.

Everything that they created is removed, also after an interrupted run; deny policies first, so that none of them
remains if a later removal fails.
"""

from collections.abc import Callable, Generator

from wso2_provisioning import admin, publisher
from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.verification import own_artifacts as own
from wso2_provisioning.verification import own_tools
from wso2_provisioning.verification.assertion_rows import AssertionRows, ImportRows
from wso2_provisioning.verification.context import OWNER, PREFIX, VerificationContext
from wso2_provisioning.verification.echo import EchoBackend
from wso2_provisioning.verification.evidence_rows import EvidenceRows
from wso2_provisioning.verification.mcp_rows import TOOL_APPLICATIONS, McpRows, ToolRows
from wso2_provisioning.verification.refusal_rows import LimitRows, RefusalRows
from wso2_provisioning.verification.rows import Observation, Row, RowResult, check_row, remove_each
from wso2_provisioning.verification.switch_rows import DENY_PATH, SwitchRows, list_leftover_deny_policies
from wso2_provisioning.verification.token_rows import TokenRows, UserRows
from wso2_terms.policies import PolicyKind

APPLICATIONS = (
    *("Tokens", "Access", "Stranger", "Quota", "Switches", "Imports", "Tools", "ToolsStranger"),
    *TOOL_APPLICATIONS,
)


def remove_leftovers(context: VerificationContext, report: Callable[[str], None]) -> bool:
    """Remove everything whose name starts with the prefix.

    Args:
        context: of the verified WSO2.
        report: called with what could not be removed, and why.

    Returns:
        Whether everything is removed.
    """
    removals: list[tuple[str, Callable[[], None]]] = [
        ("deny policies", lambda: _remove_deny_policies(context)),
        *(
            (f"application {PREFIX}{name}", lambda name=name: _remove_application(context, name))
            for name in APPLICATIONS
        ),
        # Before its backend API, and both before the policies that they refer to.
        (f"MCP server {own_tools.SERVER_NAME}", lambda: _remove_server(context)),
        (f"API {own_tools.API_NAME}", lambda: _remove_api(context, own_tools.API_NAME, context.own_tools_api_id)),
        (f"API {own.API_NAME}", lambda: _remove_api(context, own.API_NAME, context.own_api_id)),
        (f"plan {own.PLAN}", lambda: _remove_policy(context, PolicyKind.SUBSCRIPTION, own.PLAN)),
        (f"policy {own_tools.LIMIT}", lambda: _remove_policy(context, PolicyKind.ADVANCED, own_tools.LIMIT)),
        ("role", UserRows(context).remove),
        (f"user {OWNER}", lambda: _remove_owner(context)),
    ]
    return remove_each(removals, report)


def _remove_deny_policies(context: VerificationContext) -> None:
    for found in list_leftover_deny_policies(context):
        _delete(context, f"{DENY_PATH}y/{found}")


def _remove_application(context: VerificationContext, name: str) -> None:
    # This removes its keys and subscriptions as well, also blocked ones.
    for application in context.admin.list_applications(OWNER):
        if application.name == PREFIX + name:
            context.admin.delete_application(application.application_id)


def _remove_owner(context: VerificationContext) -> None:
    if context.wso2.users.user_exists(OWNER):
        context.wso2.users.delete_user(OWNER)


def _remove_server(context: VerificationContext) -> None:
    server_id = context.own_server_id
    if server_id is None:
        found = context.mcp_servers.find(own_tools.SERVER_NAME, own_tools.VERSION)
        server_id = None if found is None else found.server_id
    if server_id is not None:
        _delete(context, f"{publisher.BASE_PATH}/mcp-servers/{server_id}")


def _remove_api(context: VerificationContext, name: str, api_id: str | None) -> None:
    if api_id is None:
        found = context.publisher.find(name, own.VERSION)
        api_id = None if found is None else found.api_id
    if api_id is not None:
        _delete(context, f"{publisher.BASE_PATH}/apis/{api_id}")


def _remove_policy(context: VerificationContext, kind: PolicyKind, name: str) -> None:
    found = context.wso2.admin.list_policies(kind).get(name)
    if found is not None:
        _delete(context, f"{admin.BASE_PATH}/throttling/policies/{kind.path_segment}/{found['policyId']}")


def _delete(context: VerificationContext, path: str) -> None:
    answer = context.call_admin("DELETE", path)
    if answer.status_code not in (200, 202, 204, 404):
        raise RequestRefusedError(f"DELETE {path} was refused with {answer.status_code}", status=answer.status_code)


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
