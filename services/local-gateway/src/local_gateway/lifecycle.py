"""Life cycle states of APIs and MCP servers and the actions between them.

Source: WSO2 API Manager 4.6, default API life cycle.
"""

from collections.abc import Mapping

CREATED, PUBLISHED, BLOCKED, RETIRED = "CREATED", "PUBLISHED", "BLOCKED", "RETIRED"
PROTOTYPED, DEPRECATED = "PROTOTYPED", "DEPRECATED"

_TRANSITIONS: Mapping[str, Mapping[str, str]] = {
    CREATED: {"Publish": PUBLISHED, "Deploy as a Prototype": PROTOTYPED},
    PROTOTYPED: {"Publish": PUBLISHED, "Demote to Created": CREATED},
    PUBLISHED: {
        "Block": BLOCKED,
        "Demote to Created": CREATED,
        "Deploy as a Prototype": PROTOTYPED,
        "Deprecate": DEPRECATED,
    },
    BLOCKED: {"Re-Publish": PUBLISHED, "Deprecate": DEPRECATED},
    DEPRECATED: {"Retire": RETIRED},
    RETIRED: {},
}

SUBSCRIBABLE = frozenset({PUBLISHED, PROTOTYPED})
"""States in which applications can subscribe."""


def list_transitions(state: str) -> dict[str, str]:
    """Return the possible actions and the state that each leads to."""
    return dict(_TRANSITIONS[state])


def find_target_state(state: str, action: str) -> str | None:
    """Return the state that an action leads to, None if it is not possible."""
    return _TRANSITIONS[state].get(action)


def format_state(state: str) -> str:
    """Return the state as the REST API writes it.

    >>> format_state("PUBLISHED")
    'Published'
    """
    return state.capitalize()
