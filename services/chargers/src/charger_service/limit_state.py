"""The limits ordered for one EVSE, the charger's replies to them, and the most that the EVSE may draw under both."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from charger_service.envelope import NOTHING, Currents, EvseWiring, max_currents
from charger_service.evse_facts import EvseFacts
from charger_service.metering import DRAWS_FROM_A, Meter
from charger_service.ports import CommandStatus, LimitMethod, RateUnit, Reply
from ev_service.charging import EvseState
from ev_service.lifetimes import EarlierEnd

SETTLES_S = 10.0
"""How long a car may take to follow a limit that its charger confirmed [s]: twice the 5 s of IEC 61851-1."""
PROTECTION = "protection"
"""`limited_by` of what protection lowered."""
_CHARGES_FROM_A = 5.0
"""From here on a car charges on each phase that it can use [A per phase]: the least current, less what it leaves."""
_TOLERANCE_A = 1.0
_TOLERANCE = 0.05


class Cause(StrEnum):
    """Who ordered a limit."""

    AGENT = "agent"
    OVERRIDE = "override"
    FALLBACK = "fallback"


# Compared by identity: the same limit ordered again is another order, with an answer of its own.
@dataclass(frozen=True, slots=True, eq=False)
class LimitOrder:
    """One limit for one EVSE."""

    limit_a: float
    """Limit per phase [A]."""
    lifetime: EarlierEnd
    """When the limit lapses."""
    cause: Cause
    phases: int | None = None
    """Number of phases to charge on; None: as wired."""
    limited_by: str | None = None
    """What made the limit lower than requested; None: nothing."""

    @property
    def valid_until(self) -> datetime:
        """When it lapses by the wall clock, as it was ordered, UTC."""
        return self.lifetime.ends_at


@dataclass(frozen=True, slots=True)
class ReplacedLimit:
    """A limit that a newer one replaced, and that the car may still follow for a while."""

    order: LimitOrder | None
    """The replaced order; None: the limit that was in force is not known."""
    until_s: float
    """Monotonic time until which the car may follow it [s]."""


@dataclass(slots=True)
class EvseLimitState:
    """The limits ordered for one EVSE, and what its charger replied."""

    fallback_a: float = 0.0
    """The limit per phase that applies when no order is in force [A]."""
    fallback_held_a: float | None = None
    """The default profile that the charger holds [A per phase]; None: not known."""
    fallback_doubtful_a: float = 0.0
    """A default that the charger may still hold after a boot, or took without an answer [A per phase]."""
    fallback_reply: Reply | None = None
    """The charger's reply to the newest default profile; None: none yet."""
    granted: LimitOrder | None = None
    """An order that becomes `wanted` once it is persisted."""
    wanted: LimitOrder | None = None
    """The newest order."""
    is_due: bool = False
    """Whether `wanted` is still to be sent."""
    sent: LimitOrder | None = None
    """The order that was sent and has no reply yet."""
    answered: LimitOrder | None = None
    """The newest order that has a reply."""
    reply: Reply | None = None
    """The charger's reply to `answered`."""
    confirmed: LimitOrder | None = None
    """The newest order that the charger accepted."""
    replaced: tuple[ReplacedLimit, ...] = ()
    """Limits that were replaced within the last `SETTLES_S`."""
    asked_at_s: float | None = None
    """Monotonic time at which an order was last sent [s]."""
    doubtful_a: float = 0.0
    """Limit that may be in force because its reply is missing or went to an earlier process [A per phase]."""
    method: LimitMethod | None = None
    """How the limits were sent that are, or may be, in force; None: none was sent yet."""
    lingering_a: float | None = None
    """Limit of an ended session that the charger may still hold [A per phase]; None: there is none."""
    phases_in_use: int | None = None
    """Number of phases on which the car draws; None: not known."""
    is_unknown: bool = True
    """Whether no limit is known, so that the EVSE may draw up to its rating."""
    is_overdrawing: bool = False
    """Whether the car draws more than any limit that may be in force."""

    @property
    def is_confirmed(self) -> bool:
        """Whether the charger accepted the newest order."""
        return self.wanted is not None and self.wanted is self.confirmed and not self.is_unknown

    def answer(self, order: LimitOrder, reply: Reply, now_s: float) -> None:
        """Apply the charger's reply to an order."""
        self.sent = None
        self.answered, self.reply = order, reply
        self.method = reply.method or self.method
        if reply.answer is CommandStatus.ACCEPTED:
            before = None if self.is_unknown else self.confirmed
            # The same limit again replaces nothing.
            if before is None or (before.limit_a, before.phases) != (order.limit_a, order.phases):
                recent = (one for one in self.replaced if one.until_s > now_s)
                self.replaced = (*recent, ReplacedLimit(before, now_s + SETTLES_S))
            self.confirmed, self.doubtful_a, self.is_unknown = order, 0.0, False
            if self._outlives:
                # It has the id of the one that lingered.
                self.lingering_a = None
        elif reply.answer is CommandStatus.NO_ANSWER:
            self.doubtful_a = max(self.doubtful_a, order.limit_a)
        self._hold_as_fallback(order, reply)

    @property
    def _outlives(self) -> bool:
        return self.method is not None and self.method.outlives_transaction

    @property
    def replaces_fallback(self) -> bool:
        """Whether a limit takes the place of the fallback on the charger."""
        return self.method is not None and self.method.replaces_fallback

    def answer_late(self, order: LimitOrder, reply: Reply) -> None:
        """Apply the charger's reply to an order for a session that is over."""
        self.method = reply.method or self.method
        self._hold_as_fallback(order, reply)
        if self._outlives and reply.answer in (CommandStatus.ACCEPTED, CommandStatus.NO_ANSWER):
            self.lingering_a = max(self.lingering_a or 0.0, order.limit_a)

    def _hold_as_fallback(self, order: LimitOrder, reply: Reply) -> None:
        """A limit that takes the place of the fallback stays until another does so."""
        if reply.method is not None and reply.method.replaces_fallback:
            self.hold(order.limit_a, reply)

    def hold(self, fallback_a: float, reply: Reply) -> None:
        """Apply the charger's reply to a default profile."""
        self.fallback_reply = reply
        if reply.answer is CommandStatus.ACCEPTED:
            self.fallback_held_a, self.fallback_doubtful_a = fallback_a, 0.0
        elif reply.answer is CommandStatus.NO_ANSWER:
            self.fallback_doubtful_a = max(self.fallback_doubtful_a, fallback_a)
            if self.fallback_held_a is not None:
                self.fallback_held_a = max(self.fallback_held_a, fallback_a)

    def lose_fallback(self) -> None:
        """Note that the charger may have lost its default profile, or may still hold it."""
        self.fallback_doubtful_a = max(self.fallback_doubtful_a, self.fallback_held_a or 0.0)
        self.fallback_held_a = self.fallback_reply = None

    @property
    def needs_fallback(self) -> bool:
        """Whether the charger's default profile is to be set: it holds another, and supports default profiles."""
        is_unsupported = self.fallback_reply is not None and self.fallback_reply.answer is CommandStatus.NOT_SUPPORTED
        return self.fallback_held_a != self.fallback_a and not is_unsupported

    @property
    def default_a(self) -> float:
        """Highest limit per phase without a session: the fallback, or a higher one that the charger may hold [A]."""
        held_a = max(self.fallback_held_a or 0.0, self.fallback_doubtful_a)
        return max(self.fallback_a, held_a, self.lingering_a or 0.0)

    def holds_fallback(self, *, has_session: bool) -> bool:
        """Return whether the default profile may be set now: not while a limit that replaces it is in force."""
        return not (has_session and self.replaces_fallback)

    def note_phases(self, meter: Meter) -> bool:
        """Note the number of phases on which the car draws; return whether that changes its limit in watts.

        A car that once drew on more phases can do so again.
        """
        phases = meter.phases_in_use
        if phases is None or meter.is_implausible or max(meter.current_a) < _CHARGES_FROM_A:
            return False
        if self.phases_in_use is not None and phases <= self.phases_in_use:
            return False
        self.phases_in_use = phases
        return self._is_in_watts

    @property
    def _is_in_watts(self) -> bool:
        return self.method is not None and self.method.unit is RateUnit.WATTS

    def default_currents(self, wiring: EvseWiring) -> Currents:
        """Compute what the EVSE may draw on the site's phases without a limit [A].

        In watts it is sent for all phases: a car that is known to draw on fewer gets more on each.
        """
        default_a = self.default_a
        if self._is_in_watts and self.phases_in_use is not None:
            default_a *= len(wiring.phases) / min(self.phases_in_use, len(wiring.phases))
        return wiring.currents(min(default_a, wiring.max_current_a))

    def want(self, order: LimitOrder) -> None:
        """Replace the newest order, and have it sent."""
        self.wanted, self.is_due = order, True

    def forget_session(self) -> None:
        """Remove the orders of a car that left; they ended with its transaction, or linger."""
        if self._outlives:
            left = [order.limit_a for order in (self.confirmed, self.sent) if order is not None]
            before_a = self.lingering_a or 0.0
            if left or before_a or self.doubtful_a:
                self.lingering_a = max(before_a, self.doubtful_a, *left)
        if self.replaces_fallback and self.sent is not None and self.fallback_held_a is not None:
            self.fallback_held_a = max(self.fallback_held_a, self.sent.limit_a)
        self.phases_in_use = None
        self.granted = self.wanted = self.sent = self.answered = self.confirmed = None
        self.reply = self.asked_at_s = None
        self.replaced = ()
        self.is_due = self.is_overdrawing = False
        self.doubtful_a = 0.0


