"""Admin REST API v4: throttling policies.

Source: WSO2 API Manager 4.6, admin-api.yaml and ThrottlingApiServiceImpl.
"""

import json
import uuid
from typing import cast

from aiohttp import web

from local_gateway.management.rest import (
    Caller,
    ManagementContext,
    RestError,
    RouteTable,
    read_flag,
    read_json,
)
from local_gateway.state import POLICY_TYPES, Document, PolicyRecord
from wso2_terms.documents import ArtifactError
from wso2_terms.policies import PolicyKind, ThrottlePolicy, read_policy


def find_policy(context: ManagementContext, kind: PolicyKind, name: str) -> PolicyRecord | None:
    """Return the policy of this kind and name, None if there is none."""
    return next((p for p in list_policies(context, kind) if p.name == name), None)


def list_policies(context: ManagementContext, kind: PolicyKind) -> list[PolicyRecord]:
    """Return all policies of a kind."""
    return [policy for policy in context.state.policies.values() if policy.kind == kind.value]


def save_policy(context: ManagementContext, kind: PolicyKind, policy: ThrottlePolicy) -> PolicyRecord:
    """Add a policy, or replace the policy of its kind and name."""
    data = policy.model_dump(mode="json", by_alias=True, exclude_unset=True)
    record = find_policy(context, kind, policy.policy_name)
    if record is None:
        record = PolicyRecord(policy_id=str(uuid.uuid4()), kind=kind.value, data=data)
        context.state.policies[record.policy_id] = record
    record.data = data
    context.store.save()
    return record


def build_policy_info(policy: PolicyRecord) -> Document:
    """Return a policy as lists contain it: an advanced policy without its conditions."""
    return {name: value for name, value in build_policy_body(policy).items() if name != "conditionalGroups"}


def build_policy_body(policy: PolicyRecord) -> Document:
    """Return a policy as the REST API writes it."""
    kind = PolicyKind(policy.kind)
    data: Document = {"policyId": policy.policy_id, **policy.data, "isDeployed": True, "type": POLICY_TYPES[kind]}
    if kind is PolicyKind.SUBSCRIPTION:
        data = {"stopOnQuotaReach": False, "billingPlan": "FREE", "rateLimitCount": 0, "rateLimitTimeUnit": ""} | data
    return data


BASE = "/api/am/admin/v4"

_VIEW = ("apim:admin", "apim:tier_view", "apim:admin_tier_view")
_MANAGE = ("apim:admin", "apim:tier_manage", "apim:admin_tier_manage")
_IMPORT = ("apim:admin", "apim:tier_manage", "apim:policies_import_export")
_ANSWER_ONLY = ("policyId", "isDeployed", "type", "subscriberCount")


