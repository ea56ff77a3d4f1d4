"""Canonical JSON is RFC 8785's, whichever way it is written."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.ledger.canonical import canonicalize, join_canonical_members

NUMBERS = st.integers(-(2**54), 2**54) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_what_the_library_writes(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        with pytest.raises(ValueError, match="no canonical form"):
            canonicalize(value)
    else:
        assert canonicalize(value) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {1: 2}, {"a": object()}, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (half a surrogate pair has an error of its own, which is one too)
        canonicalize(value)


@given(st.dictionaries(st.text("abcdef_", min_size=1), VALUES.filter(lambda value: not isinstance(value, int))))
def test_an_object_of_canonical_members_is_canonical(members: dict[str, Any]) -> None:
    try:
        parts = {name: canonicalize(value) for name, value in members.items()}
    except ValueError:
        return

    assert join_canonical_members(parts) == canonicalize(members)
