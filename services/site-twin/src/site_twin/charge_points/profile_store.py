"""The charging profiles that a charger holds: which ones it accepts, replaces and removes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from site_twin.charge_points.profiles import Profile, ProfileKind, ProfilePurpose, RateUnit


@dataclass(frozen=True, slots=True)
class ProfileCapabilities:
    """What a charger's smart charging can do.

    units, purposes: rate units and purposes taken. most_periods, most_profiles: how many it holds.
    """

    most_stack_level: int = 8
    """The highest stack level taken."""

    units: frozenset[RateUnit] = frozenset(RateUnit)
    purposes: frozenset[ProfilePurpose] = frozenset(ProfilePurpose)
    most_periods: int = 24
    most_profiles: int = 24
    is_strict: bool = False
    """Keeps the rules that only 2.0.1 has."""


class ProfileStore:
    """The profiles of one charger."""

    def __init__(self) -> None:
        self._profiles: tuple[Profile, ...] = ()

    @property
    def all(self) -> tuple[Profile, ...]:
        """Every profile held."""
        return self._profiles

    def install(
        self, profile: Profile, transactions: Mapping[int, str | None], abilities: ProfileCapabilities
    ) -> str | None:
        """Take a profile, in the place of the one that it replaces.

        Args:
            profile: the new one.
            transactions: every EVSE of the charger and the transaction that runs there, None: none.
            abilities: what the charger can do.

        Returns:
            Why it was refused, in a word of at most 20 characters; None: it is held.
        """
        kept = tuple(held for held in self._profiles if not _replaces(profile, held))
        reason = (
            _wrong_place(profile, transactions)
            or _beyond(profile, abilities)
            or _wrong_schedule(profile)
            or (_against_strict_rules(profile, kept) if abilities.is_strict else None)
            or ("TooManyProfiles" if len(kept) >= abilities.most_profiles else None)
        )
        if reason is not None:
            return reason
        if not abilities.is_strict:
            # 1.6, section 5.16: the same stack level and purpose replaces as the same id does.
            kept = tuple(held for held in kept if not _same_slot(profile, held))
        self._profiles = (*kept, profile)
        return None

    def clear(
        self,
        profile_id: int | None = None,
        evse_id: int | None = None,
        purpose: ProfilePurpose | None = None,
        stack_level: int | None = None,
    ) -> bool:
        """Forget the profiles that match everything given; nothing given: all.

        Returns:
            Whether there was one.
        """

        def matches(held: Profile) -> bool:
            asked = ((profile_id, held.profile_id), (evse_id, held.evse_id), (purpose, held.purpose))
            return all(wanted in (None, found) for wanted, found in (*asked, (stack_level, held.stack_level)))

        kept = tuple(held for held in self._profiles if not matches(held))
        was_there = len(kept) < len(self._profiles)
        self._profiles = kept
        return was_there

    def end_transaction(self, evse_id: int) -> None:
        """Forget the profiles of the transaction that ended there."""
        self.clear(evse_id=evse_id, purpose=ProfilePurpose.TX)


def _replaces(new: Profile, held: Profile) -> bool:
    return new.profile_id == held.profile_id


def _same_slot(new: Profile, held: Profile) -> bool:
    return (new.evse_id, new.purpose, new.stack_level) == (held.evse_id, held.purpose, held.stack_level)


def _wrong_place(profile: Profile, transactions: Mapping[int, str | None]) -> str | None:
    if profile.evse_id != 0 and profile.evse_id not in transactions:
        return "UnknownEvse"
    if profile.purpose is ProfilePurpose.STATION_MAX and profile.evse_id != 0:
        return "InvalidProfile"
    if profile.purpose is not ProfilePurpose.TX:
        return None
    running = transactions.get(profile.evse_id)
    if running is None:
        return "TxNotFound"
    return None if profile.transaction_id in (None, running) else "TxNotFound"


def _beyond(profile: Profile, abilities: ProfileCapabilities) -> str | None:
    if profile.purpose not in abilities.purposes:
        return "UnsupportedPurpose"
    if not 0 <= profile.stack_level <= abilities.most_stack_level:
        return "InvalidStackLevel"
    if profile.schedule.unit not in abilities.units:
        return "UnsupportedRateUnit"
    return "TooManyPeriods" if len(profile.schedule.periods) > abilities.most_periods else None


def _wrong_schedule(profile: Profile) -> str | None:
    starts = [period.start_s for period in profile.schedule.periods]
    is_ascending = all(before < after for before, after in pairwise(starts))
    if not starts or starts[0] != 0 or not is_ascending or any(p.limit < 0 for p in profile.schedule.periods):
        return "InvalidSchedule"
    if profile.kind is ProfileKind.RECURRING and profile.every is None:
        return "InvalidSchedule"
    if profile.valid_from is not None and profile.valid_to is not None and profile.valid_to <= profile.valid_from:
        return "InvalidProfile"
    return None


def _against_strict_rules(profile: Profile, others: tuple[Profile, ...]) -> str | None:
    """What OCPP 2.0.1 refuses and 1.6 leaves open: K01.FR.03, 06, 38 to 41."""
    if (profile.kind is ProfileKind.RELATIVE) == (profile.schedule.start is not None):
        return "InvalidSchedule"
    if profile.purpose is ProfilePurpose.STATION_MAX and profile.kind is ProfileKind.RELATIVE:
        return "InvalidProfile"
    if profile.purpose is ProfilePurpose.TX and profile.transaction_id is None:
        return "MissingTransactionId"
    overlapping = (held for held in others if _same_slot(profile, held) and _overlap(profile, held))
    return "DuplicateProfile" if any(overlapping) else None


def _overlap(one: Profile, other: Profile) -> bool:
    def ends_before(first: Profile, second: Profile) -> bool:
        return first.valid_to is not None and second.valid_from is not None and first.valid_to <= second.valid_from

    return not ends_before(one, other) and not ends_before(other, one)