class ThrottlingPoliciesApi:
    """Handlers of the API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, f"{BASE}/throttling/policies")
        routes.add("POST", "/import", self.import_policy, _IMPORT)
        for kind in PolicyKind:
            PolicyKindApi(self._context, kind).add_to(routes)
        return routes.definitions

    async def import_policy(self, request: web.Request, caller: Caller) -> web.Response:
        posted = await request.post()
        upload = posted.get("file")
        if not isinstance(upload, web.FileField) or not upload.filename.endswith((".yaml", ".yml", ".json")):
            raise RestError(400, "The multipart field 'file' holds a file that ends in .yaml, .yml or .json")
        try:
            policy = read_policy(upload.file.read().decode(), upload.filename)
        except (ArtifactError, UnicodeDecodeError) as error:
            raise RestError.general(f"Error while importing: {error}") from error
        label = f"{policy.kind.path_segment.capitalize()} Throttling Policy : {policy.name}"
        existing = find_policy(self._context, policy.kind, policy.name)
        if existing is not None and not read_flag(request, "overwrite", default=False):
            raise _duplicate_policy_error(policy.kind, policy.name)
        save_policy(self._context, policy.kind, policy.data)
        if existing is not None:
            return web.json_response(f"Successfully updated {label}")
        return web.json_response(f"Successfully imported {label}", status=201)


class PolicyKindApi:
    """Handlers for the policies of one kind."""

    def __init__(self, context: ManagementContext, kind: PolicyKind) -> None:
        self._context = context
        self._kind = kind

    def add_to(self, routes: RouteTable) -> None:
        """Add the operations to the routes of the API."""
        path = f"/{self._kind.path_segment}"
        routes.add("GET", path, self.list_policies, _VIEW)
        routes.add("POST", path, self.add_policy, _MANAGE)
        routes.add("GET", f"{path}/{{policy_id}}", self.get_policy, _VIEW)
        routes.add("PUT", f"{path}/{{policy_id}}", self.change_policy, _MANAGE)
        routes.add("DELETE", f"{path}/{{policy_id}}", self.delete_policy, _MANAGE)

    async def list_policies(self, request: web.Request, caller: Caller) -> web.Response:
        policies = [build_policy_info(policy) for policy in list_policies(self._context, self._kind)]
        return web.json_response({"count": len(policies), "list": policies})

    async def add_policy(self, request: web.Request, caller: Caller) -> web.Response:
        policy = await _read_policy(request, self._kind)
        if find_policy(self._context, self._kind, policy.policy_name) is not None:
            raise _duplicate_policy_error(self._kind, policy.policy_name)
        return web.json_response(build_policy_body(save_policy(self._context, self._kind, policy)), status=201)

    async def get_policy(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(build_policy_body(self._find_requested(request)))

    async def change_policy(self, request: web.Request, caller: Caller) -> web.Response:
        record, policy = self._find_requested(request), await _read_policy(request, self._kind)
        if policy.policy_name != record.name:
            raise RestError(400, "A policy keeps its name")
        return web.json_response(build_policy_body(save_policy(self._context, self._kind, policy)))

    async def delete_policy(self, request: web.Request, caller: Caller) -> web.Response:
        record = self._find_requested(request)
        if record.name in _list_policies_in_use(self._context):
            raise RestError.conflict(f"Policy {record.name} is attached and cannot be deleted")
        del self._context.state.policies[record.policy_id]
        self._context.store.save()
        return web.Response()

    def _find_requested(self, request: web.Request) -> PolicyRecord:
        policy_id = request.match_info["policy_id"]
        policy = self._context.state.policies.get(policy_id)
        if policy is None or policy.kind != self._kind.value:
            raise RestError.not_found("Throttle Policy", policy_id)
        return policy


def _list_policies_in_use(context: ManagementContext) -> set[str | None]:
    """Return the names of all policies that a product, application or subscription uses."""
    state = context.state
    names: set[str | None] = {subscription.throttling_policy for subscription in state.subscriptions.values()}
    names |= {application.throttling_policy for application in state.applications.values()}
    for product in state.products():
        # WSO2 names the field of the product's policy differently for an API and for an MCP server.
        names |= {
            product.data.get("apiThrottlingPolicy"),
            product.data.get("throttlingPolicy"),
            *product.data["policies"],
        }
        names |= {operation.get("throttlingPolicy") for operation in product.data["operations"]}
    return names


async def _read_policy(request: web.Request, kind: PolicyKind) -> ThrottlePolicy:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise RestError(400, "The body is not a policy")
    sent = cast("dict[str, object]", body)
    data = {name: value for name, value in sent.items() if name not in _ANSWER_ONLY}
    envelope = {"type": "throttling policy", "subtype": kind.value, "version": "v4.6.0", "data": data}
    try:
        # The parser reads import files; JSON is a subset of YAML.
        return read_policy(json.dumps(envelope)).data
    except ArtifactError as error:
        raise RestError(400, str(error)) from error


def _duplicate_policy_error(kind: PolicyKind, name: str) -> RestError:
    return RestError.conflict(f"{kind.path_segment.capitalize()} Policy with name {name} already exists")
