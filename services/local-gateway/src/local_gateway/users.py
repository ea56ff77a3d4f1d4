"""Users, passwords, roles, and the scopes that an access token gets by them.

The administrator's password comes from deployment.toml and is never stored.
Source: WSO2 API Manager 4.6, resident key manager (RoleBasedScopesIssuer) and tenant-conf.json.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from local_gateway.state import GatewayState, User

EVERYONE = "Internal/everyone"
SHIPPED_ROLES = frozenset(
    {
        "admin",
        EVERYONE,
        "Internal/publisher",
        "Internal/creator",
        "Internal/subscriber",
        "Internal/devops",
        "Internal/observer",
        "Internal/integration_dev",
    }
)
"""Roles that exist from the first start. Source: WSO2 API Manager 4.6, tenant-conf.json, DefaultRoles."""

# Far below the cost for an internet-facing user store: this one holds disposable users on one machine, and the hash is
# computed in the event loop that also forwards the calls.
_SCRYPT_COST = 2**11


class UserStore:
    """Looks up users: the administrator in the configuration, all others in the state."""

    def __init__(self, state: GatewayState, admin_name: str, admin_password: str) -> None:
        self._state = state
        self._admin_name = admin_name
        self._admin_password = admin_password

    @property
    def admin_name(self) -> str:
        return self._admin_name

    def exists(self, name: str) -> bool:
        """Return whether there is such a user."""
        return name == self._admin_name or name in self._state.users

    def verify(self, name: str, password: str) -> bool:
        """Return whether the password is the user's."""
        if name == self._admin_name:
            return hmac.compare_digest(password.encode(), self._admin_password.encode())
        user = self._state.users.get(name)
        if user is None:
            return False
        salt, _, expected = user.password.partition("$")
        return hmac.compare_digest(_scrypt(password, base64.b64decode(salt)), base64.b64decode(expected))

    def get_roles(self, name: str) -> frozenset[str]:
        """Return the roles of a user in lower case, because WSO2 compares them so; empty for an unknown user.

        The administrator has WSO2's default roles, but no role that was added later.
        """
        if name == self._admin_name:
            return frozenset(role.lower() for role in SHIPPED_ROLES)
        user = self._state.users.get(name)
        return frozenset() if user is None else frozenset(role.lower() for role in (EVERYONE, *user.roles))

    def list_roles(self, name: str) -> list[str]:
        """Return the roles of a user as written."""
        if name == self._admin_name:
            return sorted(SHIPPED_ROLES)
        user = self._state.users.get(name)
        return [] if user is None else sorted({EVERYONE, *user.roles})

    def role_exists(self, name: str) -> bool:
        """Return whether there is such a role, ignoring case."""
        return name.lower() in {role.lower() for role in (*SHIPPED_ROLES, *self._state.roles)}

    def remove_role(self, role: str) -> None:
        """Delete an added role and remove it from all users."""
        self._state.roles.discard(role)
        for user in self._state.users.values():
            user.roles = [user_role for user_role in user.roles if user_role != role]

    def add(self, name: str, password: str, roles: Iterable[str]) -> None:
        """Add a user, or replace the user of that name."""
        self._state.users[name] = User(name=name, password=_hash_password(password), roles=sorted(set(roles)))

    def remove(self, name: str) -> None:
        """Delete a user; the user's applications stay."""
        del self._state.users[name]

    def change_password(self, name: str, password: str) -> None:
        """Set a user's password."""
        self._state.users[name].password = _hash_password(password)

    def change_roles(self, name: str, removed: Iterable[str], added: Iterable[str]) -> None:
        """Remove roles from a user and add others."""
        user = self._state.users[name]
        user.roles = sorted((set(user.roles) - set(removed)) | (set(added) - {EVERYONE}))


def _hash_password(password: str) -> str:
    salt = os.urandom(16)
    return f"{base64.b64encode(salt).decode()}${base64.b64encode(_scrypt(password, salt)).decode()}"


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT_COST, r=8, p=1)


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
