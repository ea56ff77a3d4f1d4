"""What APIs and MCP servers have in common: names, contexts, plans, scopes, revisions and where these are deployed.

Works on the state alone and knows no HTTP; refuses with the codes that WSO2's Publisher uses.
Source: WSO2 API Manager 4.6 (an MCP server is an API object of type MCP; ImportUtils, ExceptionCodes).
"""

import uuid
from collections.abc import Iterable
from typing import TypeVar

from local_gateway.management.rest import ManagementContext, RestError
from local_gateway.management.throttling import find_policy
from local_gateway.state import ApiRecord, Document, GatewayState, ProductRecord, Revision
from wso2_terms.api_project import ApiScope
from wso2_terms.policies import PolicyKind

ENVIRONMENT = "Default"
MAX_REVISIONS = 5
"""Cap of WSO2's tenant-conf.json, `ApiMaxRevisionCount`."""


def find_product(state: GatewayState, product_id: str) -> ProductRecord | None:
    """The API or MCP server of this id, which is what subscriptions name."""
    return state.apis.get(product_id) or state.mcp_servers.get(product_id)


def find_existing(context: ManagementContext, name: str, version: str, versioned_context: str) -> ProductRecord | None:
    """The API or MCP server that has this name and version.

    Args:
        context: state and clock.
        name: as published.
        version: as published.
        versioned_context: with the version; nobody else may have it.

    Raises:
        RestError: 409, the context is taken by another product.
    """
    everything = context.state.products()
    found = next((product for product in everything if (product.name, product.version) == (name, version)), None)
    for other in everything:
        if other is not found and other.context == versioned_context:
            raise RestError.conflict(
                f"Context {versioned_context.removesuffix(f'/{version}')} is taken by {other.name}", 900251
            )
    return found


def check_policies(context: ManagementContext, plans: Iterable[str], advanced: Iterable[str | None]) -> None:
    """Refuse policies that are not there.

    Args:
        context: state and clock.
        plans: business plans that may be subscribed with.
        advanced: policies of the whole and of its operations; None follows none.

    Raises:
        RestError: 400, 900305.
    """
    if unknown := [plan for plan in plans if find_policy(context, PolicyKind.SUBSCRIPTION, plan) is None]:
        raise RestError(400, f"Specified policy {unknown[0]} is invalid", code=900305)
    for name in sorted({name for name in advanced if name}):
        if find_policy(context, PolicyKind.ADVANCED, name) is None:
            raise RestError(400, f"Specified API level policy {name} is invalid", code=900305)


def check_scopes(context: ManagementContext, scopes: Iterable[ApiScope], owner: ProductRecord | None) -> None:
    """Refuse scopes that another API or MCP server registers, and roles that are not there.

    Args:
        context: state and clock.
        scopes: what is to be registered; a shared product may be so by several.
        owner: who registers them, None when it is new.

    Raises:
        RestError: 400.
    """
    taken = {
        listed["scope"]["name"]
        for other in context.state.products()
        if other is not owner
        for listed in other.data.get("scopes", [])
        if not listed.get("shared")
    }
    for listed in scopes:
        if not listed.shared and listed.scope.name in taken:
            raise RestError(400, f"Scope {listed.scope.name} is already assigned locally by another API")
        for role in listed.scope.bindings:
            if not context.users.role_exists(role):
                raise RestError(400, f"Role '{role}' does not exist.")


def check_environment(name: str | None) -> None:
    """Refuse a gateway environment that is not there.

    Raises:
        RestError: 404, 900506.
    """
    if name != ENVIRONMENT:
        raise RestError(404, f"Gateway environment {name} was not found", code=900506)


def check_revision_limit(product: ProductRecord) -> None:
    """Refuse one revision more than there may be.

    Raises:
        RestError: 400, 900351.
    """
    if len(product.revisions) >= MAX_REVISIONS:
        raise RestError(400, f"Maximum number of revisions per API has reached: {MAX_REVISIONS}", code=900351)


def create_revision(
    context: ManagementContext, product: ProductRecord, description: str, *, rotate_revision: bool = False
) -> Revision:
    """Freeze the working copy.

    Args:
        context: state and clock.
        product: what is frozen.
        description: in the words of whoever asks for it.
        rotate_revision: at the cap, drop the oldest revision instead of failing.

    Raises:
        RestError: 400, the cap is reached and nothing may be dropped.
    """
    if len(product.revisions) >= MAX_REVISIONS:
        if not rotate_revision:
            check_revision_limit(product)
        product.revisions.pop(0)
    product.revisions_made += 1
    revision = Revision(
        revision_id=str(uuid.uuid4()),
        number=product.revisions_made,
        description=description,
        created_at_ms=context.now_ms(),
        data=product.data,
        definition=product.definition if isinstance(product, ApiRecord) else {},
    )
    product.revisions.append(revision)
    return revision


def deploy(product: ProductRecord, revision: Revision, environments: Iterable[Document]) -> None:
    """Let the gateway serve a revision; it takes the place of the one that an environment served before.

    Raises:
        RestError: 404, no such environment.
    """
    for environment in environments:
        name = environment.get("name")
        check_environment(name)
        for other in product.revisions:
            other.environments = [served for served in other.environments if served["name"] != name]
        revision.environments.append(environment)


def undeploy(revision: Revision, names: Iterable[str]) -> None:
    """Take a revision from environments; no name stands for all of them."""
    removed = set(names) or {environment["name"] for environment in revision.environments}
    revision.environments = [served for served in revision.environments if served["name"] not in removed]


def check_no_subscriptions(context: ManagementContext, product: ProductRecord, kind: str) -> None:
    """Refuse to delete what somebody is subscribed to.

    Args:
        context: state and clock.
        product: what is to go.
        kind: what it is called.

    Raises:
        RestError: 409.
    """
    if any(subscription.api_id == product.product_id for subscription in context.state.subscriptions.values()):
        raise RestError.conflict(f"Cannot remove the {kind} as active subscriptions exist.")


def build_product_info(product: ProductRecord) -> Document:
    """What the Publisher tells of an API and of an MCP server alike, in lists and by itself."""
    return {
        "id": product.product_id,
        "name": product.name,
        "description": product.data.get("description"),
        "context": product.data["context"],
        "version": product.version,
        "provider": product.provider,
        "lifeCycleStatus": product.lifecycle,
        "gatewayVendor": "wso2",
        "gatewayType": "wso2/synapse",
        "createdTime": str(product.created_at_ms),
    }


P = TypeVar("P", bound=ProductRecord)


def search_products(products: Iterable[P], query: str) -> list[P]:
    """Return what a query matches: parts of names, whole versions, in whatever case."""
    parts = dict(part.split(":", 1) for part in query.split() if ":" in part)
    name, version = parts.get("name", "").lower(), parts.get("version", "")
    text = " ".join(part for part in query.split() if ":" not in part).lower()

    def matches(product: P) -> bool:
        found = product.name.lower()
        return name in found and text in found and version in ("", product.version)

    return [product for product in products if matches(product)]
