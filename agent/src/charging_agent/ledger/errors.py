"""What the ledger says when it cannot do its work."""

import sqlite3

from ev_service.errors import EvError


class LedgerUnavailableError(EvError):
    """The ledger cannot be written or read now."""

    code = "ledger_unavailable"
    http_status = 503


class LedgerDamagedError(LedgerUnavailableError):
    """What is on the disk is no database, or a broken one. It stays so until somebody acts."""

    code = "ledger_damaged"


class LedgerBusyError(LedgerUnavailableError):
    """As many readers as are admitted at a time are reading or waiting already."""

    code = "ledger_busy"
    retry_after_s = 1


class UnknownDecisionError(EvError):
    """No record holds a decision of this name."""

    code = "unknown_decision"
    http_status = 404


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite says that the database is damaged or none.

    Its subclasses are troubles of the disk, the lock or the statement, which may pass.
    """
    return type(error) is sqlite3.DatabaseError


def describe_damage(place: str, words: str) -> str:
    """Say what to do about a damaged ledger; the agent never replaces it.

    Args:
        place: the database.
        words: what was found.
    """
    return (
        f"{place} is damaged ({words}). Nothing was changed in it since that was found, and no power is granted "
        "without a record. Stop the agent, move the file with its -wal and -shm to another folder and keep them, and "
        "start again: with an empty ledger, or with a copy that scripts/verify.py finds whole (docs/ledger.md, "
        "A damaged ledger)."
    )
