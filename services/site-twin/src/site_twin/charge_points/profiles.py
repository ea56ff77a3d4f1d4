"""Which charging limit is in force at a moment, by the charging profiles that a charger holds.

Source: OCPP 1.6 section 3.13, OCPP 2.0.1 part 2 section K: the highest stack level that is valid prevails within its
purpose; TxProfile overrules TxDefaultProfile; what is left is bound by the profiles of the whole charger.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import floor

from ev_service.charging import LEAST_CURRENT_A


class ProfilePurpose(StrEnum):
    """What a profile is for. STATION_MAX is called ChargePointMaxProfile in 1.6."""

    STATION_MAX = "ChargingStationMaxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"


class ProfileKind(StrEnum):
    """From when a schedule counts: its own start, its own start again and again, or the transaction's start."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


class RateUnit(StrEnum):
    """Unit of a limit: amperes on each phase, or watts over all phases."""

    AMPERES = "A"
    WATTS = "W"


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_s` [s] after the schedule's start on, `limit` [A per phase or W in all] on `phases` phases."""

    start_s: float
    limit: float
    phases: int | None = None
    """Number of phases; None where the profile does not give it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Limits over time."""

    unit: RateUnit
    periods: tuple[Period, ...]
    """Ascending, the first at 0."""

    start: datetime | None = None
    """Aware UTC; None: the transaction's start."""

    duration_s: float | None = None
    """Time after which the schedule ends [s]; None: the last period continues."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One charging profile as a charger holds it.

    valid_from, valid_to: aware UTC; at valid_to it counts no more.
    """

    profile_id: int
    evse_id: int
    """0 is the whole charger."""

    stack_level: int
    purpose: ProfilePurpose
    kind: ProfileKind
    schedule: Schedule
    every: timedelta | None = None
    """How often a recurring schedule starts again."""

    valid_from: datetime | None = None
    valid_to: datetime | None = None
    transaction_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What turns a profile into amperes at one EVSE."""

    evse_id: int
    phases: int
    """Number of phases to which it is wired."""

    max_current_a: float
    """Maximum current [A]."""

    voltage_v: float
    """Voltage between phase and neutral [V]."""

    sharing: int = 1
    """How many EVSEs share a limit of the whole charger, each the same part."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What an EVSE may give: `current_a` [A] on each of `phases` phases."""

    current_a: float
    phases: int


def limit_at(profiles: Sequence[Profile], wiring: Wiring, moment: datetime, began: datetime | None) -> Limit:
    """The limit in force, with nothing between 0 and the least charging current.

    Args:
        profiles: all that the charger holds, in any order.
        wiring: of the EVSE asked for.
        moment: aware UTC.
        began: when the EVSE's transaction began; None: there is none.
    """
    current_a, phases = wiring.max_current_a, wiring.phases
    for profile, period in _in_force(profiles, wiring.evse_id, moment, began):
        phases = min(phases, period.phases or phases)
        current_a = min(current_a, _amperes(profile, period, wiring))
    return Limit(current_a if current_a >= LEAST_CURRENT_A else 0.0, phases)


def next_change(profiles: Iterable[Profile], after: datetime, began: datetime | None) -> datetime | None:
    """The first moment later than `after` at which a limit may change by itself; None: never."""
    moments = (moment for profile in profiles for moment in _turns(profile, after, began))
    return min((moment for moment in moments if moment > after), default=None)


def composite_schedule(
    profiles: Sequence[Profile], wiring: Wiring, start: datetime, duration_s: float, began: datetime | None
) -> tuple[Period, ...]:
    """The limits of the next `duration_s` seconds in amperes, as GetCompositeSchedule asks for them.

    Returns:
        Periods from 0 on, each differing from the one before.
    """
    periods: list[Period] = []
    moment: datetime | None = start
    end = start + timedelta(seconds=duration_s)
    while moment is not None and (moment < end or not periods):
        limit = limit_at(profiles, wiring, moment, began)
        if not periods or (periods[-1].limit, periods[-1].phases) != (limit.current_a, limit.phases):
            periods.append(Period((moment - start).total_seconds(), limit.current_a, limit.phases))
        moment = next_change(profiles, moment, began)
    return tuple(periods)


def _in_force(
    profiles: Sequence[Profile], evse_id: int, moment: datetime, began: datetime | None
) -> Iterator[tuple[Profile, Period]]:
    """At most one profile of the whole charger and one of the transaction."""
    valid = [
        (profile, period)
        for profile in profiles
        if profile.evse_id in (0, evse_id) and (period := _period_at(profile, moment, began)) is not None
    ]
    station = _highest(valid, ProfilePurpose.STATION_MAX)
    transaction = _highest(valid, ProfilePurpose.TX) or _highest(valid, ProfilePurpose.TX_DEFAULT)
    yield from (found for found in (station, transaction) if found is not None)


def _highest(valid: Sequence[tuple[Profile, Period]], purpose: ProfilePurpose) -> tuple[Profile, Period] | None:
    # 1.6, ChargingProfilePurposeType: a default of the connector's own replaces the one of connector 0 there.
    of_purpose = (found for found in valid if found[0].purpose is purpose)
    return max(of_purpose, key=lambda found: (found[0].evse_id > 0, found[0].stack_level), default=None)


def _period_at(profile: Profile, moment: datetime, began: datetime | None) -> Period | None:
    if profile.valid_from is not None and moment < profile.valid_from:
        return None
    if profile.valid_to is not None and moment >= profile.valid_to:
        return None
    start = _start(profile, moment, began)
    if start is None or moment < start:
        return None
    elapsed_s = (moment - start).total_seconds()
    if profile.schedule.duration_s is not None and elapsed_s >= profile.schedule.duration_s:
        return None
    begun = [period for period in profile.schedule.periods if period.start_s <= elapsed_s]
    return begun[-1] if begun else None


def _start(profile: Profile, moment: datetime, began: datetime | None) -> datetime | None:
    """When the schedule began that counts at the moment; None: it has nothing to begin with."""
    start = profile.schedule.start
    if profile.kind is ProfileKind.RELATIVE or start is None:
        return began
    if profile.kind is ProfileKind.RECURRING and profile.every is not None:
        return start + max(0, floor((moment - start) / profile.every)) * profile.every
    return start


def _turns(profile: Profile, after: datetime, began: datetime | None) -> Iterator[datetime]:
    yield from (moment for moment in (profile.valid_from, profile.valid_to) if moment is not None)
    start = _start(profile, after, began)
    if start is None:
        return
    repeats = profile.kind is ProfileKind.RECURRING and profile.every is not None
    yield start
    if repeats and profile.every is not None:
        yield start + profile.every
    yield from (start + timedelta(seconds=period.start_s) for period in profile.schedule.periods)
    if profile.schedule.duration_s is not None:
        yield start + timedelta(seconds=profile.schedule.duration_s)


def _amperes(profile: Profile, period: Period, wiring: Wiring) -> float:
    limit = period.limit / (wiring.sharing if profile.purpose is ProfilePurpose.STATION_MAX else 1)
    if profile.schedule.unit is RateUnit.AMPERES:
        return limit
    return limit / (wiring.voltage_v * min(period.phases or wiring.phases, wiring.phases))
