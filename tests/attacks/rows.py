"""One attack in a row: what is tried, what must happen, and the function that tries it.

Knows nothing of HTTP and nothing of WSO2.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from wso2_provisioning.verification.rows import Observation, RowSkippedError, RowState, observe_and_compare

if TYPE_CHECKING:
    from tests.attacks.attack_run import AttackRun

__all__ = ["Attack", "Group", "Observation", "Result", "Row", "RowSkippedError", "RowState", "carry_out", "select_rows"]


class Group(StrEnum):
    """What a row is about; `--only` takes these as well as ids."""

    BASELINE = "baseline"
    TOKENS = "tokens"
    TOKEN_ENDPOINT = "token-endpoint"
    RIGHTS = "rights"
    STOPS = "stops"
    KILL = "kill"
    LIMITS = "limits"
    ROUTING = "routing"
    FRAMING = "framing"
    ASSERTIONS = "assertions"
    TRANSPORT = "transport"
    MCP = "mcp"
    AGENT = "agent"
    CHARGERS = "chargers"
    POLICY = "policy"
    LEAKS = "leaks"


Attack = Callable[["AttackRun"], Observation]


@dataclass(frozen=True, slots=True)
class Row:
    """One attack.

    row_id: never changes; begins with what it is about. title: what is tried. expected: what may be observed, the
    first as a rule the only one. attack: tries it.
    """

    row_id: str
    group: Group
    title: str
    expected: tuple[str, ...]
    attack: Attack


@dataclass(frozen=True, slots=True)
class Result:
    """One attack, tried. took_s: how long it took [s]."""

    row_id: str
    group: str
    title: str
    expected: str
    observed: str
    measured: str
    state: RowState
    took_s: float


def carry_out(row: Row, run: "AttackRun") -> Result:
    """Try one attack; an error is a difference in this row and does not end the others."""
    started_s = time.monotonic()
    seen, state = observe_and_compare(lambda: row.attack(run), row.expected)
    took_s = time.monotonic() - started_s
    expected = " or ".join(row.expected)
    return Result(row.row_id, row.group, row.title, expected, seen.text, seen.measured, state, took_s)


def select_rows(rows: Iterable[Row], only: Iterable[str]) -> Iterator[Row]:
    """Return the rows whose id or group is named; all of them where nothing is named.

    Raises:
        ValueError: a name is neither an id nor a group.
    """
    listed, wanted = list(rows), set(only)
    known = {row.row_id for row in listed} | {str(row.group) for row in listed}
    if unknown := wanted - known:
        raise ValueError(f"neither a row nor a group: {', '.join(sorted(unknown))}")
    return (row for row in listed if not wanted or {row.row_id, str(row.group)} & wanted)
