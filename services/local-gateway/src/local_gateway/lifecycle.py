"""The states of an API and the actions that lead from one to the next.

Pure. Source: WSO2 API Manager 4.6, default API life cycle.
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
"""States in which an application may subscribe."""


def list_transitions(state: str) -> dict[str, str]:
    """Actions that are possible, with the state to which each leads."""
    return dict(_TRANSITIONS[state])


def find_target_state(state: str, action: str) -> str | None:
    """The state to which an action leads, None where it is not possible."""
    return _TRANSITIONS[state].get(action)


def format_state(state: str) -> str:
    """The state as the REST API writes it.

    >>> displayed("PUBLISHED")
    'Published'
    """
    return state.capitalize()
