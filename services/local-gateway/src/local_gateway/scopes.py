"""Decides which scopes an access token gets.

Source: WSO2 API Manager 4.6, resident key manager (RoleBasedScopesIssuer) and tenant-conf.json.
"""

import re
from collections.abc import Collection, Mapping, Sequence

DEFAULT_SCOPE = "default"
"""Scope of a token if none of the requested scopes is granted; the request itself never fails because of scopes."""

_ADMIN = frozenset({"admin"})
_CREATOR, _PUBLISHER = "internal/creator", "internal/publisher"
_SUBSCRIBER, _DEVOPS, _OBSERVER = "internal/subscriber", "internal/devops", "internal/observer"

REST_SCOPES: Mapping[str, frozenset[str]] = {
    "apim:api_create": _ADMIN | {_CREATOR},
    "apim:api_delete": _ADMIN | {_CREATOR},
    "apim:api_publish": _ADMIN | {_PUBLISHER},
    "apim:api_view": _ADMIN | {_CREATOR, _PUBLISHER, _OBSERVER},
    "apim:api_import_export": _ADMIN | {_DEVOPS},
    "apim:mcp_server_create": _ADMIN | {_CREATOR},
    "apim:mcp_server_delete": _ADMIN,
    "apim:mcp_server_publish": _ADMIN | {_PUBLISHER},
    "apim:mcp_server_view": _ADMIN | {_CREATOR, _PUBLISHER, _OBSERVER},
    "apim:mcp_server_list_view": _ADMIN | {_CREATOR, _PUBLISHER, _OBSERVER},
    "apim:mcp_server_import_export": _ADMIN | {_DEVOPS},
    "apim:mcp_server_manage": _ADMIN,
    "apim:app_import_export": _ADMIN | {_DEVOPS},
    "apim:policies_import_export": _ADMIN | {_DEVOPS},
    "apim:api_manage": _ADMIN,
    "apim:admin": _ADMIN,
    "apim:app_owner_change": _ADMIN,
    "apim:tier_manage": _ADMIN,
    "apim:admin_tier_manage": _ADMIN,
    "apim:admin_tier_view": _ADMIN,
    "apim:bl_view": _ADMIN,
    "apim:bl_manage": _ADMIN,
    "apim:shared_scope_manage": _ADMIN,
    "apim:tier_view": _ADMIN | {_PUBLISHER, _CREATOR},
    "apim:subscribe": _ADMIN | {_SUBSCRIBER, _DEVOPS},
    "apim:app_manage": _ADMIN | {_SUBSCRIBER, _DEVOPS},
    "apim:sub_manage": _ADMIN | {_SUBSCRIBER, _DEVOPS},
    "apim:api_key": _ADMIN | {_SUBSCRIBER},
    "apim:subscription_block": _ADMIN | {_PUBLISHER},
    "apim:subscription_manage": _ADMIN | {_PUBLISHER},
    "apim:subscription_view": _ADMIN | {_PUBLISHER, _CREATOR},
}
"""Scopes of the REST APIs and the roles, in lower case, that are granted them."""


def list_rest_scopes(roles: Collection[str]) -> frozenset[str]:
    """Return the scopes of the REST APIs that one of the roles is granted.

    Args:
        roles: Role names in lower case.
    """
    return frozenset(scope for scope, holders in REST_SCOPES.items() if not holders.isdisjoint(roles))


def grant_scopes(
    requested: Sequence[str],
    roles: Collection[str],
    bindings: Mapping[str, Collection[str]],
    *,
    always_allowed: Sequence[re.Pattern[str]],
    grant_unregistered: bool,
) -> tuple[str, ...]:
    """Select the requested scopes that a user with these roles is granted.

    Args:
        requested: The requested scopes.
        roles: The user's roles in lower case; for client credentials those of the application's owner.
        bindings: Roles, in lower case, by registered scope; a scope without roles is granted to every user.
        always_allowed: Patterns of scopes that every user is granted, `[oauth] allowed_scopes`.
        grant_unregistered: Grant scopes that no API registers to every user, as WSO2 does unless the system property
            `restrict.unassigned.scopes` is set.

    Returns:
        The granted scopes in the order of the request, or `default` alone.
    """
    user_roles = frozenset(roles)

    def is_granted(scope: str) -> bool:
        if any(pattern.search(scope) for pattern in always_allowed):
            return True
        if scope.startswith("apim:"):
            return not REST_SCOPES.get(scope, frozenset()).isdisjoint(user_roles)
        if scope not in bindings:
            return grant_unregistered
        return not bindings[scope] or not user_roles.isdisjoint(bindings[scope])

    return tuple(scope for scope in dict.fromkeys(requested) if is_granted(scope)) or (DEFAULT_SCOPE,)
