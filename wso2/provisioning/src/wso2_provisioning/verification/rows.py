"""One fact in a row: what it needs, what is expected, what was observed.

Knows nothing of WSO2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ev_service.errors import EvError


class State(StrEnum):
    """How a row ended."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_TRIED = "not tried"


class NotTried(Exception):
    """What a row needs is not there; the message says what."""


@dataclass(frozen=True, slots=True)
class Seen:
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
    observe: Callable[[], Seen]


@dataclass(frozen=True, slots=True)
class Result:
    """One fact, looked at."""

    name: str
    needs: str
    expected: str
    observed: str
    measured: str
    state: State


def look(row: Row) -> Result:
    """Look at one fact; whatever goes wrong meanwhile is a difference and not the end of the others."""
    try:
        seen = row.observe()
    except NotTried as missing:
        seen, state = Seen(str(missing)), State.NOT_TRIED
    except EvError as error:
        seen, state = Seen(f"failed: {error.message}"), State.DIFFERS
    except Exception as error:
        # An answer of a shape that nobody thought of. Only its kind is told: the text may hold what was answered.
        seen, state = Seen(f"failed: {type(error).__name__}"), State.DIFFERS
    else:
        state = State.HOLDS if seen.text == row.expected else State.DIFFERS
    return Result(row.name, row.needs, row.expected, seen.text, seen.measured, state)
