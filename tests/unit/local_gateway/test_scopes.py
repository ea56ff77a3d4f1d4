"""Scopes that are granted to users."""

import re

from hypothesis import given
from hypothesis import strategies as st

from local_gateway.users import DEFAULT_SCOPE, grant_scopes, list_rest_scopes

BINDINGS = {"solar:read": {"internal/reader"}, "open:read": set[str](), "site:operate": {"internal/operator"}}
DEVICE = [re.compile("^device_.*"), re.compile("openid")]


def grant(requested: str, *roles: str, unregistered_granted: bool = False) -> tuple[str, ...]:
    return grant_scopes(
        requested.split(), roles, BINDINGS, always_allowed=DEVICE, grant_unregistered=unregistered_granted
    )


def test_a_bound_scope_needs_one_of_its_roles() -> None:
    assert grant("solar:read", "internal/reader") == ("solar:read",)
    assert grant("solar:read", "admin") == (DEFAULT_SCOPE,)


def test_a_scope_bound_to_no_role_is_for_everybody() -> None:
    assert grant("open:read") == ("open:read",)


def test_an_unregistered_scope_is_granted_unless_it_is_restricted() -> None:
    assert grant("solar:reader", unregistered_granted=True) == ("solar:reader",)
    assert grant("solar:reader") == (DEFAULT_SCOPE,)


def test_device_scopes_are_granted_in_addition_to_scopes_of_roles() -> None:
    assert grant("site:operate device_bootstrap solar:read", "internal/reader") == ("device_bootstrap", "solar:read")


def test_scopes_of_the_rest_apis_follow_the_roles_that_wso2_gives_them() -> None:
    assert grant("apim:subscribe apim:admin apim:invented", "internal/subscriber") == ("apim:subscribe",)
    assert "apim:admin" in list_rest_scopes(["admin"])
    assert list_rest_scopes(["internal/reader"]) == frozenset()


asked = st.lists(st.sampled_from([*BINDINGS, "device_x", "apim:admin", "unknown"]))


@given(asked, st.sets(st.sampled_from(["internal/reader", "admin"])))
def test_nothing_is_granted_that_was_not_asked_for(requested: list[str], roles: set[str]) -> None:
    given_scopes = grant(" ".join(requested), *roles)

    assert given_scopes == (DEFAULT_SCOPE,) or set(given_scopes) <= set(requested)
    assert "site:operate" not in given_scopes
