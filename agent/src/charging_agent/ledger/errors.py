"""What the ledger says when it can not do its work."""

from ev_service.errors import EvError


class LedgerUnavailable(EvError):
    """The ledger can not be written or read now."""

    code = "ledger_unavailable"
    http_status = 503


class UnknownDecision(EvError):
    """No record holds a decision of this name."""

    code = "unknown_decision"
    http_status = 404
