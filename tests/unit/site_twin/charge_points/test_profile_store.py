"""Which charging profiles a charger takes, replaces and forgets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from site_twin.charge_points.profile_store import ProfileCapabilities, ProfileStore
from site_twin.charge_points.profiles import Period, Profile, ProfileKind, ProfilePurpose, RateUnit, Schedule

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
LOOSE, STRICT = ProfileCapabilities(), ProfileCapabilities(is_strict=True)
RUNNING = {1: "tx-1", 2: None}
SCHEDULE = Schedule(RateUnit.AMPERES, (Period(0, 16.0),))
LIMIT = Profile(1, 1, 1, ProfilePurpose.TX, ProfileKind.RELATIVE, SCHEDULE, transaction_id="tx-1")
DEFAULT = Profile(2, 1, 0, ProfilePurpose.TX_DEFAULT, ProfileKind.RELATIVE, SCHEDULE)
STATION = Profile(3, 0, 0, ProfilePurpose.STATION_MAX, ProfileKind.ABSOLUTE, replace(SCHEDULE, start=NOON))


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (replace(LIMIT, evse_id=7), "UnknownEvse"),
        (replace(LIMIT, evse_id=2), "TxNotFound"),
        (replace(LIMIT, evse_id=0), "TxNotFound"),
        (replace(LIMIT, transaction_id="tx-9"), "TxNotFound"),
        (replace(STATION, evse_id=1), "InvalidProfile"),
        (replace(LIMIT, stack_level=9), "InvalidStackLevel"),
        (replace(LIMIT, schedule=Schedule(RateUnit.AMPERES, (Period(5, 16.0),))), "InvalidSchedule"),
        (replace(LIMIT, schedule=Schedule(RateUnit.AMPERES, ())), "InvalidSchedule"),
        (replace(LIMIT, schedule=Schedule(RateUnit.AMPERES, (Period(0, 8.0), Period(0, 9.0)))), "InvalidSchedule"),
        (replace(LIMIT, schedule=Schedule(RateUnit.AMPERES, (Period(0, -1.0),))), "InvalidSchedule"),
        (replace(LIMIT, kind=ProfileKind.RECURRING), "InvalidSchedule"),
        (replace(LIMIT, valid_from=NOON, valid_to=NOON), "InvalidProfile"),
        (
            replace(LIMIT, schedule=Schedule(RateUnit.AMPERES, tuple(Period(s, 8.0) for s in range(25)))),
            "TooManyPeriods",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_both_versions(profile: Profile, reason: str) -> None:
    installed = ProfileStore()

    assert installed.install(profile, RUNNING, LOOSE) == reason
    assert installed.install(profile, RUNNING, STRICT) is not None
    assert installed.all == ()


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (replace(LIMIT, transaction_id=None), "MissingTransactionId"),
        (replace(LIMIT, kind=ProfileKind.ABSOLUTE), "InvalidSchedule"),
        (replace(LIMIT, schedule=replace(SCHEDULE, start=NOON)), "InvalidSchedule"),
        (replace(STATION, kind=ProfileKind.RELATIVE, schedule=SCHEDULE), "InvalidProfile"),
    ],
)
def test_2_0_1_refuses_what_1_6_leaves_open(profile: Profile, reason: str) -> None:
    assert ProfileStore().install(profile, RUNNING, STRICT) == reason
    assert ProfileStore().install(profile, RUNNING, LOOSE) is None


@pytest.mark.parametrize("abilities", [LOOSE, STRICT])
def test_the_same_id_replaces(abilities: ProfileCapabilities) -> None:
    installed = ProfileStore()
    changed = replace(LIMIT, stack_level=2)

    assert installed.install(LIMIT, RUNNING, abilities) is None
    assert installed.install(changed, RUNNING, abilities) is None
    assert installed.all == (changed,)


def test_the_same_level_and_purpose_replace_in_1_6_and_are_refused_in_2_0_1() -> None:
    loose, strict = ProfileStore(), ProfileStore()
    other = replace(LIMIT, profile_id=9)
    for installed, abilities in ((loose, LOOSE), (strict, STRICT)):
        installed.install(LIMIT, RUNNING, abilities)

    assert loose.install(other, RUNNING, LOOSE) is None
    assert loose.all == (other,)
    assert strict.install(other, RUNNING, STRICT) == "DuplicateProfile"
    assert strict.all == (LIMIT,)


def test_2_0_1_takes_the_same_level_for_another_time() -> None:
    installed = ProfileStore()
    earlier = replace(DEFAULT, valid_to=NOON)
    later = replace(DEFAULT, profile_id=9, valid_from=NOON, valid_to=NOON + timedelta(hours=1))

    assert installed.install(earlier, RUNNING, STRICT) is None
    assert installed.install(later, RUNNING, STRICT) is None


def test_what_the_charger_can_not_do_it_refuses() -> None:
    watts = replace(LIMIT, schedule=replace(SCHEDULE, unit=RateUnit.WATTS))
    simple = ProfileCapabilities(most_stack_level=0, units=frozenset({RateUnit.AMPERES}), most_profiles=1)
    installed = ProfileStore()

    assert installed.install(LIMIT, RUNNING, simple) == "InvalidStackLevel"
    assert installed.install(replace(watts, stack_level=0), RUNNING, simple) == "UnsupportedRateUnit"
    assert installed.install(DEFAULT, RUNNING, simple) is None
    assert installed.install(STATION, RUNNING, simple) == "TooManyProfiles"


def test_the_end_of_a_transaction_takes_its_profiles_with_it_and_leaves_the_others() -> None:
    installed = ProfileStore()
    for profile in (LIMIT, DEFAULT, STATION):
        assert installed.install(profile, RUNNING, STRICT) is None

    installed.end_transaction(1)

    assert installed.all == (DEFAULT, STATION)


def test_clearing_takes_what_matches_everything_that_was_said() -> None:
    installed = ProfileStore()
    for profile in (LIMIT, DEFAULT, STATION):
        installed.install(profile, RUNNING, STRICT)

    assert not installed.clear(purpose=ProfilePurpose.TX, stack_level=0)
    assert installed.clear(profile_id=2)
    assert installed.clear(evse_id=0)
    assert installed.all == (LIMIT,)
    assert installed.clear()
    assert not installed.clear()
