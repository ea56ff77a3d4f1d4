"""Admin REST API v4: deny policies and owners of applications.

Source: WSO2 API Manager 4.6, admin-api.yaml, ThrottlingApiServiceImpl, ApplicationsApiServiceImpl.
"""

import ipaddress
import uuid
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from local_gateway.management.devportal import delete_application, list_application_clients
from local_gateway.management.rest import (
    Caller,
    ManagementContext,
    Payload,
    RestError,
    RouteTable,
    paginate,
    parse_value,
    read_payload,
)
from local_gateway.management.throttling import BASE
from local_gateway.state import Application, DenyPolicy, Document

_DENY_VIEW = ("apim:admin", "apim:bl_view")
_DENY = ("apim:admin", "apim:bl_manage")
_OWNERS = ("apim:admin", "apim:app_owner_change")
_APPLICATIONS = (*_OWNERS, "apim:app_import_export")
_REMOVAL = ("apim:admin", "apim:app_import_export")


class _ConditionPayload(Payload):
    condition_type: Literal["API", "APPLICATION", "USER", "IP", "IPRANGE"]
    condition_value: str | dict[str, Any]
    condition_status: bool = True


class _StatusPayload(Payload):
    condition_status: bool


class _IpConditionPayload(Payload):
    fixed_ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    invert: bool = False


class _IpRangeConditionPayload(Payload):
    starting_ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    ending_ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    invert: bool = Field(default=False)


class AdminApi:
    """Handlers of the API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/throttling/deny-policies", self.list_conditions, _DENY_VIEW)
        routes.add("POST", "/throttling/deny-policies", self.add_condition, _DENY)
        routes.add("GET", "/throttling/deny-policy/{condition_id}", self.get_condition, _DENY_VIEW)
        routes.add("PATCH", "/throttling/deny-policy/{condition_id}", self.change_condition, _DENY)
        routes.add("DELETE", "/throttling/deny-policy/{condition_id}", self.delete_condition, _DENY)
        routes.add("GET", "/applications", self.list_applications, _APPLICATIONS)
        routes.add("DELETE", "/applications/{application_id}", self.delete_application, _REMOVAL)
        routes.add("POST", "/applications/{application_id}/change-owner", self.change_owner, _OWNERS)
        return routes.definitions

    async def list_conditions(self, request: web.Request, caller: Caller) -> web.Response:
        listed = [_build_condition_body(policy) for policy in self._context.state.deny_policies.values()]
        return web.json_response({"count": len(listed), "list": listed})

    async def add_condition(self, request: web.Request, caller: Caller) -> web.Response:
        payload = await read_payload(request, _ConditionPayload)
        value = self._parse_condition_value(payload)
        policies = self._context.state.deny_policies
        if any(p.condition_type == payload.condition_type and p.condition_value == value for p in policies.values()):
            raise RestError.conflict(
                f"A black list item with type: {payload.condition_type}, value: {value} already exists"
            )
        policy = DenyPolicy(
            condition_id=str(uuid.uuid4()),
            condition_type=payload.condition_type,
            condition_value=value,
            is_enabled=payload.condition_status,
        )
        policies[policy.condition_id] = policy
        self._context.store.save()
        return web.json_response(_build_condition_body(policy), status=201)

    async def get_condition(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(_build_condition_body(self._find_condition(request)))

    async def change_condition(self, request: web.Request, caller: Caller) -> web.Response:
        policy = self._find_condition(request)
        policy.is_enabled = (await read_payload(request, _StatusPayload)).condition_status
        self._context.store.save()
        return web.json_response(_build_condition_body(policy))

    async def delete_condition(self, request: web.Request, caller: Caller) -> web.Response:
        del self._context.state.deny_policies[self._find_condition(request).condition_id]
        self._context.store.save()
        return web.Response()

    async def list_applications(self, request: web.Request, caller: Caller) -> web.Response:
        owner, name = request.query.get("user", caller.name), request.query.get("name", "").lower()
        found = [
            _build_application_body(application)
            for application in self._context.state.applications.values()
            if application.owner == owner and name in application.name.lower()
        ]
        return web.json_response(paginate(request, found))

    async def delete_application(self, request: web.Request, caller: Caller) -> web.Response:
        application_id = request.match_info["application_id"]
        if application_id not in self._context.state.applications:
            raise RestError.not_found("Application", application_id)
        delete_application(self._context, application_id)
        return web.Response()

    async def change_owner(self, request: web.Request, caller: Caller) -> web.Response:
        application_id = request.match_info["application_id"]
        application = self._context.state.applications.get(application_id)
        owner = request.query.get("owner", "")
        # WSO2 answers every failure of this call with 500, although its specification lists 400 and 404.
        if application is None or not self._context.users.exists(owner) or self._has_namesake(application, owner):
            raise RestError.general(f"Error while updating application owner {application_id}")
        application.owner = owner
        for client in list_application_clients(self._context, application_id):
            client.owner = owner
        self._context.store.save()
        return web.Response()

    def _has_namesake(self, application: Application, owner: str) -> bool:
        others = self._context.state.applications.values()
        return any(o is not application and o.owner == owner and o.name == application.name for o in others)

    def _find_condition(self, request: web.Request) -> DenyPolicy:
        condition_id = request.match_info["condition_id"]
        policy = self._context.state.deny_policies.get(condition_id)
        if policy is None:
            raise RestError.not_found("Blacklist Condition", condition_id)
        return policy

    def _parse_condition_value(self, payload: _ConditionPayload) -> str | Document:
        value = payload.condition_value
        match payload.condition_type:
            case "IP":
                return parse_value(value, _IpConditionPayload).model_dump(mode="json", by_alias=True)
            case "IPRANGE":
                return parse_value(value, _IpRangeConditionPayload).model_dump(mode="json", by_alias=True)
            case "API":
                exists = any(product.context == value for product in self._context.state.products())
            case "APPLICATION":
                exists = any(f"{a.owner}:{a.name}" == value for a in self._context.state.applications.values())
            case "USER":
                return f"{value}".removesuffix("@carbon.super") + "@carbon.super"
        if not exists:
            raise RestError.general(f"{payload.condition_type} {value} is not there")
        return value


def _build_condition_body(policy: DenyPolicy) -> Document:
    return {
        "conditionId": policy.condition_id,
        "conditionType": policy.condition_type,
        "conditionValue": policy.condition_value,
        "conditionStatus": policy.is_enabled,
    }


def _build_application_body(application: Application) -> Document:
    return {
        "applicationId": application.application_id,
        "name": application.name,
        "owner": application.owner,
        "status": "APPROVED",
        "groupId": "",
        "tokenType": "JWT",
        "createdTime": str(application.created_at_ms),
    }
