"""Developer Portal REST API v3: what may be subscribed to, and the subscriptions of applications.

APIs and MCP servers are subscribed to alike, both as `apiId`.
Source: WSO2 API Manager 4.6, devportal-api.yaml, SubscriptionsApiServiceImpl.
"""

import uuid
from collections.abc import Iterable

from aiohttp import web
from pydantic import TypeAdapter

from local_gateway.lifecycle import SUBSCRIBABLE
from local_gateway.management.devportal import BASE, checked_owner
from local_gateway.management.products import product
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
from local_gateway.state import Api, Application, Document, Product, Subscription

_SUBSCRIPTION = ("apim:subscribe", "apim:sub_manage")


class SubscriptionPayload(Payload):
    """Which application wants to call which API under which plan."""

    application_id: str
    api_id: str
    throttling_policy: str
    requested_throttling_policy: str | None = None


class Subscriptions:
    """The operations, over the state of this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Every operation with the scopes of which its caller needs one."""
        routes = Routes(self._desk, BASE)
        routes.add("GET", "/apis", self.list_apis, _SUBSCRIPTION)
        routes.add("GET", "/mcp-servers", self.list_servers, _SUBSCRIPTION)
        routes.add("GET", "/subscriptions", self.list_subscriptions, _SUBSCRIPTION)
        routes.add("POST", "/subscriptions", self.add_subscription, _SUBSCRIPTION)
        routes.add("POST", "/subscriptions/multiple", self.add_subscriptions, _SUBSCRIPTION)
        routes.add("PUT", "/subscriptions/{subscription_id}", self.change_subscription, _SUBSCRIPTION)
        routes.add("DELETE", "/subscriptions/{subscription_id}", self.delete_subscription, _SUBSCRIPTION)
        return routes.definitions

    async def list_apis(self, request: web.Request, caller: Caller) -> web.Response:
        return _shown(request, self._desk.state.apis.values())

    async def list_servers(self, request: web.Request, caller: Caller) -> web.Response:
        return _shown(request, self._desk.state.mcp_servers.values())

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
        self._check_plan(self._product(subscription.api_id), plan)
        subscription.throttling_policy = plan
        self._desk.store.changed()
        return web.json_response(self._subscription_body(subscription))

    async def delete_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        del self._desk.state.subscriptions[self._subscription(request, caller).subscription_id]
        self._desk.store.changed()
        return web.Response()

    def _subscribe(self, wanted: SubscriptionPayload, caller: Caller) -> Subscription:
        application = self._owned(wanted.application_id, caller)
        api = self._product(wanted.api_id)
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

    def _check_plan(self, api: Product, plan: str) -> None:
        if plan not in api.data["policies"]:
            raise RestError(403, f"Tier {plan} is not allowed for API {api.name}-{api.version}")

    def _product(self, product_id: str) -> Product:
        found = product(self._desk.state, product_id)
        if found is None:
            raise not_found("API", product_id)
        return found

    def _owned(self, application_id: str, caller: Caller) -> Application:
        return checked_owner(self._desk.state.applications.get(application_id), application_id, caller)

    def _subscription(self, request: web.Request, caller: Caller) -> Subscription:
        subscription_id = request.match_info["subscription_id"]
        subscription = self._desk.state.subscriptions.get(subscription_id)
        if subscription is None:
            raise not_found("Subscription", subscription_id)
        self._owned(subscription.application_id, caller)
        return subscription

    def _subscription_body(self, subscription: Subscription) -> Document:
        application = self._desk.state.applications[subscription.application_id]
        return {
            "subscriptionId": subscription.subscription_id,
            "applicationId": subscription.application_id,
            "apiId": subscription.api_id,
            "apiInfo": _product_info(self._product(subscription.api_id)),
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


def _shown(request: web.Request, products: Iterable[Product]) -> web.Response:
    """What may be subscribed to, of the names that the request asks for."""
    part = request.query.get("query", "").removeprefix("name:").lower()
    found = [_product_info(one) for one in products if one.lifecycle in SUBSCRIBABLE and part in one.name.lower()]
    return web.json_response(page(request, found))


def _product_info(one: Product) -> Document:
    return {
        "id": one.product_id,
        "name": one.name,
        "description": one.data.get("description"),
        "context": one.context,
        "version": one.version,
        "type": "HTTP" if isinstance(one, Api) else "MCP",
        "provider": one.provider,
        "lifeCycleStatus": one.lifecycle,
        "throttlingPolicies": one.data["policies"],
    }
