"""Developer Portal REST API v3, as far as the bootstrap uses it: applications, subscriptions, keys.

Source: WSO2 API Manager 4.6, devportal-api.yaml, ApplicationsApiServiceImpl, SubscriptionsApiServiceImpl.
"""

import uuid

from aiohttp import web
from pydantic import Field, TypeAdapter

from local_gateway.lifecycle import SUBSCRIBABLE
from local_gateway.management.policies import find_policy
from local_gateway.management.rest import (
    Caller,
    Desk,
    Payload,
    RestError,
    Routes,
    conflict,
    not_found,
    page,
    read_json,
    read_payload,
    validated,
)
from local_gateway.state import Api, Application, Document, OAuthClient, Subscription
from wso2_terms.policies import PolicyKind

BASE = "/api/am/devportal/v3"

_APPLICATION = ("apim:subscribe", "apim:app_manage")
_APPLICATIONS = (*_APPLICATION, "apim:app_import_export")
_SUBSCRIPTION = ("apim:subscribe", "apim:sub_manage")


class ApplicationPayload(Payload):
    """An application as its owner describes it."""

    name: str = Field(min_length=1, max_length=100)
    throttling_policy: str
    description: str = ""


class SubscriptionPayload(Payload):
    """Which application wants to call which API under which plan."""

    application_id: str
    api_id: str
    throttling_policy: str
    requested_throttling_policy: str | None = None