def compute_reserved_currents(wiring: EvseWiring, state: EvseLimitState, facts: EvseFacts, drawn: Currents) -> Currents:
    """Compute what an EVSE may draw whatever is ordered next.

    It is the maximum of three: its fallback and a lingering limit, since a limit may lapse and a car may come at any
    time; a draw above its limit, or without a transaction that could be limited; a draw on uncertain phases, since all
    of it may be on one phase.

    Args:
        wiring: its wiring.
        state: its orders and their replies.
        facts: its reports.
        drawn: what counts of its newest meter values [A].
    """
    is_free = facts.session is None and facts.state is EvseState.CHARGING
    is_uncertain = facts.meter is not None and facts.meter.even_a is not None
    is_beyond = facts.session is not None and (state.is_overdrawing or is_uncertain)
    beyond = drawn if is_free or is_beyond else NOTHING
    if facts.session is None and not is_free:
        # Its charger's own word is that nothing is charged: what it measures all the same counts up to its rating.
        first, second, third = (min(one_a, wiring.max_current_a) for one_a in drawn)
        beyond = first, second, third
    return max_currents((state.default_currents(wiring), beyond))


def compute_max_currents(wiring: EvseWiring, state: EvseLimitState, anyway: Currents) -> Currents:
    """Compute the most that an EVSE may draw on each phase of the site, as far as is known [A]."""
    if state.is_unknown:
        return max_currents((anyway, wiring.currents(wiring.max_current_a)))
    known = (state.confirmed, state.sent, state.wanted, state.granted)
    allowed = [wiring.currents(one.limit_a, one.phases) for one in known if one is not None]
    return max_currents((anyway, wiring.currents(state.doubtful_a), *allowed))


