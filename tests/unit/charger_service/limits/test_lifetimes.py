"""What happens to limits as time passes, as chargers come and go, and as cars do not keep to them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.limit_supervisor import LOOKS_EVERY_S
from charger_service.ports import ChargerModel, CommandStatus, MeterReading
from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def charging(house: House) -> AsyncIterator[House]:
    """Three cars at 32 A, for a minute."""
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")
    await house.set(CP_1=32.0, CP_2=32.0, CP_3=32.0)
    house.points.sent.clear()
    yield house
    house.close()


async def test_limits_that_nobody_renews_lapse_to_the_fallback(charging: House) -> None:
    await charging.pass_time(59)
    assert charging.really_a("CP-1") == 32.0

    await charging.pass_time(1)
    assert [charging.really_a(one) for one in charging.site.chargers] == [6.0, 6.0, 6.0]
    assert charging.evse("CP-1").limit_a is None
    assert charging.limits.metrics.lapses._value.get() == 3  # pyright: ignore[reportPrivateUsage]


async def test_a_jump_of_the_clock_lapses_limits_as_its_passing_does(charging: House) -> None:
    await charging.pass_time(3600)

    assert [charging.really_a(one) for one in charging.site.chargers] == [6.0, 6.0, 6.0]


async def test_the_charger_drops_a_limit_by_itself_where_the_service_is_gone(charging: House) -> None:
    charging.clock.advance(75)

    # Nobody watched: what is left is the charger's own default, under the end that the limit carries.
    assert [charging.really_a(one) for one in charging.site.chargers] == [6.0, 6.0, 6.0]


async def test_a_limit_that_is_renewed_does_not_lapse(charging: House) -> None:
    for _ in range(5):
        await charging.pass_time(30)
        await charging.set(CP_1=32.0)

    assert charging.really_a("CP-1") == 32.0
    assert charging.really_a("CP-2") == 6.0


async def test_the_fallback_is_renewed_for_as_long_as_the_car_stays(charging: House) -> None:
    for _ in range(10):
        await charging.pass_time(1500)

    assert charging.points.at("CP-1").limit is not None
    assert charging.really_a("CP-1") == 6.0


async def test_a_kept_limit_lapses_too(house: House) -> None:
    await house.connect()
    await house.set(CP_1=32.0)
    await house.pass_time(61)

    await house.plug("CP-1")

    assert house.really_a("CP-1") == 6.0


async def test_what_was_not_confirmed_is_sent_again(charging: House) -> None:
    charging.points.at("CP-1").answer = CommandStatus.NO_ANSWER
    await charging.set(CP_1=6.0)
    charging.points.at("CP-1").answer = CommandStatus.ACCEPTED
    charging.points.sent.clear()

    await charging.pass_time(5)
    assert charging.points.sent == []
    await charging.pass_time(5)
    assert charging.points.sent == [("CP-1", 6.0)]
    assert charging.evse("CP-1").is_confirmed


async def test_a_lapsed_limit_is_pressed_until_the_charger_takes_the_fallback(charging: House) -> None:
    charging.points.at("CP-1").answer = CommandStatus.REJECTED
    await charging.pass_time(60)
    assert not charging.evse("CP-1").is_confirmed
    # It counts with all that it may still draw.
    assert charging.site.max_currents(("CP-1", 1)) == (32.0, 32.0, 32.0)

    charging.points.at("CP-1").answer = CommandStatus.ACCEPTED
    await charging.pass_time(10)
    assert charging.really_a("CP-1") == 6.0


async def test_a_charger_that_comes_back_is_told_its_limit_and_its_fallback(charging: House) -> None:
    await charging.disconnect("CP-1")
    charging.points.told.clear()

    await charging.connect("CP-1")

    assert (charging.points.at("CP-1").default_a, charging.really_a("CP-1")) == (6.0, 32.0)


async def test_a_charger_that_comes_back_after_its_limit_lapsed_is_told_the_fallback(charging: House) -> None:
    await charging.disconnect("CP-1")
    await charging.pass_time(120)

    await charging.connect("CP-1")

    assert charging.really_a("CP-1") == 6.0
    assert charging.evse("CP-1").is_confirmed


async def test_a_charger_that_is_away_counts_with_what_it_was_told_last(charging: House) -> None:
    await charging.disconnect("CP-1")
    await charging.pass_time(120)

    assert charging.site.max_currents(("CP-1", 1)) == (32.0, 32.0, 32.0)


async def test_a_lower_limit_for_a_charger_that_is_away_waits_for_its_return(charging: House) -> None:
    await charging.disconnect("CP-1")
    (result,) = await charging.set(CP_1=10.0)
    assert result.limited_by == "not_connected"

    await charging.connect("CP-1")

    assert charging.really_a("CP-1") == 10.0


async def test_a_charger_that_rebooted_may_draw_all_it_can_until_it_confirms(anyio_backend: str) -> None:
    house = House(("CP-1", "CP-2"), feeder_a=40.0)
    await house.connect()
    await house.plug("CP-1", "CP-2")

    house.limits.events.on_boot("CP-1", ChargerModel("V", "M"))
    (result,) = await house.set(CP_2=32.0)
    assert (result.limit_a, result.limited_by) == (8.0, "feeder_limit")

    await house.connect("CP-1")
    (result,) = await house.set(CP_2=32.0)
    assert result.limit_a == 32.0


async def test_who_holds_no_default_counts_in_full_when_it_is_gone_and_others_give_way(anyio_backend: str) -> None:
    house = House(("CP-1", "CP-2"), feeder_a=40.0)
    house.points.at("CP-1").default_answer = CommandStatus.NOT_SUPPORTED
    await house.connect()
    await house.plug("CP-1", "CP-2")
    await house.set(CP_2=32.0)

    await house.disconnect("CP-1")
    await house.pass_time(1)

    assert house.really_a("CP-2") == 8.0
    assert house.evse("CP-2").limited_by == "feeder_limit"


async def test_a_car_that_draws_more_than_it_may_is_said_counted_and_told_again(charging: House) -> None:
    await charging.set(CP_1=10.0)
    charging.points.sent.clear()
    charging.clock.advance(5)
    charging.meter("CP-1", 32.0)
    assert not charging.evse("CP-1").is_overdrawing, "a car may take some seconds to follow"

    charging.clock.advance(6)
    charging.meter("CP-1", 31.0)
    await charging.settled()
    assert charging.evse("CP-1").is_overdrawing
    assert charging.site.max_currents(("CP-1", 1)) == (31.0, 31.0, 31.0)
    assert charging.points.sent == [("CP-1", 10.0)]
    assert charging.limits.metrics.overdraws._value.get() == 1  # pyright: ignore[reportPrivateUsage]

    charging.meter("CP-1", 10.4)
    assert not charging.evse("CP-1").is_overdrawing


async def test_a_car_that_follows_a_higher_limit_before_its_charger_answers_does_nothing_wrong(charging: House) -> None:
    await charging.set(CP_1=0.0)
    charging.clock.advance(30)
    waits = charging.points.at("CP-1").waits = asyncio.Event()

    await charging.set(CP_1=10.0)
    charging.meter("CP-1", 9.6)
    assert not charging.evse("CP-1").is_overdrawing

    waits.set()
    await charging.settled()
    assert charging.limits.metrics.overdraws._value.get() == 0  # pyright: ignore[reportPrivateUsage]


async def test_others_give_way_to_a_car_that_draws_more_than_it_may(anyio_backend: str) -> None:
    house = House(("CP-1", "CP-2"), feeder_a=40.0)
    await house.connect()
    await house.plug("CP-1", "CP-2")
    await house.set(CP_1=10.0, CP_2=30.0)
    house.clock.advance(11)
    house.meter("CP-1", 20.0)

    await house.pass_time(1)

    assert house.really_a("CP-2") == 20.0


async def test_what_flows_without_a_transaction_counts(house: House) -> None:
    await house.connect()
    house.limits.events.on_evse_state("CP-1", 1, EvseState.CHARGING)
    house.meter("CP-1", 20.0)

    assert house.site.max_currents(("CP-1", 1)) == (20.0, 20.0, 20.0)


async def test_a_meter_that_falls_silent_proves_nothing_and_is_asked(charging: House) -> None:
    charging.clock.advance(11)
    charging.meter("CP-1", 40.0)
    assert charging.evse("CP-1").is_overdrawing

    await charging.pass_time(61)
    await charging.pass_time(1)

    assert charging.evse("CP-1").is_overdrawing
    assert charging.points.asked.count("CP-1") == 1


async def test_values_that_arrive_late_do_not_replace_newer_ones(charging: House) -> None:
    charging.clock.advance(30)
    charging.meter("CP-1", 30.0)
    charging.limits.events.on_meter_values("CP-1", 1, MeterReading(NOON, current_a=(5.0, 5.0, 5.0)))

    measured = charging.evse("CP-1").measured
    assert measured is not None
    assert measured.current_a == (30.0, 30.0, 30.0)


async def test_a_default_that_was_not_confirmed_is_sent_again(house: House) -> None:
    house.points.at("CP-1").default_answer = CommandStatus.NO_ANSWER
    await house.connect()
    await house.pass_time(1)
    house.points.at("CP-1").default_answer = CommandStatus.ACCEPTED

    await house.pass_time(10)

    assert house.points.at("CP-1").default_a == 6.0
    assert house.site.limit_states["CP-1", 1].is_unknown is False


async def test_what_does_not_answer_that_it_is_idle_counts_in_full(house: House) -> None:
    house.points.offline.add("CP-1")
    await house.connect("CP-2", "CP-3")

    assert house.site.max_currents(("CP-1", 1)) == (32.0, 32.0, 32.0)
    assert house.site.max_currents(("CP-2", 1)) == (6.0, 6.0, 6.0)


async def test_the_watch_goes_on_whatever_breaks(charging: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[object]:
        monkeypatch.undo()
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(charging.limits.allocator, "trim", broken)
    charging.site.is_dirty = True
    async with charging.limits.running():
        await charging.settled()
        charging.clock.advance(120 + LOOKS_EVERY_S)
        while charging.really_a("CP-1") != 6.0 or charging.points.at("CP-1").limit is None:
            await charging.settled()

    assert charging.evse("CP-1").state is EvseState.CHARGING
