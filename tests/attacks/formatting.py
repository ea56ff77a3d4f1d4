"""Formats responses as text that can be compared with the expected one."""

from collections.abc import Iterable

from tests.attacks.rows import Attack, Group, Observation, Row

from wso2_provisioning.verification.formatting import describe_access, format_status
from wso2_terms.codes import Fault

__all__ = ["describe_access", "fault", "format_status", "refusals", "summarize", "table"]


def fault(expected: Fault) -> str:
    """How an answer is told that is this fault.

    >>> from wso2_terms.codes import NOT_SUBSCRIBED
    >>> fault(NOT_SUBSCRIBED)
    '403 900908'
    """
    return f"{expected.http_status} {expected.code}"


def summarize(told: Iterable[str]) -> str:
    """Say once what several answers have in common, else each.

    >>> summed_up(["401 900901", "401 900901"])
    '401 900901 each'
    >>> summed_up(["401 900901", "200 no code"])
    '401 900901; 200 no code'
    """
    listed = list(told)
    return f"{listed[0]} each" if len(set(listed)) == 1 and len(listed) > 1 else "; ".join(listed)


def refusals(statuses: Iterable[int]) -> Observation:
    """Tell whether each of some spellings was refused; 0 stands for a connection that was closed."""
    listed = list(statuses)
    is_refused = all(status == 0 or 400 <= status < 500 for status in listed)
    measured = " ".join(str(status) if status else "closed" for status in listed)
    return (
        Observation("refused" if len(listed) == 1 else "refused each", measured)
        if is_refused
        else Observation(f"let through: {measured}")
    )


def table(group: Group, *listed: tuple[str, str, str | tuple[str, ...], Attack]) -> tuple[Row, ...]:
    """Make rows of one group.

    Args:
        group: theirs.
        listed: id without the group, title, what may be observed, the attack.
    """
    return tuple(
        Row(f"{group}-{name}", group, title, (expected,) if isinstance(expected, str) else expected, attack)
        for name, title, expected, attack in listed
    )
