"""One fact in a row: what it needs, what is expected, what was observed.

Knows nothing of WSO2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ev_service.errors import EvError


class RowState(StrEnum):
    """How a row ended."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_TRIED = "not tried"


class RowSkippedError(Exception):
    """What a row needs is not there; the message says what."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a row saw; `measured` is told beside and compared with nothing."""

    text: str
    measured: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact, and how to look at it.

    needs: what must be there for it to be seen.
    """

    name: str
    needs: str
    expected: str
    observe: Callable[[], Observation]


@dataclass(frozen=True, slots=True)
class RowResult:
    """One fact, looked at."""

    name: str
    needs: str
    expected: str
    observed: str
    measured: str
    state: RowState


def check_row(row: Row) -> RowResult:
    """Look at one fact; whatever goes wrong meanwhile is a difference and not the end of the others."""
    try:
        seen = row.observe()
    except RowSkippedError as missing:
        seen, state = Observation(str(missing)), RowState.NOT_TRIED
    except EvError as error:
        seen, state = Observation(f"failed: {error.message}"), RowState.DIFFERS
    except Exception as error:
        # An answer of a shape that nobody thought of. Only its kind is told: the text may hold what was answered.
        seen, state = Observation(f"failed: {type(error).__name__}"), RowState.DIFFERS
    else:
        state = RowState.HOLDS if seen.text == row.expected else RowState.DIFFERS
    return RowResult(row.name, row.needs, row.expected, seen.text, seen.measured, state)
