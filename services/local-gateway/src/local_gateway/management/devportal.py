"""Developer Portal REST API v3: applications, which only their owner can access.

Source: WSO2 API Manager 4.6, devportal-api.yaml, ApplicationsApiServiceImpl.
"""

import uuid

from aiohttp import web
from pydantic import Field

from local_gateway.management.rest import (
    Caller,
    ManagementContext,
    Payload,
    RestError,
    RouteTable,
    paginate,
    read_payload,
)
from local_gateway.management.throttling import find_policy
from local_gateway.state import Application, Document, OAuthClient
from wso2_terms.policies import PolicyKind

BASE = "/api/am/devportal/v3"

_APPLICATION = ("apim:subscribe", "apim:app_manage")
_APPLICATIONS = (*_APPLICATION, "apim:app_import_export")


class ApplicationPayload(Payload):
    """An application in a request."""

    name: str = Field(min_length=1, max_length=100)
    throttling_policy: str
    description: str = ""


class ApplicationsApi:
    """Handlers of the API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/applications", self.list_applications, _APPLICATIONS)
        routes.add("POST", "/applications", self.add_application, _APPLICATION)
        routes.add("GET", "/applications/{application_id}", self.get_application, _APPLICATION)
        routes.add("PUT", "/applications/{application_id}", self.change_application, _APPLICATION)
        routes.add("DELETE", "/applications/{application_id}", self.delete_application, _APPLICATIONS)
        return routes.definitions

    async def list_applications(self, request: web.Request, caller: Caller) -> web.Response:
        part = request.query.get("query", "").lower()
        found = [
            self._build_application_info(application)
            for application in self._context.state.applications.values()
            if application.owner == caller.name and part in application.name.lower()
        ]
        return web.json_response(paginate(request, found))

    async def add_application(self, request: web.Request, caller: Caller) -> web.Response:
        payload = await read_payload(request, ApplicationPayload)
        state = self._context.state
        if any(a.name == payload.name and a.owner == caller.name for a in state.applications.values()):
            raise RestError.conflict(f"An application already exists with name {payload.name}")
        self._check_policy(payload)
        state.applications_made += 1
        now_ms = self._context.now_ms()
        application = Application(
            application_id=str(uuid.uuid4()),
            number=state.applications_made,
            name=payload.name,
            owner=caller.name,
            throttling_policy=payload.throttling_policy,
            description=payload.description,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        state.applications[application.application_id] = application
        self._context.store.save()
        return web.json_response(self.build_application_body(application), status=201)

    async def get_application(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self.build_application_body(find_owned_application(self._context, request, caller)))

    async def change_application(self, request: web.Request, caller: Caller) -> web.Response:
        application = find_owned_application(self._context, request, caller)
        payload = await read_payload(request, ApplicationPayload)
        self._check_policy(payload)
        application.name, application.description = payload.name, payload.description
        application.throttling_policy, application.updated_at_ms = payload.throttling_policy, self._context.now_ms()
        self._context.store.save()
        return web.json_response(self.build_application_body(application))

    async def delete_application(self, request: web.Request, caller: Caller) -> web.Response:
        delete_application(self._context, find_owned_application(self._context, request, caller).application_id)
        return web.Response()

    def _check_policy(self, payload: ApplicationPayload) -> None:
        if find_policy(self._context, PolicyKind.APPLICATION, payload.throttling_policy) is None:
            raise RestError(400, f"Specified application tier {payload.throttling_policy} is invalid")

    def build_application_body(self, application: Application) -> Document:
        """Return an application as the REST API writes it to its owner."""
        details: Document = {"keys": [], "subscriptionScopes": [], "hashEnabled": False}
        return self._build_application_info(application) | details

    def _build_application_info(self, application: Application) -> Document:
        """Return an application as lists contain it."""
        subscriptions = self._context.state.subscriptions.values()
        return {
            "applicationId": application.application_id,
            "name": application.name,
            "throttlingPolicy": application.throttling_policy,
            "description": application.description,
            "tokenType": "JWT",
            "status": "APPROVED",
            "groups": [],
            "subscriptionCount": sum(s.application_id == application.application_id for s in subscriptions),
            "attributes": {},
            "owner": application.owner,
            "createdTime": str(application.created_at_ms),
            "updatedTime": str(application.updated_at_ms),
        }


def find_owned_application(context: ManagementContext, request: web.Request, caller: Caller) -> Application:
    """Return the application that a request names, if it is the caller's.

    Raises:
        RestError: 404, there is none; 403, it belongs to another user.
    """
    application_id = request.match_info["application_id"]
    return check_owner(context.state.applications.get(application_id), application_id, caller)


def delete_application(context: ManagementContext, application_id: str) -> None:
    """Delete an application with its subscriptions and keys, and revoke the tokens of those keys."""
    state = context.state
    clients = {client.client_id for client in list_application_clients(context, application_id)}
    del state.applications[application_id]
    state.subscriptions = {i: s for i, s in state.subscriptions.items() if s.application_id != application_id}
    state.clients = {i: c for i, c in state.clients.items() if i not in clients}
    context.tokens.revoke_clients(clients)
    context.store.save()


def list_application_clients(context: ManagementContext, application_id: str) -> list[OAuthClient]:
    """Return the consumer keys of an application."""
    return [client for client in context.state.clients.values() if client.application_id == application_id]


def check_owner(application: Application | None, application_id: str, caller: Caller) -> Application:
    """Return the application if it exists and is the caller's.

    Raises:
        RestError: 404, there is none; 403, it belongs to another user.
    """
    if application is None:
        raise RestError.not_found("Application", application_id)
    if application.owner != caller.name:
        raise RestError(403, f"You don't have permission to access the Application with Id {application_id}")
    return application
