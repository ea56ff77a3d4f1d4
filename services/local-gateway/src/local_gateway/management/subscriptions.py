"""Developer Portal REST API v3: products that can be subscribed to, and subscriptions of applications.

APIs and MCP servers are subscribed to in the same way, both as `apiId`.
Source: WSO2 API Manager 4.6, devportal-api.yaml, SubscriptionsApiServiceImpl.
"""

import uuid
from collections.abc import Iterable

from aiohttp import web
from pydantic import TypeAdapter

from local_gateway.management.devportal import BASE, check_owner
from local_gateway.management.products import find_product
from local_gateway.management.rest import (
    Caller,
    ManagementContext,
    Payload,
    RestError,
    RouteTable,
    paginate,
    parse_value,
    read_json,
    read_payload,
)
from local_gateway.state import SUBSCRIBABLE, ApiRecord, Application, Document, ProductRecord, Subscription

_SUBSCRIPTION = ("apim:subscribe", "apim:sub_manage")


class SubscriptionPayload(Payload):
    """A requested subscription."""

    application_id: str
    api_id: str
    throttling_policy: str
    requested_throttling_policy: str | None = None
    """The new plan in a change of plan."""


class SubscriptionsApi:
    """Handlers of the API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/apis", self.list_apis, _SUBSCRIPTION)
        routes.add("GET", "/mcp-servers", self.list_servers, _SUBSCRIPTION)
        routes.add("GET", "/subscriptions", self.list_subscriptions, _SUBSCRIPTION)
        routes.add("POST", "/subscriptions", self.add_subscription, _SUBSCRIPTION)
        routes.add("POST", "/subscriptions/multiple", self.add_subscriptions, _SUBSCRIPTION)
        routes.add("PUT", "/subscriptions/{subscription_id}", self.change_subscription, _SUBSCRIPTION)
        routes.add("DELETE", "/subscriptions/{subscription_id}", self.delete_subscription, _SUBSCRIPTION)
        return routes.definitions

    async def list_apis(self, request: web.Request, caller: Caller) -> web.Response:
        return _build_page(request, self._context.state.apis.values())

    async def list_servers(self, request: web.Request, caller: Caller) -> web.Response:
        return _build_page(request, self._context.state.mcp_servers.values())

    async def list_subscriptions(self, request: web.Request, caller: Caller) -> web.Response:
        application_id, api_id = request.query.get("applicationId"), request.query.get("apiId")
        if application_id is not None:
            self._find_application(application_id, caller)
        found = [
            self._build_subscription_body(subscription)
            for subscription in self._context.state.subscriptions.values()
            if application_id in (None, subscription.application_id)
            and api_id in (None, subscription.api_id)
            and self._context.state.applications[subscription.application_id].owner == caller.name
        ]
        return web.json_response(paginate(request, found))

    async def add_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        subscription = self._subscribe(await read_payload(request, SubscriptionPayload), caller)
        self._context.store.save()
        return web.json_response(self._build_subscription_body(subscription), status=201)

    async def add_subscriptions(self, request: web.Request, caller: Caller) -> web.Response:
        listed = TypeAdapter(list[dict[str, object]])
        try:
            payloads = [
                parse_value(payload, SubscriptionPayload)
                for payload in listed.validate_python(await read_json(request))
            ]
        except ValueError as error:
            raise RestError(400, "The body is a list of subscriptions") from error
        created = [self._subscribe(payload, caller) for payload in payloads]
        self._context.store.save()
        return web.json_response([self._build_subscription_body(subscription) for subscription in created])

    async def change_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        subscription = self._find_subscription(request, caller)
        payload = await read_payload(request, SubscriptionPayload)
        # In a change of plan `throttlingPolicy` still names the old plan.
        plan = payload.requested_throttling_policy or payload.throttling_policy
        self._check_plan(self._find_product(subscription.api_id), plan)
        subscription.throttling_policy = plan
        self._context.store.save()
        return web.json_response(self._build_subscription_body(subscription))

    async def delete_subscription(self, request: web.Request, caller: Caller) -> web.Response:
        del self._context.state.subscriptions[self._find_subscription(request, caller).subscription_id]
        self._context.store.save()
        return web.Response()

    def _subscribe(self, payload: SubscriptionPayload, caller: Caller) -> Subscription:
        application = self._find_application(payload.application_id, caller)
        api = self._find_product(payload.api_id)
        if api.lifecycle not in SUBSCRIBABLE:
            raise RestError(400, f"Subscriptions not allowed on API state {api.lifecycle}")
        self._check_plan(api, payload.throttling_policy)
        subscriptions = self._context.state.subscriptions
        if any(
            s.application_id == payload.application_id and s.api_id == payload.api_id for s in subscriptions.values()
        ):
            raise RestError.conflict(
                f"Specified subscription already exists for API {api.name}-{api.version} "
                f"for Application {application.name}"
            )
        subscription = Subscription(
            subscription_id=str(uuid.uuid4()),
            application_id=payload.application_id,
            api_id=payload.api_id,
            throttling_policy=payload.throttling_policy,
        )
        subscriptions[subscription.subscription_id] = subscription
        return subscription

    def _check_plan(self, api: ProductRecord, plan: str) -> None:
        if plan not in api.data["policies"]:
            raise RestError(403, f"Tier {plan} is not allowed for API {api.name}-{api.version}")

    def _find_product(self, product_id: str) -> ProductRecord:
        found = find_product(self._context.state, product_id)
        if found is None:
            raise RestError.not_found("API", product_id)
        return found

    def _find_application(self, application_id: str, caller: Caller) -> Application:
        return check_owner(self._context.state.applications.get(application_id), application_id, caller)

    def _find_subscription(self, request: web.Request, caller: Caller) -> Subscription:
        subscription_id = request.match_info["subscription_id"]
        subscription = self._context.state.subscriptions.get(subscription_id)
        if subscription is None:
            raise RestError.not_found("Subscription", subscription_id)
        self._find_application(subscription.application_id, caller)
        return subscription

    def _build_subscription_body(self, subscription: Subscription) -> Document:
        application = self._context.state.applications[subscription.application_id]
        return {
            "subscriptionId": subscription.subscription_id,
            "applicationId": subscription.application_id,
            "apiId": subscription.api_id,
            "apiInfo": _build_product_info(self._find_product(subscription.api_id)),
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


def _build_page(request: web.Request, products: Iterable[ProductRecord]) -> web.Response:
    """Return a page of the products that can be subscribed to and match the request's query."""
    part = request.query.get("query", "").removeprefix("name:").lower()
    found = [
        _build_product_info(product)
        for product in products
        if product.lifecycle in SUBSCRIBABLE and part in product.name.lower()
    ]
    return web.json_response(paginate(request, found))


def _build_product_info(product: ProductRecord) -> Document:
    return {
        "id": product.product_id,
        "name": product.name,
        "description": product.data.get("description"),
        "context": product.context,
        "version": product.version,
        "type": "HTTP" if isinstance(product, ApiRecord) else "MCP",
        "provider": product.provider,
        "lifeCycleStatus": product.lifecycle,
        "throttlingPolicies": product.data["policies"],
    }
