"""Publisher REST API v4, as far as the bootstrap and an operator use it.

Source: WSO2 API Manager 4.6, publisher-api.yaml and ApisApiServiceImpl.
"""

from aiohttp import web
from pydantic import TypeAdapter

from local_gateway import lifecycle
from local_gateway.management.catalogue import deploy, import_project, make_revision, remove, undeploy
from local_gateway.management.rest import (
    Caller,
    Desk,
    Payload,
    RestError,
    Routes,
    flag,
    general_error,
    not_found,
    page,
    read_json,
    read_payload,
)
from local_gateway.management.search import search
from local_gateway.state import Api, Document, Revision, Subscription, SubscriptionStatus
from wso2_terms.api_archive import read_api_archive
from wso2_terms.documents import ArtifactError

BASE = "/api/am/publisher/v4"

_VIEW = ("apim:api_view", "apim:api_manage", "apim:api_import_export")
_DEFINITION = ("apim:api_view", "apim:api_manage")
_STATE = ("apim:api_view", "apim:api_create", "apim:api_manage", "apim:api_publish")
_IMPORT = ("apim:api_import_export", "apim:admin")
_DELETE = ("apim:api_delete", "apim:api_manage", "apim:api_import_export")
_PUBLISH = ("apim:api_publish", "apim:api_manage", "apim:api_import_export")
_DEPLOY = ("apim:api_create", "apim:api_publish", "apim:api_manage")
_REVISE = (*_DEPLOY, "apim:api_import_export")
_BLOCK = ("apim:subscription_block", "apim:subscription_manage")
_SUBSCRIPTIONS = ("apim:api_view", "apim:subscription_view", "apim:subscription_manage")


class _Revision(Payload):
    description: str = ""


class _Environment(Payload):
    name: str
    vhost: str = "localhost"
    display_on_devportal: bool = True


