"""Which limit is in force: properties over random profiles, and the rules of OCPP one by one."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from site_twin.charge_points.profiles import (
    Limit,
    Period,
    Profile,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Schedule,
    Wiring,
    composite_schedule,
    limit_at,
    next_change,
)

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
WIRING = Wiring(evse_id=1, phases=3, max_current_a=32.0, voltage_v=230.0)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

seconds = st.integers(-3600, 3600)
moments = seconds.map(lambda s: NOON + timedelta(seconds=s))
maybe_moments = st.none() | moments


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    starts = sorted({0, *draw(st.sets(st.integers(1, 3600), max_size=3))})
    unit = draw(st.sampled_from(RateUnit))
    most = 40.0 if unit is RateUnit.AMPERES else 30_000.0
    periods = tuple(
        Period(start, draw(st.floats(0, most)), draw(st.none() | st.integers(1, 3))) for start in map(float, starts)
    )
    return Schedule(unit, periods, draw(maybe_moments), draw(st.none() | st.integers(1, 5000).map(float)))


@st.composite
def profiles(draw: st.DrawFn, purpose: ProfilePurpose | None = None) -> Profile:
    kind = draw(st.sampled_from(ProfileKind))
    return Profile(
        profile_id=draw(st.integers(1, 9)),
        evse_id=draw(st.sampled_from((0, 1, 2))),
        stack_level=draw(st.integers(0, 4)),
        purpose=purpose or draw(st.sampled_from(ProfilePurpose)),
        kind=kind,
        schedule=draw(schedules()),
        every=draw(st.sampled_from((DAY, timedelta(minutes=20)))) if kind is ProfileKind.RECURRING else None,
        valid_from=draw(maybe_moments),
        valid_to=draw(maybe_moments),
    )


held = st.lists(profiles(), max_size=5)
few = settings(max_examples=20)


def profile(limit: float = 16.0, purpose: ProfilePurpose = ProfilePurpose.TX, **given: object) -> Profile:
    schedule = Schedule(RateUnit.AMPERES, (Period(0, limit),))
    fields = {
        "profile_id": 1,
        "evse_id": 1,
        "stack_level": 0,
        "kind": ProfileKind.RELATIVE,
        "schedule": schedule,
        **given,
    }
    return Profile(purpose=purpose, **fields)  # type: ignore[arg-type]


@given(held, moments, maybe_moments)
@few
def test_a_limit_is_0_or_between_the_least_current_and_what_the_evse_gives(
    held: list[Profile], moment: datetime, began: datetime | None
) -> None:
    limit = limit_at(held, WIRING, moment, began)

    assert limit.current_a == 0 or 6 <= limit.current_a <= WIRING.max_current_a
    assert 1 <= limit.phases <= WIRING.phases


@given(held, profiles(ProfilePurpose.STATION_MAX), moments, maybe_moments)
@few
def test_no_profile_of_the_whole_charger_raises_a_limit_that_no_other_of_its_kind_set(
    held: list[Profile], station: Profile, moment: datetime, began: datetime | None
) -> None:
    others = [profile for profile in held if profile.purpose is not ProfilePurpose.STATION_MAX]
    before, after = (limit_at(given, WIRING, moment, began) for given in (others, [*others, station]))

    assert after.current_a <= before.current_a
    assert after.phases <= before.phases


@given(held, moments, maybe_moments, st.floats(0, 1))
@few
def test_between_two_changes_a_limit_stays_what_it_is(
    held: list[Profile], moment: datetime, began: datetime | None, part: float
) -> None:
    change = next_change(held, moment, began)
    assert change is None or change > moment
    until = change or moment + DAY
    between = moment + (until - moment) * part

    if between < until:
        assert limit_at(held, WIRING, between, began) == limit_at(held, WIRING, moment, began)


@given(held, moments, maybe_moments, st.integers(0, 7200))
@few
def test_a_composite_schedule_says_at_each_second_what_is_in_force_then(
    held: list[Profile], start: datetime, began: datetime | None, after_s: int
) -> None:
    periods = composite_schedule(held, WIRING, start, 7201, began)
    said = [period for period in periods if period.start_s <= after_s][-1]

    assert limit_at(held, WIRING, start + timedelta(seconds=after_s), began) == Limit(said.limit, said.phases or 0)
    assert periods[0].start_s == 0


@given(held, maybe_moments)
@few
def test_a_profile_that_lapsed_is_as_good_as_none(held: list[Profile], began: datetime | None) -> None:
    late = NOON + timedelta(days=2)
    left = [profile for profile in held if profile.valid_to is None]

    assert limit_at(held, WIRING, late, began) == limit_at(left, WIRING, late, began)


def test_without_profiles_the_evse_gives_what_it_can() -> None:
    assert limit_at([], WIRING, NOON, NOON) == Limit(32.0, 3)


def test_within_a_purpose_the_highest_valid_stack_level_prevails_even_if_it_allows_more() -> None:
    low, high = profile(8.0), profile(20.0, stack_level=3, valid_to=NOON + MINUTE)

    assert limit_at([high, low], WIRING, NOON, NOON).current_a == 20.0
    assert limit_at([high, low], WIRING, NOON + MINUTE, NOON).current_a == 8.0


def test_a_tx_profile_overrules_the_default_until_it_lapses() -> None:
    default = profile(6.0, ProfilePurpose.TX_DEFAULT, stack_level=5)
    limit = profile(16.0, valid_to=NOON + MINUTE)

    assert limit_at([default, limit], WIRING, NOON, NOON).current_a == 16.0
    assert limit_at([default, limit], WIRING, NOON + MINUTE, NOON).current_a == 6.0
    assert next_change([default, limit], NOON, NOON) == NOON + MINUTE


def test_the_evses_own_default_replaces_that_of_the_whole_charger() -> None:
    general = profile(20.0, ProfilePurpose.TX_DEFAULT, evse_id=0, stack_level=4)
    own = profile(10.0, ProfilePurpose.TX_DEFAULT)

    assert limit_at([general, own], WIRING, NOON, NOON).current_a == 10.0
    assert limit_at([general], WIRING, NOON, NOON).current_a == 20.0


def test_the_profile_of_the_whole_charger_is_shared_among_its_transactions() -> None:
    station = profile(30.0, ProfilePurpose.STATION_MAX, evse_id=0, kind=ProfileKind.ABSOLUTE)
    shared = Wiring(1, 3, 32.0, 230.0, sharing=2)

    assert limit_at([station], WIRING, NOON, NOON).current_a == 30.0
    assert limit_at([station], shared, NOON, NOON).current_a == 15.0


def test_watts_are_over_all_phases_in_use() -> None:
    three = profile(schedule=Schedule(RateUnit.WATTS, (Period(0, 11_040.0),)))
    one = profile(schedule=Schedule(RateUnit.WATTS, (Period(0, 3_680.0, 1),)))

    assert limit_at([three], WIRING, NOON, NOON) == Limit(16.0, 3)
    assert limit_at([one], WIRING, NOON, NOON) == Limit(16.0, 1)
    assert limit_at([three], Wiring(1, 1, 63.0, 230.0), NOON, NOON) == Limit(48.0, 1)


def test_less_than_the_least_current_is_a_pause() -> None:
    assert limit_at([profile(5.9)], WIRING, NOON, NOON).current_a == 0.0


def test_a_recurring_schedule_begins_again() -> None:
    nightly = Schedule(RateUnit.AMPERES, (Period(0, 10.0), Period(3600, 20.0)), NOON, 7200.0)
    daily = profile(schedule=nightly, kind=ProfileKind.RECURRING, every=DAY)

    at = [NOON + 2 * DAY + timedelta(hours=hours) for hours in (0, 1, 2)]
    assert [limit_at([daily], WIRING, moment, NOON).current_a for moment in at] == [10.0, 20.0, 32.0]
    assert next_change([daily], at[2], NOON) == NOON + 3 * DAY


def test_a_relative_schedule_counts_from_the_transactions_start() -> None:
    steps = profile(schedule=Schedule(RateUnit.AMPERES, (Period(0, 10.0), Period(60, 20.0))))

    assert limit_at([steps], WIRING, NOON + MINUTE, NOON).current_a == 20.0
    assert limit_at([steps], WIRING, NOON + MINUTE, NOON + MINUTE).current_a == 10.0
