"""A system clock may be set, and a charger's may show anything: neither keeps power on, ends a stop or hides a draw."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.charger_service.limits.conftest import NOON, House
from tests.unit.charger_service.limits.test_operators_word import WHO, build_fixed_power_order, stop

from charger_service.limit_supervisor import LOOKS_EVERY_S
from charger_service.metering import SampleOrder, add_sample, is_current
from charger_service.ports import ChargerModel, CommandStatus, MeterReading

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


@pytest.fixture
async def charging(house: House) -> AsyncIterator[House]:
    """Three cars, the first at 32 A for a minute."""
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")
    await house.set(CP_1=32.0)
    yield house
    house.close()


def set_by(house: House, by: timedelta) -> None:
    house.clock.set_wall(house.clock.now() + by)


# What ends by the service's clock.


async def test_a_clock_that_is_set_back_keeps_no_limit_alive(charging: House) -> None:
    set_by(charging, -HOUR)
    await charging.pass_time(59)
    assert charging.really_a("CP-1") == 32.0

    await charging.pass_time(1)

    assert charging.really_a("CP-1") == 6.0
    assert charging.evse("CP-1").limit_a is None


async def test_a_clock_that_is_set_forward_ends_limits_at_once(charging: House) -> None:
    set_by(charging, HOUR)

    await charging.pass_time(1)

    assert charging.really_a("CP-1") == 6.0


async def test_a_limit_shows_when_it_ends_by_the_clock_as_it_is_set(charging: House) -> None:
    assert charging.evse("CP-1").valid_until == NOON + timedelta(seconds=60)
    set_by(charging, -HOUR)

    assert charging.evse("CP-1").valid_until == NOON - HOUR + timedelta(seconds=60)


@pytest.mark.parametrize("by", [HOUR, -HOUR, timedelta(days=400)])
async def test_a_clock_that_is_set_ends_no_stop(charging: House, by: timedelta) -> None:
    await charging.operator_service.set_override(stop(minutes=30), WHO)
    set_by(charging, by)
    for _ in range(29):
        await charging.pass_time(60)
        assert [charging.really_a(one) for one in charging.site.chargers] == [0.0, 0.0, 0.0]

    state = charging.operator_service.override_state()
    assert state.override is not None
    assert state.override.until > charging.clock.now()
    assert (await charging.set(CP_1=32.0))[0].limited_by == "override"


async def test_a_stop_ends_where_both_clocks_say_so(charging: House) -> None:
    await charging.operator_service.set_override(stop(minutes=30), WHO)
    set_by(charging, HOUR)

    await charging.pass_time(30 * 60)

    assert charging.operator_service.override_state().override is None


async def test_no_power_at_all_is_a_stop_too(charging: House) -> None:
    await charging.operator_service.set_override(build_fixed_power_order(0.0), WHO)
    set_by(charging, HOUR)
    await charging.pass_time(60)

    assert charging.operator_service.override_state().override is not None


async def test_a_clock_that_is_set_back_keeps_no_fixed_power_alive(charging: House) -> None:
    await charging.operator_service.set_override(build_fixed_power_order(22.0), WHO)
    assert charging.really_a("CP-1") > 6.0
    set_by(charging, -HOUR)

    await charging.pass_time(30 * 60)

    assert charging.operator_service.override_state().override is None
    assert charging.really_a("CP-1") == 6.0


async def test_a_lowered_site_limit_ends_by_no_clock(charging: House) -> None:
    charging.site.operator_limit_kw = 20.0
    set_by(charging, timedelta(days=400))
    await charging.pass_time(60)

    assert charging.site.site_limit_kw == 20.0


async def test_a_clock_that_is_set_back_keeps_no_lease_alive(charging: House) -> None:
    set_by(charging, -HOUR)
    charging.clock.advance(60)

    (result,) = await charging.put(charging.limit("CP-1", 20.0), commander="other")

    assert result.outcome == "applied"


@pytest.mark.parametrize("by", [timedelta(0), -HOUR])
async def test_after_a_restart_a_limit_lasts_no_longer_than_was_written(tmp_path: Path, by: timedelta) -> None:
    before = House(folder=tmp_path)
    await before.connect()
    await before.plug("CP-1")
    await before.set(CP_1=20.0)
    before.close()
    set_by(before, by)

    after = House(folder=tmp_path, clock=before.clock, points=before.points)
    await after.connect()
    assert after.really_a("CP-1") == 20.0
    await after.pass_time(60)

    assert after.really_a("CP-1") == 6.0
    after.close()


@pytest.mark.parametrize("by", [timedelta(0), HOUR, -HOUR])
async def test_after_a_restart_a_stop_lasts_as_long_as_was_written(tmp_path: Path, by: timedelta) -> None:
    before = House(folder=tmp_path)
    await before.connect()
    await before.plug("CP-1")
    await before.operator_service.set_override(stop(minutes=30), WHO)
    for _ in range(20):
        await before.pass_time(60)
    before.close()
    set_by(before, by)

    after = House(folder=tmp_path, clock=before.clock, points=before.points)
    await after.connect()
    await after.pass_time(9 * 60)
    assert after.operator_service.override_state().override is not None
    assert after.really_a("CP-1") == 0.0

    await after.pass_time(2 * 60)
    assert after.operator_service.override_state().override is None
    after.close()


async def test_the_watch_looks_as_often_whatever_sets_the_clock(charging: House) -> None:
    async with charging.limits.running():
        for by in (-HOUR, 3 * HOUR):
            await charging.settled()
            set_by(charging, by)
            charging.clock.advance(60 + LOOKS_EVERY_S)
            await charging.until(lambda: charging.really_a("CP-1") == 6.0)
            await charging.set(CP_1=32.0)


# What a charger's clock says.


@pytest.mark.parametrize(
    "clock",
    [
        timedelta(0),
        timedelta(seconds=-60),
        timedelta(hours=-5),
        timedelta(hours=14),
        datetime(1970, 1, 1, tzinfo=UTC) - NOON,
        timedelta(days=3650),
    ],
)
async def test_whatever_a_chargers_clock_shows_a_car_that_draws_too_much_is_found(
    charging: House, clock: timedelta
) -> None:
    charging.meter("CP-1", 30.0, charging.clock.now() + clock)
    await charging.set(CP_1=10.0)
    charging.clock.advance(10)
    charging.meter("CP-1", 31.0, charging.clock.now() + clock)

    assert charging.evse("CP-1").is_overdrawing
    measured = charging.evse("CP-1").measured
    assert measured is not None
    assert measured.measured_at == charging.clock.now()

    charging.clock.advance(10)
    charging.meter("CP-1", 10.0, charging.clock.now() + clock)
    assert not charging.evse("CP-1").is_overdrawing


@pytest.mark.parametrize("period_s", [5, 10, 60])
@pytest.mark.parametrize("by", [timedelta(seconds=-20), -HOUR, HOUR, timedelta(days=-20000)])
async def test_a_chargers_clock_that_jumps_makes_its_meter_deaf_for_two_samples_at_most(
    charging: House, by: timedelta, period_s: int
) -> None:
    for _ in range(6):
        charging.clock.advance(period_s)
        charging.meter("CP-1", 8.0)
        await charging.set(CP_1=8.0)
    for _ in range(2):
        charging.clock.advance(period_s)
        charging.meter("CP-1", 31.0, charging.clock.now() + by)

    assert charging.evse("CP-1").is_overdrawing


@given(stamps=st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), min_size=30, max_size=40))
def test_no_series_of_times_makes_a_meter_deaf(stamps: list[datetime | None]) -> None:
    order: SampleOrder | None = None
    heard_s = 0.0
    for number, at in enumerate(stamps):
        reading, now_s = MeterReading(at, power_kw=1.0), number * 3.0
        if is_current(order, reading, now_s, since_s=0.0):
            order, heard_s = add_sample(order, reading, now_s), now_s
        assert now_s - heard_s < 9.0


@pytest.mark.parametrize("renewed_every_s", [1, 5, 8])
async def test_renewing_a_limit_hides_no_car(charging: House, renewed_every_s: int) -> None:
    await charging.set(CP_1=10.0)
    for _ in range(0, 24, renewed_every_s):
        charging.clock.advance(renewed_every_s)
        await charging.set(CP_1=10.0)
        charging.meter("CP-1", 31.0)

    assert charging.evse("CP-1").is_overdrawing
    assert charging.limits.metrics.overdraws._value.get() == 1  # pyright: ignore[reportPrivateUsage]


async def test_changing_a_limit_all_the_time_hides_no_car(charging: House) -> None:
    for number in range(8):
        await charging.set(CP_1=10.0 + number % 2)
        charging.clock.advance(5)
        charging.meter("CP-1", 31.0)

    assert charging.evse("CP-1").is_overdrawing


async def test_a_renewal_that_is_not_answered_hides_no_car(charging: House) -> None:
    await charging.set(CP_1=10.0)
    charging.points.at("CP-1").answer = CommandStatus.NO_ANSWER
    charging.clock.advance(11)
    await charging.set(CP_1=10.0)
    charging.meter("CP-1", 31.0)

    assert charging.evse("CP-1").is_overdrawing


async def test_a_car_has_time_to_follow_each_lower_limit_and_no_more(charging: House) -> None:
    charging.clock.advance(30)
    await charging.set(CP_1=16.0)
    charging.clock.advance(9)
    charging.meter("CP-1", 31.0)
    assert not charging.evse("CP-1").is_overdrawing
    charging.clock.advance(1)
    charging.meter("CP-1", 31.0)
    assert charging.evse("CP-1").is_overdrawing


# What was stored while the charger was away.


async def test_what_a_charger_marks_as_stored_counts_as_energy_alone(charging: House) -> None:
    await charging.set(CP_1=10.0)
    charging.clock.advance(30)
    charging.meter("CP-1", 31.0, is_stored=True, energy_kwh=101.5)

    assert charging.evse("CP-1").measured is None
    assert not charging.evse("CP-1").is_overdrawing
    session = charging.evse("CP-1").session
    assert session is not None
    assert session.energy_kwh == 1.5


@pytest.mark.parametrize("order", [1, -1])
async def test_a_burst_of_stored_samples_after_connecting_does_not_count_as_now(charging: House, order: int) -> None:
    await charging.set(CP_1=10.0)
    charging.clock.advance(20)
    charging.meter("CP-1", 10.0)
    await charging.disconnect("CP-1")
    charging.clock.advance(1800)
    await charging.connect("CP-1")
    for minute in list(range(1, 28))[::order]:
        charging.meter("CP-1", 31.0, NOON + timedelta(minutes=minute))

    measured = charging.evse("CP-1").measured
    assert measured is not None
    assert measured.current_a == (10.0, 10.0, 10.0)
    charging.meter("CP-1", 6.0)
    assert not charging.evse("CP-1").is_overdrawing


async def test_stored_samples_between_those_of_now_do_not_count(charging: House) -> None:
    await charging.set(CP_1=10.0)
    charging.clock.advance(20)
    for second in range(20):
        charging.clock.advance(1)
        charging.meter("CP-1", 10.0)
        charging.meter("CP-1", 31.0, NOON - HOUR + timedelta(seconds=second))

    assert not charging.evse("CP-1").is_overdrawing


async def test_after_a_boot_what_was_stored_before_it_does_not_count(charging: House) -> None:
    charging.clock.advance(20)
    charging.meter("CP-1", 6.0)
    charging.clock.advance(300)
    charging.limits.events.on_boot("CP-1", ChargerModel("V", "M"))
    charging.meter("CP-1", 31.0, NOON + timedelta(seconds=60))

    measured = charging.evse("CP-1").measured
    assert measured is not None
    assert measured.current_a == (6.0, 6.0, 6.0)