def draws_without_session(facts: EvseFacts) -> bool:
    """Return whether an EVSE draws power without a known transaction that could be limited."""
    return facts.session is None and facts.meter is not None and max(facts.meter.current_a) >= DRAWS_FROM_A


def overdraws(wiring: EvseWiring, state: EvseLimitState, facts: EvseFacts) -> bool:
    """Return whether the car draws more than any limit that was or may be in force while it could still follow it.

    The result depends neither on how often a limit is renewed nor on how often it changes, and stays until a newer
    sample: a silent meter proves nothing. Without a session the default profile is the limit, also where the charger
    accepted no limit for the car. On uncertain phases only more power than the limit allows on all of them counts.
    """
    meter = facts.meter
    if meter is None:
        return False
    if facts.session is None:
        return draws_without_session(facts) and _is_above(meter, wiring.currents(state.default_a))
    allowed = [wiring.currents(state.doubtful_a)]
    if state.confirmed is None:
        held_a = None if state.is_unknown else state.fallback_held_a
        allowed.append(wiring.currents(wiring.max_current_a if held_a is None else held_a))
        allowed.append(wiring.currents(state.lingering_a or 0.0))
    # What is on its way may be in force already.
    orders = [order for order in (state.confirmed, state.sent) if order is not None]
    allowed += [wiring.currents(order.limit_a, order.phases) for order in orders]
    for before in state.replaced:
        if before.until_s > meter.received_s:
            order = before.order
            known = (
                wiring.currents(wiring.max_current_a) if order is None else wiring.currents(order.limit_a, order.phases)
            )
            allowed.append(known)
    return _is_above(meter, max_currents(allowed))


def _is_above(meter: Meter, limits: Currents) -> bool:
    pairs = list(zip(meter.current_a, limits, strict=True))
    if meter.even_a is not None:
        pairs = [(sum(meter.even_a), sum(limits))]
    return any(drawn_a > limit_a + max(_TOLERANCE_A, limit_a * _TOLERANCE) for drawn_a, limit_a in pairs)
