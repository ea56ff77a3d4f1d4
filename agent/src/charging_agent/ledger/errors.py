"""What the ledger says when it can not do its work."""

from ev_service.errors import EvError


class LedgerUnavailable(EvError):
    """The ledger can not be written or read now."""

    code = "ledger_unavailable"
    http_status = 503


class LedgerDamaged(LedgerUnavailable):
    """What stands on the disk is no database, or a broken one."""


class UnknownDecision(EvError):
    """No record holds a decision of this name."""

    code = "unknown_decision"
    http_status = 404


def damaged(place: str, words: str) -> str:
    """Say what to do about a damaged ledger; it is never replaced by itself."""
    return (
        f"{place} is damaged ({words}). Nothing was changed. Keep it, with the -wal and -shm files beside it, for "
        "inquiry: move them to another folder and start again with an empty ledger, or put back a copy that "
        "scripts/verify.py finds whole."
    )
