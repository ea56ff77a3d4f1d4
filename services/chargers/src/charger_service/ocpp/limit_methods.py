"""How a charger takes limits: tried in order, each once, and kept to once it is accepted.

Chargers that refuse a TxProfile, or take watts only, are limited by other charging profiles.

A method that was accepted in a transaction is kept to in it, whatever the charger answers later: it may refuse a limit
for a reason of the moment. The one accepted last is tried first in the next transaction; where it is refused there, the
others are tried once, and it stays known until another is accepted. One that never was accepted is given up at its
first refusal, unless the transaction was over by then, for which a TxProfile is refused rightly. Where all are refused,
they are tried again with the next transaction, and meanwhile the first one alone is asked for.

Source: OCPP 1.6 edition 2, section 3.13; OCPP 2.0.1 edition 3, part 2, K01.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from charger_service.ocpp.profiles import FALLBACK_LEVEL, LIMIT_LEVEL
from charger_service.ports import ChargerCapabilities, ChargerModel, KnownMethod, LimitMethod, LimitPurpose, RateUnit

_Value = TypeVar("_Value")
_REMEMBERED_TRANSACTIONS = 64
_DELIVERY = timedelta(minutes=1)
"""How long a message takes at most that the charger sends when it happens, with retries."""


def possible_methods(
    abilities: ChargerCapabilities, evses: int, first: LimitPurpose | None = None
) -> tuple[LimitMethod, ...]:
    """The methods by which a charger might take limits, in the order in which they are tried.

    Args:
        abilities: what it says that it can do.
        evses: how many EVSEs it has; a limit of the whole charger is one of its EVSE only where there is one.
        first: the purpose with which to begin; None: TxProfile.

    >>> [method.purpose.value for method in possible_methods(ChargerCapabilities(0, takes_watts=False), evses=2)]
    ['TxProfile', 'TxDefaultProfile']
    """
    purposes = [LimitPurpose.TX, LimitPurpose.TX_DEFAULT]
    if evses == 1:
        purposes.append(LimitPurpose.CHARGE_POINT_MAX)
    purposes.sort(key=lambda purpose: purpose is not first)
    units = [RateUnit.AMPERES] if abilities.takes_amperes else []
    if abilities.takes_watts or not units:
        units.append(RateUnit.WATTS)
    level = min(LIMIT_LEVEL, abilities.max_stack_level)
    # A charger may have no other level than the fallback's without saying so.
    levels = (level,) if level == FALLBACK_LEVEL else (level, FALLBACK_LEVEL)
    return tuple(LimitMethod(purpose, level, unit) for unit in units for purpose in purposes for level in levels)


@dataclass(frozen=True, slots=True)
class _Finding:
    """In which transaction a method was found, and when that transaction's first limit was refused."""

    transaction_id: str
    refused_at: datetime


