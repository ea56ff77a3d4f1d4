"""Publisher REST API v4, as far as the bootstrap and operators use it.

Source: WSO2 API Manager 4.6, publisher-api.yaml and ApisApiServiceImpl.
"""

from aiohttp import web

from local_gateway.management.api_catalogue import delete_api, import_project
from local_gateway.management.mcp_catalogue import list_servers_of_api
from local_gateway.management.products import build_product_info, search_products
from local_gateway.management.rest import Caller, ManagementContext, RestError, RouteTable, paginate, read_flag
from local_gateway.management.revisions import EndpointScopes, RevisionsApi
from local_gateway.state import ApiRecord, Document, Subscription, SubscriptionStatus
from wso2_terms.api_archive import read_api_archive
from wso2_terms.documents import ArtifactError

BASE = "/api/am/publisher/v4"

_VIEW = ("apim:api_view", "apim:api_manage", "apim:api_import_export")
_DEFINITION = ("apim:api_view", "apim:api_manage")
_IMPORT = ("apim:api_import_export", "apim:admin")
_DELETE = ("apim:api_delete", "apim:api_manage", "apim:api_import_export")
_BLOCK = ("apim:subscription_block", "apim:subscription_manage")
_SUBSCRIPTIONS = ("apim:api_view", "apim:subscription_view", "apim:subscription_manage")


_AUTHORS = ("apim:api_create", "apim:api_publish", "apim:api_manage")
_SURFACE = EndpointScopes(
    path="/apis",
    id_query="apiId",
    state=("apim:api_view", *_AUTHORS),
    revise=(*_AUTHORS, "apim:api_import_export"),
    deploy=_AUTHORS,
    publish=("apim:api_publish", "apim:api_manage", "apim:api_import_export"),
)


class PublisherApi:
    """Handlers of the API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, BASE)
        routes.add("POST", "/apis/import", self.import_api, _IMPORT)
        routes.add("GET", "/apis", self.list_apis, _VIEW)
        routes.add("GET", "/apis/{api_id}", self.get_api, _VIEW)
        routes.add("DELETE", "/apis/{api_id}", self.delete_api, _DELETE)
        routes.add("GET", "/apis/{api_id}/swagger", self.get_definition, _DEFINITION)
        routes.add("GET", "/apis/{api_id}/mcp-servers-usage", self.list_servers, _DEFINITION)
        RevisionsApi(self._context, _SURFACE, self._find).add_to(routes)
        routes.add("GET", "/subscriptions", self.list_subscriptions, _SUBSCRIPTIONS)
        routes.add("POST", "/subscriptions/block-subscription", self.block, _BLOCK)
        routes.add("POST", "/subscriptions/unblock-subscription", self.unblock, _BLOCK)
        return routes.definitions

    async def import_api(self, request: web.Request, caller: Caller) -> web.Response:
        posted = await request.post()
        upload = posted.get("file")
        if not isinstance(upload, web.FileField):
            raise RestError(400, "The multipart field 'file' is missing")
        try:
            project = read_api_archive(upload.file.read())
        except ArtifactError as error:
            # WSO2 answers 500 and only logs the reason; the status is the same here, but the answer has the reason.
            raise RestError.general(f"Error while importing API: {error}") from error
        provider = project.api.provider if read_flag(request, "preserveProvider", default=True) else caller.name
        api, revision = import_project(
            self._context,
            project,
            provider,
            overwrite=read_flag(request, "overwrite", default=False),
            rotate_revision=read_flag(request, "rotateRevision", default=False),
        )
        if "application/json" not in request.headers.get("Accept", ""):
            return web.Response(text="API imported successfully.")
        return web.json_response({"id": api.api_id, "revision": revision.revision_id if revision else None})

    async def list_apis(self, request: web.Request, caller: Caller) -> web.Response:
        found = [
            {**_build_info(api), "updatedTime": str(api.updated_at_ms)}
            for api in search_products(self._context.state.apis.values(), request.query.get("query", ""))
        ]
        return web.json_response(paginate(request, found))

    async def get_api(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._find_requested(request)
        return web.json_response(
            {
                **api.data,
                **_build_info(api),
                # WSO2 names the time of the last change differently in lists and in single objects.
                "lastUpdatedTime": str(api.updated_at_ms),
                "isRevision": False,
            }
        )

    async def delete_api(self, request: web.Request, caller: Caller) -> web.Response:
        delete_api(self._context, self._find_requested(request))
        return web.Response()

    async def get_definition(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self._find_requested(request).definition)

    async def list_servers(self, request: web.Request, caller: Caller) -> web.Response:
        found = [
            {"id": server.server_id, "name": server.name, "version": server.version, "provider": server.provider}
            for server in list_servers_of_api(self._context.state, self._find_requested(request))
        ]
        return web.json_response({"count": len(found), "list": found})

    async def list_subscriptions(self, request: web.Request, caller: Caller) -> web.Response:
        api_id = request.query.get("apiId")
        found = [
            self._build_subscription_body(subscription)
            for subscription in self._context.state.subscriptions.values()
            if api_id in (None, subscription.api_id)
        ]
        return web.json_response(paginate(request, found))

    async def block(self, request: web.Request, caller: Caller) -> web.Response:
        state = request.query.get("blockState", "")
        if state not in ("BLOCKED", "PROD_ONLY_BLOCKED"):
            raise RestError(400, "blockState is BLOCKED or PROD_ONLY_BLOCKED")
        return self._change_status(request, state)

    async def unblock(self, request: web.Request, caller: Caller) -> web.Response:
        return self._change_status(request, "UNBLOCKED")

    def _change_status(self, request: web.Request, status: SubscriptionStatus) -> web.Response:
        subscription_id = request.query.get("subscriptionId", "")
        subscription = self._context.state.subscriptions.get(subscription_id)
        if subscription is None:
            raise RestError.not_found("Subscription", subscription_id)
        subscription.status = status
        self._context.store.save()
        return web.Response()

    def _build_subscription_body(self, subscription: Subscription) -> Document:
        application = self._context.state.applications[subscription.application_id]
        return {
            "subscriptionId": subscription.subscription_id,
            "applicationInfo": {
                "applicationId": application.application_id,
                "name": application.name,
                "subscriber": application.owner,
            },
            "throttlingPolicy": subscription.throttling_policy,
            "subscriptionStatus": subscription.status,
        }

    def _find_requested(self, request: web.Request) -> ApiRecord:
        return self._find(request.match_info["api_id"])

    def _find(self, api_id: str) -> ApiRecord:
        api = self._context.state.apis.get(api_id)
        if api is None:
            raise RestError.not_found("API", api_id)
        return api


def _build_info(api: ApiRecord) -> Document:
    return {**build_product_info(api), "type": "HTTP"}
