"""Ways to switch a control off and on again.

Where a control has a switch in the configuration, that is used; where it is code of the gateway, the row meets a
server that lets everything through.
"""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.attacks import kill_rows, limit_rows, mcp_rows, transport_rows
from tests.attacks.attacker_resources import DENY_PATH, Application, AttackerResources
from tests.attacks.permissive_servers import SwitchTarget

from ev_service.assertion import GatewayAssertion
from local_stack import stack as processes
from local_stack.environment import HOST
from wso2_provisioning.admin import Admin
from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.switch.subscriptions import build_application_target
from wso2_provisioning.users import Users
from wso2_terms.api_project import ApiScope
from wso2_terms.policies import Policy


@contextmanager
def remove_security(target: SwitchTarget) -> Generator[None]:
    """SolarAPI's operation needs no token."""
    with _api(target, "SolarAPI", {"auth_type": "None"}):
        yield


@contextmanager
def without_scopes(target: SwitchTarget, *apis: str) -> Generator[None]:
    """The operations of some APIs need no scope."""
    with ExitStack() as stack:
        for name in apis:
            stack.enter_context(_api(target, name, {"scopes": ()}))
        yield


@contextmanager
def unbound_scope(target: SwitchTarget) -> Generator[None]:
    """SolarAPI's scope is bound to no role."""
    project = target.run.stack.artifacts.find_api("SolarAPI")
    listed = tuple(
        ApiScope(shared=one.shared, scope=one.scope.model_copy(update={"bindings": ()})) for one in project.api.scopes
    )
    publisher = target.run.resources.publisher
    publisher.import_project(replace(project, api=project.api.model_copy(update={"scopes": listed})))
    try:
        yield
    finally:
        publisher.import_project(project)


@contextmanager
def allow_all_scopes(target: SwitchTarget) -> Generator[None]:
    """deployment.toml lets scopes be granted that nobody registered."""
    conf = target.folder / "conf"
    conf.mkdir(exist_ok=True)
    shipped = (processes.ARTIFACTS / "conf" / "deployment.toml").read_text(encoding="utf-8")
    switched = shipped.replace('"restrict.unassigned.scopes" = true', '"restrict.unassigned.scopes" = false')
    assert switched != shipped
    (conf / "deployment.toml").write_text(switched, encoding="utf-8")
    with patch.object(processes, "ARTIFACTS", target.folder):
        _restart_gateway(target)
    try:
        yield
    finally:
        _restart_gateway(target)


@contextmanager
def subscribe_stranger(target: SwitchTarget) -> Generator[None]:
    """The stranger subscribes after all."""
    run = target.run
    run.resources.subscribe(run.stranger, "SolarAPI")
    try:
        yield
    finally:
        run.resources.unsubscribe(run.stranger, "SolarAPI")


@contextmanager
def own_thief(target: SwitchTarget) -> Generator[None]:
    """Whoever knows a token may revoke it."""
    with patch.dict(target.run.__dict__, {"stranger": target.run.reader}):
        yield
    target.run.forget_tokens()


@contextmanager
def undone(target: SwitchTarget, act: str) -> Generator[None]:
    """What the administrator stops is let go again at once."""
    kept = getattr(AttackerResources, act)

    def act_in_vain(resources: AttackerResources, *given: Any, **named: Any) -> Any:
        result = kept(resources, *given, **named)
        _UNDO[act](resources, result, *given, **named)
        return result

    with patch.object(AttackerResources, act, act_in_vain):
        yield


def _undo_deny(resources: AttackerResources, condition_id: str, *_: object) -> None:
    resources.rest("PATCH", f"{DENY_PATH}y/{condition_id}", json={"conditionStatus": False})


def _undo_unsubscribe(resources: AttackerResources, _: object, application: Application, api: str) -> None:
    resources.subscribe(application, api)


def _undo_block(resources: AttackerResources, _: object, subscription: str, *_state: object) -> None:
    resources.unblock(subscription)


_UNDO: Mapping[str, Callable[..., None]] = {
    "deny": _undo_deny,
    "block": _undo_block,
    "unsubscribe": _undo_unsubscribe,
}


@contextmanager
def idle(target: SwitchTarget, act: str) -> Generator[None]:
    """An act of the administrator does nothing."""

    def do_nothing(*_given: object, **_named: object) -> None:
        pass

    with patch.object(AttackerResources, act, do_nothing):
        yield


def publish_server(target: SwitchTarget) -> AbstractContextManager[object]:
    """Blocking the MCP server does nothing."""
    return patch.object(target.run.resources.server, "block")


def approve_change(target: SwitchTarget) -> AbstractContextManager[object]:
    """Whatever is listed counts as approved."""
    return patch.object(mcp_rows.ToolAllowlist, "check")


@contextmanager
def tool_without_scope(target: SwitchTarget) -> Generator[None]:
    """SolarMCP's tool needs no scope."""
    resources = target.run.resources
    servers, server_id = resources.server.servers, resources.api_id("SolarMCP")
    live = servers.get(server_id)
    assert live is not None
    open_tools = [tool | {"scopes": []} for tool in live.body["operations"]]
    kept = live.revisions[-1].revision_id
    deployment: list[dict[str, object]] = [{"name": "Default", "vhost": "localhost", "displayOnDevportal": True}]
    servers.update(server_id, live.body | {"operations": open_tools})
    servers.deploy(server_id, servers.add_revision(server_id, "without scopes"), deployment)
    try:
        yield
    finally:
        servers.update(server_id, live.body)
        servers.deploy(server_id, kept, deployment)