class Applications:
    """Applications and their subscriptions; each belongs to its owner alone."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Every operation with the scopes of which its caller needs one."""
        routes = Routes(self._desk, BASE)
        routes.add("GET", "/applications", self.list_applications, _APPLICATIONS)
        routes.add("POST", "/applications", self.add_application, _APPLICATION)
        routes.add("GET", "/applications/{application_id}", self.get_application, _APPLICATION)
        routes.add("PUT", "/applications/{application_id}", self.change_application, _APPLICATION)
        routes.add("DELETE", "/applications/{application_id}", self.delete_application, _APPLICATIONS)
        routes.add("GET", "/apis", self.list_apis, _SUBSCRIPTION)
        routes.add("GET", "/subscriptions", self.list_subscriptions, _SUBSCRIPTION)
        routes.add("POST", "/subscriptions", self.add_subscription, _SUBSCRIPTION)
        routes.add("POST", "/subscriptions/multiple", self.add_subscriptions, _SUBSCRIPTION)
        routes.add("PUT", "/subscriptions/{subscription_id}", self.change_subscription, _SUBSCRIPTION)
        routes.add("DELETE", "/subscriptions/{subscription_id}", self.delete_subscription, _SUBSCRIPTION)
        return routes.definitions

    async def list_applications(self, request: web.Request, caller: Caller) -> web.Response:
        part = request.query.get("query", "").lower()
        found = [
            self._application_info(application)
            for application in self._desk.state.applications.values()
            if application.owner == caller.name and part in application.name.lower()
        ]
        return web.json_response(page(request, found))

    async def add_application(self, request: web.Request, caller: Caller) -> web.Response:
        wanted = await read_payload(request, ApplicationPayload)
        state = self._desk.state
        if any(a.name == wanted.name and a.owner == caller.name for a in state.applications.values()):
            raise conflict(f"An application already exists with name {wanted.name}")
        self._check_policy(wanted)
        state.applications_made += 1
        now_ms = self._desk.now_ms()
        application = Application(
            application_id=str(uuid.uuid4()),
            number=state.applications_made,
            name=wanted.name,
            owner=caller.name,
            throttling_policy=wanted.throttling_policy,
            description=wanted.description,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        state.applications[application.application_id] = application
        self._desk.store.changed()
        return web.json_response(self._application_body(application), status=201)

    async def get_application(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self._application_body(owned_application(self._desk, request, caller)))

    async def change_application(self, request: web.Request, caller: Caller) -> web.Response:
        application = owned_application(self._desk, request, caller)
        wanted = await read_payload(request, ApplicationPayload)
        self._check_policy(wanted)
        application.name, application.description = wanted.name, wanted.description
        application.throttling_policy, application.updated_at_ms = wanted.throttling_policy, self._desk.now_ms()
        self._desk.store.changed()
        return web.json_response(self._application_body(application))

    async def delete_application(self, request: web.Request, caller: Caller) -> web.Response:
        gone = owned_application(self._desk, request, caller).application_id
        state = self._desk.state
        del state.applications[gone]
        state.subscriptions = {i: s for i, s in state.subscriptions.items() if s.application_id != gone}
        state.clients = {i: c for i, c in state.clients.items() if c.application_id != gone}
        self._desk.store.changed()
        return web.Response()

    async def list_apis(self, request: web.Request, caller: Caller) -> web.Response:
        part = request.query.get("query", "").removeprefix("name:").lower()
        found = [
            _api_info(api)
            for api in self._desk.state.apis.values()
            if api.lifecycle in SUBSCRIBABLE and part in api.name.lower()
        ]
        return web.json_response(page(request, found))

    async def list_subscriptions(self, request: web.Request, caller: Caller) -> web.Response:
        application_id, api_id = request.query.get("applicationId"), request.query.get("apiId")
        if application_id is not None:
            self._owned(application_id, caller)
        found = [
            self._subscription_body(subscription)
            for subscription in self._desk.state.subscriptions.values()
            if application_id in (None, subscription.application_id)
            and api_id in (None, subscription.api_id)
            and self._desk.state.applications[subscription.application_id].owner == caller.name
        ]
        return web.json_response(page(request, found))

    async def add_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        subscription = self._subscribe(await read_payload(request, SubscriptionPayload), caller)
        self._desk.store.changed()
        return web.json_response(self._subscription_body(subscription), status=201)

    async def add_subscriptions(self, request: web.Request, caller: Caller) -> web.Response:
        listed = TypeAdapter(list[dict[str, object]])
        try:
            wanted = [validated(one, SubscriptionPayload) for one in listed.validate_python(await read_json(request))]
        except ValueError as error:
            raise RestError(400, "The body is a list of subscriptions") from error
        made = [self._subscribe(one, caller) for one in wanted]
        self._desk.store.changed()
        return web.json_response([self._subscription_body(subscription) for subscription in made])

    async def change_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        subscription = self._subscription(request, caller)
        wanted = await read_payload(request, SubscriptionPayload)
        # A change of plan is a request: `throttlingPolicy` still names the old one.
        plan = wanted.requested_throttling_policy or wanted.throttling_policy
        self._check_plan(self._desk.state.apis[subscription.api_id], plan)
        subscription.throttling_policy = plan
        self._desk.store.changed()
        return web.json_response(self._subscription_body(subscription))

    async def delete_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        del self._desk.state.subscriptions[self._subscription(request, caller).subscription_id]
        self._desk.store.changed()
        return web.Response()

    def _subscribe(self, wanted: SubscriptionPayload, caller: Caller) -> Subscription:
        application = self._owned(wanted.application_id, caller)
        api = self._desk.state.apis.get(wanted.api_id)
        if api is None:
            raise not_found("API", wanted.api_id)
        if api.lifecycle not in SUBSCRIBABLE:
            raise RestError(400, f"Subscriptions not allowed on API state {api.lifecycle}")
        self._check_plan(api, wanted.throttling_policy)
        subscriptions = self._desk.state.subscriptions
        if any(s.application_id == wanted.application_id and s.api_id == wanted.api_id for s in subscriptions.values()):
            raise conflict(
                f"Specified subscription already exists for API {api.name}-{api.version} "
                f"for Application {application.name}"
            )
        made = Subscription(
            subscription_id=str(uuid.uuid4()),
            application_id=wanted.application_id,
            api_id=wanted.api_id,
            throttling_policy=wanted.throttling_policy,
        )
        subscriptions[made.subscription_id] = made
        return made

    def _check_plan(self, api: Api, plan: str) -> None:
        if plan not in api.data["policies"]:
            raise RestError(403, f"Tier {plan} is not allowed for API {api.name}-{api.version}")

    def _check_policy(self, wanted: ApplicationPayload) -> None:
        if find_policy(self._desk, PolicyKind.APPLICATION, wanted.throttling_policy) is None:
            raise RestError(400, f"Specified application tier {wanted.throttling_policy} is invalid")

    def _owned(self, application_id: str, caller: Caller) -> Application:
        return _checked_owner(self._desk.state.applications.get(application_id), application_id, caller)

    def _subscription(self, request: web.Request, caller: Caller) -> Subscription:
        subscription_id = request.match_info["subscription_id"]
        subscription = self._desk.state.subscriptions.get(subscription_id)
        if subscription is None:
            raise not_found("Subscription", subscription_id)
        self._owned(subscription.application_id, caller)
        return subscription

    def _application_body(self, application: Application) -> Document:
        details: Document = {"keys": [], "subscriptionScopes": [], "hashEnabled": False}
        return self._application_info(application) | details

    def _application_info(self, application: Application) -> Document:
        """The application as lists show it."""
        subscribed = self._desk.state.subscriptions.values()
        return {
            "applicationId": application.application_id,
            "name": application.name,
            "throttlingPolicy": application.throttling_policy,
            "description": application.description,
            "tokenType": "JWT",
            "status": "APPROVED",
            "groups": [],
            "subscriptionCount": sum(s.application_id == application.application_id for s in subscribed),
            "attributes": {},
            "owner": application.owner,
            "createdTime": str(application.created_at_ms),
            "updatedTime": str(application.updated_at_ms),
        }

    def _subscription_body(self, subscription: Subscription) -> Document:
        application = self._desk.state.applications[subscription.application_id]
        return {
            "subscriptionId": subscription.subscription_id,
            "applicationId": subscription.application_id,
            "apiId": subscription.api_id,
            "apiInfo": _api_info(self._desk.state.apis[subscription.api_id]),
            "applicationInfo": {
                "applicationId": application.application_id,
                "name": application.name,
                "throttlingPolicy": application.throttling_policy,
                "status": "APPROVED",
                "owner": application.owner,
            },
            "throttlingPolicy": subscription.throttling_policy,
            "requestedThrottlingPolicy": subscription.throttling_policy,
            "status": subscription.status,
        }


def owned_application(desk: Desk, request: web.Request, caller: Caller) -> Application:
    """The application that a request names, if it is the caller's.

    Raises:
        RestError: 404, there is none; 403, it is someone else's.
    """
    application_id = request.match_info["application_id"]
    return _checked_owner(desk.state.applications.get(application_id), application_id, caller)


def application_clients(desk: Desk, application_id: str) -> list[OAuthClient]:
    """Consumer keys of an application."""
    return [client for client in desk.state.clients.values() if client.application_id == application_id]


def _checked_owner(application: Application | None, application_id: str, caller: Caller) -> Application:
    if application is None:
        raise not_found("Application", application_id)
    if application.owner != caller.name:
        raise RestError(403, f"You don't have permission to access the Application with Id {application_id}")
    return application


def _api_info(api: Api) -> Document:
    return {
        "id": api.api_id,
        "name": api.name,
        "description": api.data.get("description"),
        "context": api.context,
        "version": api.version,
        "type": "HTTP",
        "provider": api.provider,
        "lifeCycleStatus": api.lifecycle,
        "throttlingPolicies": api.data["policies"],
    }
