"""Signals of the grid operator: messages, the limits that they announce, and the safe default where a source is silent.

A signal can only lower what the site allows anyway. Its limits begin as soon as wall clock or monotonic clock has
reached their begin, and end once both have reached their end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ev_service.charging import GridSignal, SignalScope
from ev_service.lifetimes import EarlierEnd, Instant, LaterEnd
from ev_service.units import Kilowatt, UtcTimestamp

MOST_LIMITS = 32
"""Number of limits that one source may announce."""
MOST_BYTES = 16 << 10
"""Length of a message above which it is refused [bytes]."""
_FURTHEST_S = 31 * 86_400.0
"""How far ahead a limit may be announced [s]."""


class SignalLimit(BaseModel, frozen=True):
    """One limit of a message."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    limit_kw: Kilowatt = Field(ge=0, le=100_000, description="Highest power [kW].")
    applies_to: SignalScope = Field(description="charging: all cars together; connection: building and cars together.")
    valid_from: UtcTimestamp | None = Field(default=None, description="When it begins, UTC; absent: at once.")
    valid_until: UtcTimestamp | None = Field(
        default=None,
        description="When it ends, UTC; absent: after the longest lifetime, counted from the newest message with it.",
    )
    signal_id: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")] | None = Field(
        default=None, description="Its name at the grid operator."
    )

    @model_validator(mode="after")
    def _begins_before_its_end(self) -> "SignalLimit":
        if self.valid_from is not None and self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("valid_until must be later than valid_from")
        return self


class SignalMessage(BaseModel, frozen=True):
    """All limits of one source; a newer message takes the place of the one before."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    issued_at: UtcTimestamp = Field(description="When the source wrote it, UTC.")
    limits: tuple[SignalLimit, ...] = Field(
        max_length=MOST_LIMITS, description="Limits that are in force or announced; empty: there is none."
    )


class SignalRefusedError(ValueError):
    """A message that cannot be used."""


def parse_message(payload: bytes) -> SignalMessage:
    """Parse a message.

    Raises:
        SignalRefusedError: it is too long or not such a message; the text names the wrong fields, not their values.
    """
    if len(payload) > MOST_BYTES:
        raise SignalRefusedError(f"longer than {MOST_BYTES} bytes")
    try:
        return SignalMessage.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        raise SignalRefusedError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    except RecursionError as error:
        raise SignalRefusedError("nested too deeply") from error


@dataclass(frozen=True, slots=True)
class SignalRules:
    """How signals count."""

    longest_s: float = 86_400.0
    """A limit ends after this at the latest [s]."""
    silent_after_s: float = 300.0
    """A source without a new message for this long is silent [s]."""
    default_kw: float | None = None
    """Limit while a source is silent [kW]; None: none."""
    default_applies_to: SignalScope = SignalScope.CHARGING
    """What that limit applies to."""
    minimum_kw: float = 0.0
    """A lower limit for charging counts as this [kW]."""


@dataclass(frozen=True, slots=True)
class SignalLimits:
    """What signals allow at one moment."""

    charging_kw: float | None = None
    """What all cars together may draw [kW]; None: not limited."""
    connection_kw: float | None = None
    """What building and cars together may draw [kW]; None: not limited."""
    silent: tuple[str, ...] = ()
    """Sources in whose place the safe default applies."""

    @property
    def is_in_force(self) -> bool:
        """Whether there is a limit."""
        return self.charging_kw is not None or self.connection_kw is not None


@dataclass(frozen=True, slots=True)
class ScheduledLimit:
    """A limit with its begin and its end by both clocks."""

    limit: SignalLimit
    begin: EarlierEnd
    end: LaterEnd

    def is_in_force(self, now: Instant) -> bool:
        """Whether it has begun and not ended."""
        return self.begin.has_ended(now) and not self.end.has_ended(now)


@dataclass(frozen=True, slots=True)
class Reception:
    """What came of a message."""

    expired: int = 0
    """Number of its limits that had ended already, or are announced for more than 31 days ahead."""
    is_older: bool = False
    """Whether it was issued before one that arrived earlier: it then adds limits and lifts none."""
    is_changed: bool = False
    """Whether the source's limits are others than before."""