@contextmanager
def quota_passes(target: SwitchTarget) -> Generator[None]:
    """The plan only notes that its quota is used up."""
    with _policy(target, "Energy10PerMin", lambda data: data | {"stop_on_quota_reach": False}):
        yield


@contextmanager
def wider(target: SwitchTarget, name: str) -> Generator[None]:
    """A policy allows ten times as much."""

    def widened(data: dict[str, Any]) -> dict[str, Any]:
        limit = data["default_limit"]
        count = limit.request_count
        more = count.model_copy(update={"request_count": count.request_count * 10})
        return data | {"default_limit": limit.model_copy(update={"request_count": more})}

    with _policy(target, name, widened):
        yield


def wider_application(target: SwitchTarget) -> AbstractContextManager[object]:
    """The application's own limit is five times as wide."""
    return patch.object(limit_rows, "APPLICATION_POLICY", "50PerMin")


@contextmanager
def open_service(target: SwitchTarget, service: str) -> Generator[None]:
    """A service is started by hand, without the gateway's certificate."""
    running = target.running
    running.processes.end(service)
    port, folder = getattr(running.plan.ports, service), processes.ROOT / "services" / service
    command = [sys.executable, "-m", "uvicorn", "main:app", "--host", HOST, "--port", str(port)]
    running.processes.start(service, command, {}, folder)
    url = f"{running.plan.service_url(service)}/livez"
    running.processes.wait_until_ready(service, lambda: transport_rows.find_error(url), 20.0)
    try:
        yield
    finally:
        running.processes.end(service)
        processes.start_service(running.plan, running.processes, service)


def certificates_read_once(_: SwitchTarget) -> AbstractContextManager[object]:
    """A service goes on with the certificates that it was started with."""
    return patch.object(GatewayAssertion, "_renew_keys")


@contextmanager
def dead_service(target: SwitchTarget) -> Generator[None]:
    """The solar service is down."""
    running = target.running
    running.processes.end("solar")
    try:
        yield
    finally:
        processes.start_service(running.plan, running.processes, "solar")


@contextmanager
def reveal_secret(target: SwitchTarget) -> Generator[None]:
    """An error body holds a secret."""
    traffic = target.run.traffic
    secret = traffic.keep_secret("a planted secret", "planted-and-told")
    traffic.record("an error", f"{{'error': '{secret}'}}".encode())
    try:
        yield
    finally:
        traffic.forget("an error")


@contextmanager
def log_secret(target: SwitchTarget) -> Generator[None]:
    """A log holds a token."""
    token = target.run.good_token
    log = target.running.plan.logs / "planted.log"
    log.write_text(f"GET /solar/1.0.0/solar-status {token}\n", encoding="utf-8")
    try:
        yield
    finally:
        log.unlink()


@contextmanager
def lasting_user(target: SwitchTarget) -> Generator[None]:
    """The attacker's user cannot be deleted."""
    refused = RequestRefusedError("kept", status=500)
    with patch.object(Users, "delete_user", side_effect=refused):
        yield


@contextmanager
def keep_role(target: SwitchTarget) -> Generator[None]:
    """The owners of applications that can be killed keep the role of the Developer Portal."""
    settings = target.run.stack.settings
    users = Users(target.run.http, settings.wso2_management_url, target.run.resources.admin)
    try:
        for spec in kill_rows.KILLED:
            users.grant_roles(spec.owner, {SUBSCRIBER_ROLE})
        yield
    finally:
        for spec in kill_rows.KILLED:
            users.revoke_role(spec.owner, SUBSCRIBER_ROLE)


def kill_by_name(_: SwitchTarget) -> AbstractContextManager[object]:
    """A kill denies the application under its name, and not its owner."""
    return patch.object(kill_rows, "build_owner_target", build_application_target)


@contextmanager
def _api(target: SwitchTarget, name: str, changes: dict[str, Any]) -> Generator[None]:
    project = target.run.stack.artifacts.find_api(name)
    operations = tuple(one.model_copy(update=changes) for one in project.api.operations)
    publisher = target.run.resources.publisher
    publisher.import_project(replace(project, api=project.api.model_copy(update={"operations": operations})))
    try:
        yield
    finally:
        publisher.import_project(project)


@contextmanager
def _policy(target: SwitchTarget, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Generator[None]:
    run = target.run
    (policy,) = (one for one in run.stack.artifacts.policies if one.name == name)
    admin = Admin(run.http, run.stack.settings.wso2_management_url, run.resources.admin)
    fields = {name: getattr(policy.data, name) for name in type(policy.data).model_fields}
    changed = {name: value for name, value in change(fields).items() if value is not fields[name]}
    admin.import_policy(Policy(kind=policy.kind, data=policy.data.model_copy(update=changed)))
    try:
        yield
    finally:
        admin.import_policy(policy)


def _restart_gateway(target: SwitchTarget) -> None:
    target.running.processes.end("gateway")
    processes.start_gateway(target.running.plan, target.running.processes)
