"""Removes everything that the verification created, also in an interrupted earlier run.

Deny policies first: none of them may remain if a later removal fails.
"""

from collections.abc import Callable

from ev_service.errors import EvError
from wso2_provisioning import admin, publisher
from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.verification import own_artifacts as own
from wso2_provisioning.verification import own_tools, tool_rows
from wso2_provisioning.verification.context import OWNER, PREFIX, VerificationContext
from wso2_provisioning.verification.switch_rows import DENY_PATH, list_leftover_deny_policies
from wso2_provisioning.verification.user_rows import UserRows
from wso2_terms.policies import PolicyKind

APPLICATIONS = (
    *("Tokens", "Access", "Stranger", "Quota", "Switches", "Imports", "Tools", "ToolsStranger"),
    *tool_rows.APPLICATIONS,
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
    is_clean = True
    for what, remove in removals:
        try:
            remove()
        except EvError as error:
            report(f"{what} not removed: {error.message}")
            is_clean = False
    return is_clean


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