@dataclass(slots=True)
class _SourceState:
    """What one source sent."""

    scheduled: tuple[ScheduledLimit, ...] = ()
    issued_at: datetime | None = None
    """When its newest message was issued, UTC, at most the time at which it arrived."""
    silence_then_s: float = 0.0
    """How old its newest sign of life was at `heard_at_s` [s]."""
    heard_at_s: float | None = None
    """Monotonic time of that [s]; None: nothing was asked of it yet."""

    def silence_s(self, now: Instant) -> float:
        """How long ago the newest message was issued, by elapsed time [s]."""
        if self.heard_at_s is None:
            self.heard_at_s = now.monotonic_s
        return self.silence_then_s + max(0.0, now.monotonic_s - self.heard_at_s)


@dataclass(frozen=True, slots=True)
class _PersistedLimit:
    limit: SignalLimit
    begins_at: UtcTimestamp
    begin_remaining_s: Annotated[float, Field(allow_inf_nan=False)]
    ends_at: UtcTimestamp
    end_remaining_s: Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _PersistedSource:
    limits: tuple[_PersistedLimit, ...]
    issued_at: UtcTimestamp | None
    silence_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


_PERSISTED = TypeAdapter(dict[str, _PersistedSource])


@dataclass(slots=True)
class GridSignals:
    """The limits of all sources; where they differ, the lowest counts."""

    sources: Sequence[str] = ()
    """Names of the sources."""
    rules: SignalRules = field(default_factory=SignalRules)
    """How they count."""
    _states: dict[str, _SourceState] = field(init=False)

    def __post_init__(self) -> None:
        self._states = {name: _SourceState() for name in self.sources}

    def take(self, source: str, message: SignalMessage, now: Instant) -> Reception:
        """Apply a message.

        A limit that the source repeats unchanged keeps its lifetime, so that a changed clock does not end it. A message
        that was issued before the newest one, such as a repeated old one, adds its limits and lifts none.
        """
        state = self._states[source]
        before = {one.limit: one for one in state.scheduled if not one.end.has_ended(now)}
        new = [self._schedule(limit, before.get(limit), now) for limit in dict.fromkeys(message.limits)]
        scheduled = [one for one in new if one is not None and not one.end.has_ended(now)]
        is_older = state.issued_at is not None and message.issued_at < state.issued_at
        if is_older:
            scheduled += [one for limit, one in before.items() if limit not in message.limits]
        else:
            # A moment ahead would make every later message an older one.
            state.issued_at = min(message.issued_at, now.wall)
        # Of too many, the lowest count.
        scheduled = sorted(scheduled, key=lambda one: one.limit.limit_kw)[:MOST_LIMITS]
        silence_s = max(0.0, (now.wall - message.issued_at).total_seconds())
        if silence_s <= state.silence_s(now):
            state.silence_then_s, state.heard_at_s = silence_s, now.monotonic_s
        is_changed = {one.limit for one in scheduled} != set(before)
        state.scheduled = tuple(scheduled)
        expired = len(new) - sum(one is not None and not one.end.has_ended(now) for one in new)
        return Reception(expired, is_older, is_changed)

    def limits(self, now: Instant) -> SignalLimits:
        """Compute what signals allow now."""
        silent = self.silent_sources(now)
        active = [
            (one.limit.applies_to, one.limit.limit_kw)
            for state in self._states.values()
            for one in state.scheduled
            if one.is_in_force(now)
        ]
        if silent and self.rules.default_kw is not None:
            active.append((self.rules.default_applies_to, self.rules.default_kw))
        charging_kw = min((limit_kw for scope, limit_kw in active if scope is SignalScope.CHARGING), default=None)
        connection_kw = min((limit_kw for scope, limit_kw in active if scope is SignalScope.CONNECTION), default=None)
        if charging_kw is not None:
            charging_kw = max(charging_kw, self.rules.minimum_kw)
        return SignalLimits(charging_kw, connection_kw, silent)

    def silent_sources(self, now: Instant) -> tuple[str, ...]:
        """Return the sources in whose place the safe default applies; none where there is no such default."""
        if self.rules.default_kw is None:
            return ()
        return tuple(name for name in self._states if self.silence_s(name, now) >= self.rules.silent_after_s)

    def silence_s(self, source: str, now: Instant) -> float:
        """How long ago the newest message of a source was issued; before the first, since the service began [s]."""
        return self._states[source].silence_s(now)

    def describe(self, now: Instant) -> tuple[GridSignal, ...]:
        """Return all limits in force or announced, the first to begin first, then safe defaults."""
        known = [
            (one, name) for name, state in self._states.items() for one in state.scheduled if not one.end.has_ended(now)
        ]
        known.sort(key=lambda pair: (pair[0].begin.ends_at, pair[0].limit.limit_kw))
        default_kw = self.rules.default_kw
        defaults = () if default_kw is None else self.silent_sources(now)
        return (
            *(_describe(one, name, now) for one, name in known),
            *(
                GridSignal(
                    limit_kw=default_kw or 0.0,
                    applies_to=self.rules.default_applies_to,
                    is_in_force=True,
                    is_default=True,
                    source=name,
                )
                for name in defaults
            ),
        )

    def dump(self, now: Instant) -> str | None:
        """Serialize what a restart has to know, with remaining times; None: there is no source."""
        if not self._states:
            return None
        return _PERSISTED.dump_json({name: _dump(state, now) for name, state in self._states.items()}).decode()

    def restore(self, content: str | None, now: Instant) -> None:
        """Restore what `dump` wrote; content that cannot be read, and sources that are no longer set, are left out."""
        try:
            persisted = {} if content is None else _PERSISTED.validate_json(content)
        except ValidationError:
            return
        for name in set(persisted) & set(self._states):
            source = persisted[name]
            scheduled = (
                ScheduledLimit(
                    one.limit,
                    EarlierEnd.restore(now, one.begins_at, one.begin_remaining_s),
                    LaterEnd.restore(now, one.ends_at, one.end_remaining_s),
                )
                for one in source.limits
            )
            alive = tuple(one for one in scheduled if not one.end.has_ended(now))
            self._states[name] = _SourceState(alive, source.issued_at, source.silence_s, now.monotonic_s)

    def _schedule(self, limit: SignalLimit, before: ScheduledLimit | None, now: Instant) -> ScheduledLimit | None:
        """Compute begin and end of a limit; None: it is announced for too far ahead."""
        if before is not None and limit.valid_until == before.end.ends_at:
            return before
        ahead_s = 0.0 if limit.valid_from is None else (limit.valid_from - now.wall).total_seconds()
        if ahead_s > _FURTHEST_S:
            return None
        latest = now.wall + timedelta(seconds=max(0.0, ahead_s) + self.rules.longest_s)
        ends_at = latest if limit.valid_until is None else min(limit.valid_until, latest)
        begin = EarlierEnd.until(now, limit.valid_from or now.wall) if before is None else before.begin
        return ScheduledLimit(limit, begin, LaterEnd.until(now, ends_at))


def _describe(one: ScheduledLimit, source: str, now: Instant) -> GridSignal:
    return GridSignal(
        limit_kw=one.limit.limit_kw,
        applies_to=one.limit.applies_to,
        valid_from=one.begin.ends_at,
        valid_until=one.end.expected_end(now),
        is_in_force=one.is_in_force(now),
        source=source,
        signal_id=one.limit.signal_id,
    )


def _dump(state: _SourceState, now: Instant) -> _PersistedSource:
    limits = tuple(
        _PersistedLimit(
            one.limit, one.begin.ends_at, one.begin.remaining_s(now), one.end.ends_at, one.end.remaining_s(now)
        )
        for one in state.scheduled
        if not one.end.has_ended(now)
    )
    return _PersistedSource(limits, state.issued_at, state.silence_s(now))