class Publisher:
    """The operations, over the state of this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Every operation with the scopes of which its caller needs one."""
        routes = Routes(self._desk, BASE)
        routes.add("POST", "/apis/import", self.import_api, _IMPORT)
        routes.add("POST", "/apis/change-lifecycle", self.change_lifecycle, _PUBLISH)
        routes.add("GET", "/apis", self.list_apis, _VIEW)
        routes.add("GET", "/apis/{api_id}", self.get_api, _VIEW)
        routes.add("DELETE", "/apis/{api_id}", self.delete_api, _DELETE)
        routes.add("GET", "/apis/{api_id}/swagger", self.get_definition, _DEFINITION)
        routes.add("GET", "/apis/{api_id}/lifecycle-state", self.get_lifecycle, _STATE)
        routes.add("GET", "/apis/{api_id}/deployments", self.list_deployments, _STATE)
        routes.add("GET", "/apis/{api_id}/revisions", self.list_revisions, _STATE)
        routes.add("POST", "/apis/{api_id}/revisions", self.add_revision, _REVISE)
        routes.add("DELETE", "/apis/{api_id}/revisions/{revision_id}", self.delete_revision, _REVISE)
        routes.add("POST", "/apis/{api_id}/deploy-revision", self.deploy_revision, _DEPLOY)
        routes.add("POST", "/apis/{api_id}/undeploy-revision", self.undeploy_revision, _REVISE)
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
            # WSO2 answers 500 and leaves the reason to its log; the status is kept, the reason is told.
            raise general_error(f"Error while importing API: {error}") from error
        provider = project.api.provider if flag(request, "preserveProvider", default=True) else caller.name
        api, revision = import_project(
            self._desk,
            project,
            provider,
            overwrite=flag(request, "overwrite", default=False),
            rotate_revision=flag(request, "rotateRevision", default=False),
        )
        if "application/json" not in request.headers.get("Accept", ""):
            return web.Response(text="API imported successfully.")
        return web.json_response({"id": api.api_id, "revision": revision.revision_id if revision else None})

    async def list_apis(self, request: web.Request, caller: Caller) -> web.Response:
        found = [_listed(api) for api in search(self._desk.state.apis.values(), request.query.get("query", ""))]
        return web.json_response(page(request, found))

    async def get_api(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        return web.json_response({**api.data, **_described(api), "isRevision": False})

    async def delete_api(self, request: web.Request, caller: Caller) -> web.Response:
        remove(self._desk, self._api(request))
        return web.Response()

    async def get_definition(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(self._api(request).definition)

    async def get_lifecycle(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(_lifecycle_body(self._api(request)))

    async def change_lifecycle(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._find(request.query.get("apiId", ""))
        action = request.query.get("action", "")
        target = lifecycle.after(api.lifecycle, action)
        if target is None:
            raise RestError(400, f"Action '{action}' is not allowed in state {api.lifecycle}", code=900381)
        api.lifecycle, api.updated_at_ms = target, self._desk.now_ms()
        api.data = api.data | {"lifeCycleStatus": target}
        if target == lifecycle.RETIRED:
            for revision in api.revisions:
                undeploy(revision, ())
        self._desk.store.changed()
        return web.json_response({"workflowStatus": "APPROVED", "lifecycleState": _lifecycle_body(api)})

    async def list_deployments(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        return web.json_response({"list": [d for revision in api.revisions for d in _deployments(revision)]})

    async def list_revisions(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        asked = request.query.get("query", "")
        wanted = {"deployed:true": (True,), "deployed:false": (False,)}.get(asked, (True, False))
        shown = [_revision_body(api, revision) for revision in api.revisions if bool(revision.environments) in wanted]
        return web.json_response({"count": len(shown), "list": shown})

    async def add_revision(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        revision = make_revision(self._desk, api, (await read_payload(request, _Revision)).description)
        self._desk.store.changed()
        return web.json_response(_revision_body(api, revision), status=201)

    async def delete_revision(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        revision = _revision(api, request.match_info["revision_id"])
        if revision.environments:
            raise RestError(400, "Couldn't delete revision with existing deployments", code=900352)
        api.revisions.remove(revision)
        self._desk.store.changed()
        return web.json_response({"count": len(api.revisions), "list": [_revision_body(api, r) for r in api.revisions]})

    async def deploy_revision(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        revision = _revision(api, request.query.get("revisionId", ""))
        deploy(api, revision, await _environments(request))
        self._desk.store.changed()
        return web.json_response(_deployments(revision), status=201)

    async def undeploy_revision(self, request: web.Request, caller: Caller) -> web.Response:
        api = self._api(request)
        revision = _revision(api, request.query.get("revisionId", ""))
        named = await _environments(request) if request.can_read_body else []
        undeploy(revision, [environment["name"] for environment in named])
        self._desk.store.changed()
        return web.json_response(_deployments(revision), status=201)

    async def list_subscriptions(self, request: web.Request, caller: Caller) -> web.Response:
        api_id = request.query.get("apiId")
        found = [
            self._subscription_body(subscription)
            for subscription in self._desk.state.subscriptions.values()
            if api_id in (None, subscription.api_id)
        ]
        return web.json_response(page(request, found))

    async def block(self, request: web.Request, caller: Caller) -> web.Response:
        state = request.query.get("blockState", "")
        if state not in ("BLOCKED", "PROD_ONLY_BLOCKED"):
            raise RestError(400, "blockState is BLOCKED or PROD_ONLY_BLOCKED")
        return self._change_status(request, state)

    async def unblock(self, request: web.Request, caller: Caller) -> web.Response:
        return self._change_status(request, "UNBLOCKED")

    def _change_status(self, request: web.Request, status: SubscriptionStatus) -> web.Response:
        subscription_id = request.query.get("subscriptionId", "")
        subscription = self._desk.state.subscriptions.get(subscription_id)
        if subscription is None:
            raise not_found("Subscription", subscription_id)
        subscription.status = status
        self._desk.store.changed()
        return web.Response()

    def _subscription_body(self, subscription: Subscription) -> Document:
        application = self._desk.state.applications[subscription.application_id]
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

    def _api(self, request: web.Request) -> Api:
        return self._find(request.match_info["api_id"])

    def _find(self, api_id: str) -> Api:
        api = self._desk.state.apis.get(api_id)
        if api is None:
            raise not_found("API", api_id)
        return api


async def _environments(request: web.Request) -> list[Document]:
    listed = TypeAdapter(list[_Environment])
    try:
        environments = listed.validate_python(await read_json(request))
    except ValueError as error:
        raise RestError(400, "The body is a list of environments, each with a name") from error
    return [environment.model_dump(by_alias=True) for environment in environments]


def _listed(api: Api) -> Document:
    return {**_shared(api), "updatedTime": str(api.updated_at_ms)}


def _described(api: Api) -> Document:
    # The same moment has another name here.
    return {**_shared(api), "lastUpdatedTime": str(api.updated_at_ms)}


def _shared(api: Api) -> Document:
    return {
        "id": api.api_id,
        "name": api.name,
        "description": api.data.get("description"),
        "context": api.data["context"],
        "version": api.version,
        "provider": api.provider,
        "type": "HTTP",
        "lifeCycleStatus": api.lifecycle,
        "gatewayVendor": "wso2",
        "gatewayType": "wso2/synapse",
        "createdTime": str(api.created_at_ms),
    }


def _lifecycle_body(api: Api) -> Document:
    return {
        "state": lifecycle.displayed(api.lifecycle),
        "checkItems": [],
        "availableTransitions": [
            {"event": event, "targetState": lifecycle.displayed(target)}
            for event, target in lifecycle.transitions(api.lifecycle).items()
        ],
    }


def _revision(api: Api, revision_id: str) -> Revision:
    for revision in api.revisions:
        if revision.revision_id == revision_id:
            return revision
    raise RestError(404, f"No revision {revision_id} of this API", code=900354)


def _revision_body(api: Api, revision: Revision) -> Document:
    return {
        "displayName": f"Revision {revision.number}",
        "id": revision.revision_id,
        "description": revision.description,
        "createdTime": revision.created_at_ms,
        "apiInfo": {"id": api.api_id, "name": api.name, "version": api.version, "provider": api.provider},
        "deploymentInfo": _deployments(revision),
    }


def _deployments(revision: Revision) -> list[Document]:
    return [
        {"revisionUuid": revision.revision_id, "status": "APPROVED", **environment, "liveGatewayCount": 1}
        for environment in revision.environments
    ]
