"""Removes everything that looking made, also what an earlier run left that was cut off.

Deny policies first: whatever else fails, none of them may stay.
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


def remove_leftovers(site: VerificationContext, report: Callable[[str], None]) -> bool:
    """Remove everything that bears the prefix.

    Args:
        site: where.
        report: told what could not be removed, and why.

    Returns:
        Whether nothing is left.
    """
    removals: list[tuple[str, Callable[[], None]]] = [
        ("deny policies", lambda: _remove_deny_policies(site)),
        *((f"application {PREFIX}{name}", lambda name=name: _remove_application(site, name)) for name in APPLICATIONS),
        # Before the API behind it, and both before the policies that they name.
        (f"MCP server {own_tools.SERVER_NAME}", lambda: _remove_server(site)),
        (f"API {own_tools.API_NAME}", lambda: _remove_api(site, own_tools.API_NAME, site.own_tools_api_id)),
        (f"API {own.API_NAME}", lambda: _remove_api(site, own.API_NAME, site.own_api_id)),
        (f"plan {own.PLAN}", lambda: _remove_policy(site, PolicyKind.SUBSCRIPTION, own.PLAN)),
        (f"policy {own_tools.LIMIT}", lambda: _remove_policy(site, PolicyKind.ADVANCED, own_tools.LIMIT)),
        ("role", UserRows(site).remove),
        (f"user {OWNER}", lambda: _remove_owner(site)),
    ]
    is_clean = True
    for what, remove in removals:
        try:
            remove()
        except EvError as error:
            report(f"{what} not removed: {error.message}")
            is_clean = False
    return is_clean


def _remove_deny_policies(site: VerificationContext) -> None:
    for found in list_leftover_deny_policies(site):
        _delete(site, f"{DENY_PATH}y/{found}")


def _remove_application(site: VerificationContext, name: str) -> None:
    # With it go its keys and its subscriptions, a blocked one too.
    for application in site.admin.list_applications(OWNER):
        if application.name == PREFIX + name:
            site.admin.delete_application(application.application_id)


def _remove_owner(site: VerificationContext) -> None:
    if site.wso2.users.user_exists(OWNER):
        site.wso2.users.delete_user(OWNER)


def _remove_server(site: VerificationContext) -> None:
    server_id = site.own_server_id
    if server_id is None:
        found = site.mcp_servers.find(own_tools.SERVER_NAME, own_tools.VERSION)
        server_id = None if found is None else found.server_id
    if server_id is not None:
        _delete(site, f"{publisher.BASE_PATH}/mcp-servers/{server_id}")


def _remove_api(site: VerificationContext, name: str, api_id: str | None) -> None:
    if api_id is None:
        found = site.publisher.find(name, own.VERSION)
        api_id = None if found is None else found.api_id
    if api_id is not None:
        _delete(site, f"{publisher.BASE_PATH}/apis/{api_id}")


def _remove_policy(site: VerificationContext, kind: PolicyKind, name: str) -> None:
    found = site.wso2.admin.list_policies(kind).get(name)
    if found is not None:
        _delete(site, f"{admin.BASE_PATH}/throttling/policies/{kind.path_segment}/{found['policyId']}")


def _delete(site: VerificationContext, path: str) -> None:
    answer = site.call_admin("DELETE", path)
    if answer.status_code not in (200, 202, 204, 404):
        raise RequestRefusedError(f"DELETE {path} was refused with {answer.status_code}", status=answer.status_code)
