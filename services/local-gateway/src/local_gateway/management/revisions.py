"""Publisher REST API v4: life cycle, revisions and deployments, with the same operations for APIs and MCP servers.

Source: WSO2 API Manager 4.6, publisher-api.yaml, ApisApiServiceImpl, McpServersApiServiceImpl.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from pydantic import TypeAdapter

from local_gateway.management.products import create_revision, deploy, undeploy
from local_gateway.management.rest import (
    Caller,
    ManagementContext,
    Payload,
    RestError,
    RouteTable,
    read_json,
    read_payload,
)
from local_gateway.state import (
    RETIRED,
    Document,
    ProductRecord,
    Revision,
    find_lifecycle_target,
    format_lifecycle_state,
    list_lifecycle_transitions,
)


@dataclass(frozen=True, slots=True)
class EndpointScopes:
    """Paths of the operations for one kind of product, and the scopes of which a caller needs one."""

    path: str
    """Path below the API's base."""

    id_query: str
    """Query parameter with the id of the product."""

    state: Sequence[str]
    """Scopes to read life cycle, deployments and revisions."""

    revise: Sequence[str]
    """Scopes to create and delete revisions."""

    deploy: Sequence[str]
    """Scopes to deploy a revision."""

    publish: Sequence[str]
    """Scopes to change the life cycle state."""


class _RevisionPayload(Payload):
    description: str = ""


class _EnvironmentPayload(Payload):
    name: str
    vhost: str = "localhost"
    display_on_devportal: bool = True


class RevisionsApi:
    """Handlers of the operations for one kind of product."""

    def __init__(
        self, context: ManagementContext, surface: EndpointScopes, find: Callable[[str], ProductRecord]
    ) -> None:
        self._context = context
        self._surface = surface
        self._find = find

    def add_to(self, routes: RouteTable) -> None:
        """Add the operations to the routes of an API."""
        surface = self._surface
        base = f"{surface.path}/{{product_id}}"
        routes.add("POST", f"{surface.path}/change-lifecycle", self.change_lifecycle, surface.publish)
        routes.add("GET", f"{base}/lifecycle-state", self.get_lifecycle, surface.state)
        routes.add("GET", f"{base}/deployments", self.list_deployments, surface.state)
        routes.add("GET", f"{base}/revisions", self.list_revisions, surface.state)
        routes.add("POST", f"{base}/revisions", self.add_revision, surface.revise)
        routes.add("DELETE", f"{base}/revisions/{{revision_id}}", self.delete_revision, surface.revise)
        routes.add("POST", f"{base}/deploy-revision", self.deploy_revision, surface.deploy)
        routes.add("POST", f"{base}/undeploy-revision", self.undeploy_revision, surface.revise)

    async def get_lifecycle(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(_build_lifecycle_body(self._find_requested(request)))

    async def change_lifecycle(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find(request.query.get(self._surface.id_query, ""))
        action = request.query.get("action", "")
        target = find_lifecycle_target(product.lifecycle, action)
        if target is None:
            raise RestError(400, f"Action '{action}' is not allowed in state {product.lifecycle}", code=900381)
        product.lifecycle, product.updated_at_ms = target, self._context.now_ms()
        product.data = product.data | {"lifeCycleStatus": target}
        if target == RETIRED:
            for revision in product.revisions:
                undeploy(revision, ())
        self._context.store.save()
        return web.json_response({"workflowStatus": "APPROVED", "lifecycleState": _build_lifecycle_body(product)})

    async def list_deployments(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find_requested(request)
        return web.json_response({"list": [d for revision in product.revisions for d in _build_deployments(revision)]})

    async def list_revisions(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find_requested(request)
        query = request.query.get("query", "")
        deployed_states = {"deployed:true": (True,), "deployed:false": (False,)}.get(query, (True, False))
        shown = [
            _build_revision_body(product, revision)
            for revision in product.revisions
            if bool(revision.environments) in deployed_states
        ]
        return web.json_response({"count": len(shown), "list": shown})

    async def add_revision(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find_requested(request)
        revision = create_revision(self._context, product, (await read_payload(request, _RevisionPayload)).description)
        self._context.store.save()
        return web.json_response(_build_revision_body(product, revision), status=201)

    async def delete_revision(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find_requested(request)
        revision = _find_revision(product, request.match_info["revision_id"])
        if revision.environments:
            raise RestError(400, "Couldn't delete revision with existing deployments", code=900352)
        product.revisions.remove(revision)
        self._context.store.save()
        left = [_build_revision_body(product, revision) for revision in product.revisions]
        return web.json_response({"count": len(left), "list": left})

    async def deploy_revision(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find_requested(request)
        revision = _find_revision(product, request.query.get("revisionId", ""))
        deploy(product, revision, await _read_environments(request))
        self._context.store.save()
        return web.json_response(_build_deployments(revision), status=201)

    async def undeploy_revision(self, request: web.Request, caller: Caller) -> web.Response:
        product = self._find_requested(request)
        revision = _find_revision(product, request.query.get("revisionId", ""))
        environments = await _read_environments(request) if request.can_read_body else []
        undeploy(revision, [environment["name"] for environment in environments])
        self._context.store.save()
        return web.json_response(_build_deployments(revision), status=201)

    def _find_requested(self, request: web.Request) -> ProductRecord:
        return self._find(request.match_info["product_id"])


async def _read_environments(request: web.Request) -> list[Document]:
    listed = TypeAdapter(list[_EnvironmentPayload])
    try:
        environments = listed.validate_python(await read_json(request))
    except ValueError as error:
        raise RestError(400, "The body is a list of environments, each with a name") from error
    return [environment.model_dump(by_alias=True) for environment in environments]


def _build_lifecycle_body(product: ProductRecord) -> Document:
    return {
        "state": format_lifecycle_state(product.lifecycle),
        "checkItems": [],
        "availableTransitions": [
            {"event": event, "targetState": format_lifecycle_state(target)}
            for event, target in list_lifecycle_transitions(product.lifecycle).items()
        ],
    }


def _find_revision(product: ProductRecord, revision_id: str) -> Revision:
    for revision in product.revisions:
        if revision.revision_id == revision_id:
            return revision
    raise RestError(404, f"No revision {revision_id} of this API", code=900354)


def _build_revision_body(product: ProductRecord, revision: Revision) -> Document:
    return {
        "displayName": f"Revision {revision.number}",
        "id": revision.revision_id,
        "description": revision.description,
        "createdTime": revision.created_at_ms,
        "apiInfo": {
            "id": product.product_id,
            "name": product.name,
            "version": product.version,
            "provider": product.provider,
        },
        "deploymentInfo": _build_deployments(revision),
    }


def _build_deployments(revision: Revision) -> list[Document]:
    return [
        {"revisionUuid": revision.revision_id, "status": "APPROVED", **environment, "liveGatewayCount": 1}
        for environment in revision.environments
    ]
