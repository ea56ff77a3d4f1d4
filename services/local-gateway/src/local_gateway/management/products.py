"""Operations that APIs and MCP servers share: names, policies, scopes, revisions, deployment and search.

Source: WSO2 API Manager 4.6 (an MCP server is an API object of type MCP; ImportUtils, ExceptionCodes; `query` of GET
/apis in publisher-api.yaml).
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
"""Limit of WSO2's tenant-conf.json, `ApiMaxRevisionCount`."""


def find_product(state: GatewayState, product_id: str) -> ProductRecord | None:
    """Return the API or MCP server with this id, None if there is none."""
    return state.apis.get(product_id) or state.mcp_servers.get(product_id)


def find_existing(context: ManagementContext, name: str, version: str, versioned_context: str) -> ProductRecord | None:
    """Return the API or MCP server with this name and version, None if there is none.

    Args:
        context: State and clock.
        name: Name in the request.
        version: Version in the request.
        versioned_context: Context with the version.

    Raises:
        RestError: 409, another product has the context.
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
    """Reject unknown policies.

    Args:
        context: State and clock.
        plans: Names of business plans.
        advanced: Names of advanced policies; None for none.

    Raises:
        RestError: 400, 900305.
    """
    if unknown := [plan for plan in plans if find_policy(context, PolicyKind.SUBSCRIPTION, plan) is None]:
        raise RestError(400, f"Specified policy {unknown[0]} is invalid", code=900305)
    for name in sorted({name for name in advanced if name}):
        if find_policy(context, PolicyKind.ADVANCED, name) is None:
            raise RestError(400, f"Specified API level policy {name} is invalid", code=900305)


def check_scopes(context: ManagementContext, scopes: Iterable[ApiScope], owner: ProductRecord | None) -> None:
    """Reject scopes that another product registers, and unknown roles.

    Args:
        context: State and clock.
        scopes: Scopes to register; several products can register the same shared scope.
        owner: The product that registers them, None if it is new.

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
    """Reject an unknown gateway environment.

    Raises:
        RestError: 404, 900506.
    """
    if name != ENVIRONMENT:
        raise RestError(404, f"Gateway environment {name} was not found", code=900506)


def check_revision_limit(product: ProductRecord) -> None:
    """Reject a further revision if the limit is reached.

    Raises:
        RestError: 400, 900351.
    """
    if len(product.revisions) >= MAX_REVISIONS:
        raise RestError(400, f"Maximum number of revisions per API has reached: {MAX_REVISIONS}", code=900351)


def create_revision(
    context: ManagementContext, product: ProductRecord, description: str, *, rotate_revision: bool = False
) -> Revision:
    """Create a revision of the working copy.

    Args:
        context: State and clock.
        product: The API or MCP server.
        description: Description of the revision.
        rotate_revision: At the limit, delete the oldest revision instead of failing.

    Raises:
        RestError: 400, the limit is reached.
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
    """Deploy a revision; it replaces the revision that an environment served before.

    Raises:
        RestError: 404, unknown environment.
    """
    for environment in environments:
        name = environment.get("name")
        check_environment(name)
        for other in product.revisions:
            other.environments = [served for served in other.environments if served["name"] != name]
        revision.environments.append(environment)


def undeploy(revision: Revision, names: Iterable[str]) -> None:
    """Remove a revision from environments; from all of them if no name is given."""
    removed = set(names) or {environment["name"] for environment in revision.environments}
    revision.environments = [served for served in revision.environments if served["name"] not in removed]


def check_no_subscriptions(context: ManagementContext, product: ProductRecord, kind: str) -> None:
    """Reject the deletion of a product with subscriptions.

    Args:
        context: State and clock.
        product: The API or MCP server.
        kind: Its kind in the error message.

    Raises:
        RestError: 409.
    """
    if any(subscription.api_id == product.product_id for subscription in context.state.subscriptions.values()):
        raise RestError.conflict(f"Cannot remove the {kind} as active subscriptions exist.")


def build_product_info(product: ProductRecord) -> Document:
    """Return the fields that the Publisher writes for APIs and MCP servers, in lists and singly."""
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
    """Return the products that match a query: substrings of names and whole versions, ignoring case.

    Only `name:` and `version:` are supported; other words are searched in names.
    """
    parts = dict(part.split(":", 1) for part in query.split() if ":" in part)
    name, version = parts.get("name", "").lower(), parts.get("version", "")
    text = " ".join(part for part in query.split() if ":" not in part).lower()

    def matches(product: P) -> bool:
        found = product.name.lower()
        return name in found and text in found and version in ("", product.version)

    return [product for product in products if matches(product)]
