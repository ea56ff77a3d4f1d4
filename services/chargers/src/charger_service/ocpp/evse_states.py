"""What an EVSE of OCPP 2.0.1 does, put together from its connectors and its transaction.

A connector only says that something is plugged in; whether it charges is said by the transaction, whose events
may arrive late and in any order.
"""

from dataclasses import dataclass
from datetime import datetime

from ev_service.charging import EvseState

_CONNECTORS = {
    "Available": EvseState.AVAILABLE,
    "Occupied": EvseState.OCCUPIED,
    "Reserved": EvseState.RESERVED,
    "Unavailable": EvseState.UNAVAILABLE,
    "Faulted": EvseState.FAULTED,
}
TRANSACTION_STATES = {
    "Charging": EvseState.CHARGING,
    "EVConnected": EvseState.OCCUPIED,
    "SuspendedEV": EvseState.SUSPENDED_EV,
    "SuspendedEVSE": EvseState.SUSPENDED_EVSE,
    "Idle": EvseState.OCCUPIED,
}
"""What an EVSE does by the charging state of its transaction."""
# An EVSE serves one car: one connector in use says more than another that is free.
_RANKS = (
    EvseState.OCCUPIED,
    EvseState.RESERVED,
    EvseState.AVAILABLE,
    EvseState.UNAVAILABLE,
    EvseState.FAULTED,
)
_NOBODY_THERE = "Idle"
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a transaction: its number in the transaction, when it happened, and whether it is the last."""

    transaction_id: str
    seq_no: int
    at: datetime
    is_end: bool


class EvseStates:
    """The newest that was said of each EVSE."""

    def __init__(self) -> None:
        self._connectors: dict[int, dict[int, EvseState]] = {}
        self._charging: dict[int, str] = {}
        self._newest: dict[int, Event] = {}
        self._said: dict[str, str] = {}

    def evse_of(self, transaction_id: str) -> int | None:
        """The EVSE of a transaction; None where none was named."""
        return next((evse for evse, event in self._newest.items() if event.transaction_id == transaction_id), None)

    def is_newest(self, evse_id: int, event: Event) -> bool:
        """Whether nothing newer was said of the EVSE: by number within one transaction, else by time."""
        newest = self._newest.get(evse_id)
        if newest is None:
            return True
        if newest.transaction_id == event.transaction_id:
            return event.seq_no >= newest.seq_no
        return event.at >= newest.at

    def is_over(self, evse_id: int, event: Event) -> bool:
        """Whether the event's transaction is known to have ended, or to have been followed by another."""
        newest = self._newest.get(evse_id)
        if newest is None:
            return False
        return newest.is_end if newest.transaction_id == event.transaction_id else newest.at > event.at

    def connector(self, evse_id: int, connector_id: int, status: str) -> EvseState:
        """Take a connector's status; returns what the EVSE does now."""
        connectors = self._connectors.setdefault(evse_id, {})
        connectors[connector_id] = _CONNECTORS[status]
        is_free = status == "Available" and EvseState.OCCUPIED not in connectors.values()
        # The car left and the end of its transaction was not heard; one that is only authorized still waits for a car.
        if is_free and self._charging.get(evse_id) != _NOBODY_THERE:
            self._charging.pop(evse_id, None)
        return self.of(evse_id)

    def note(self, event: Event, charging_state: str | None) -> None:
        """Remember an event's charging state, which later events repeat only where it changes."""
        if charging_state is not None:
            self._said.pop(event.transaction_id, None)
            self._said[event.transaction_id] = charging_state
            if len(self._said) > _REMEMBERED:
                del self._said[next(iter(self._said))]

    def transaction(self, evse_id: int, event: Event) -> EvseState:
        """Take the newest event of the transaction that runs; returns what the EVSE does now."""
        self._newest[evse_id] = event
        if event.is_end:
            self._charging.pop(evse_id, None)
        elif (charging_state := self._said.get(event.transaction_id)) is not None:
            self._charging[evse_id] = charging_state
        return self.of(evse_id)

    def of(self, evse_id: int) -> EvseState:
        """What the EVSE does; unknown where nothing was said."""
        connectors = self._connectors.get(evse_id, {}).values()
        charging = self._charging.get(evse_id)
        if charging is not None and EvseState.FAULTED not in connectors:
            return TRANSACTION_STATES[charging]
        return next((state for state in _RANKS if state in connectors), EvseState.UNKNOWN)