class LimitMethods:
    """What one charger accepted and refused; outlives its connections.

    known: by which limits are sent first; None: by none yet, or it was forgotten.
    last_accepted: the same, also after it was forgotten: the charger may take its fallback in no other way.
    turn: held while a limit is sent, so that a charger with several EVSEs is tried once.

    Args:
        known: what was known of it when the process began.
    """

    def __init__(self, known: KnownMethod | None = None) -> None:
        self.known = known
        self.last_accepted = known and known.method
        self.turn = asyncio.Lock()
        self._make = known and known.make
        self._refused: dict[LimitMethod, _Finding] = {}
        self._finding: _Finding | None = None
        self._accepted_in: dict[str, LimitMethod] = {}
        self._tried_in: deque[str] = deque(maxlen=_REMEMBERED_TRANSACTIONS)
        self._over: deque[str] = deque(maxlen=_REMEMBERED_TRANSACTIONS)
        self._behind_at_beginning: dict[str, timedelta] = {}

    def attempts(
        self, possible: Sequence[LimitMethod], transaction_id: str, first: LimitPurpose | None = None
    ) -> tuple[LimitMethod, ...]:
        """The methods to try for a limit, in order, until one is accepted.

        Args:
            possible: those that the charger might take, at least one.
            transaction_id: the transaction that is to be limited.
            first: the purpose that is known to suit the charger, which is tried before what it accepted; None: none is.
        """
        untried = tuple(method for method in possible if method not in self._refused)
        accepted_here = self._accepted_in.get(transaction_id)
        preferred = (accepted_here, self.known and self.known.method)
        kept = next((method for method in preferred if method is not None and method in possible), None)
        if kept is not None:
            suited = [one for one in untried if one.purpose is first and one.unit is kept.unit]
            others = () if accepted_here is not None or transaction_id in self._tried_in else possible
            return tuple(dict.fromkeys((*([] if kept.purpose is first else suited), kept, *others)))
        if untried:
            return untried
        if transaction_id in self._tried_in:
            return (possible[0],)
        self._refused.clear()
        return tuple(possible)

    def accept(self, method: LimitMethod, transaction_id: str) -> bool:
        """Keep to a method from now on; returns whether another one or none was known before."""
        if self._accepted_in.get(transaction_id) == method:
            return False
        _remember(self._accepted_in, transaction_id, method)
        self._refused.pop(method, None)
        if self.known is not None and self.known.method == method:
            return False
        self.known, self.last_accepted = KnownMethod(method, self._make), method
        findings = tuple(self._refused.values())
        of_transaction = (finding for finding in findings if finding.transaction_id == transaction_id)
        self._finding = next(of_transaction, findings[0] if findings else None)
        return True

    def refuse(self, method: LimitMethod, transaction_id: str, at: datetime) -> None:
        """Give a method up that was not accepted in this transaction."""
        found = self._refused.get(method)
        is_noted = found is not None and found.transaction_id == transaction_id
        if self._accepted_in.get(transaction_id) != method and not is_noted:
            self._refused[method] = _Finding(transaction_id, at)

    def refuse_all(self, transaction_id: str) -> None:
        """Take in that every method that was to be tried in this transaction was refused."""
        if transaction_id not in self._tried_in:
            self._tried_in.append(transaction_id)

    def is_over(self, transaction_id: str) -> bool:
        """Whether the charger told the end of this transaction lately."""
        return transaction_id in self._over

    def begin_transaction(self, transaction_id: str, behind: timedelta) -> None:
        """Take in the beginning of a transaction, and by how much its time was before the message came."""
        earlier = self._behind_at_beginning.get(transaction_id, behind)
        _remember(self._behind_at_beginning, transaction_id, min(earlier, behind))

    def end_transaction(self, transaction_id: str, ended_at: datetime, heard_at: datetime) -> bool:
        """Take in the end of a transaction.

        Args:
            transaction_id: which one.
            ended_at: when that was, by the charger's clock.
            heard_at: when it said so.

        Returns:
            Whether the method in use is forgotten: what it was preferred to was refused because of that end.
        """
        self._over.append(transaction_id)
        finding = self._finding
        if finding is None or finding.transaction_id != transaction_id:
            return False
        behind = self._behind_at_beginning.get(transaction_id, timedelta())
        # Where that is later than the message, the beginning was kept back, or the clock was set meanwhile.
        if ended_at + behind > heard_at + _DELIVERY:
            behind = timedelta()
        return ended_at + behind < finding.refused_at and self._forget()

    def boot(self, make: ChargerModel) -> bool:
        """Take in what the charger is; one of another make or firmware is tried anew.

        Returns:
            Whether the method in use is forgotten.
        """
        if self._make in (None, make):
            self._make = make
            return False
        self._make = make
        return self._forget()

    def _forget(self) -> bool:
        was_known = self.known is not None
        self.known = self._finding = None
        self._refused.clear()
        self._accepted_in.clear()
        self._tried_in.clear()
        return was_known


def _remember(of_transactions: dict[str, _Value], transaction_id: str, value: _Value) -> None:
    of_transactions[transaction_id] = value
    if len(of_transactions) > _REMEMBERED_TRANSACTIONS:
        del of_transactions[next(iter(of_transactions))]
