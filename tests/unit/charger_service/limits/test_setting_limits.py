"""Setting limits: who may, what fits, in which order, and what is answered."""

import asyncio

import pytest
from tests.unit.charger_service.limits.conftest import NOON, House

from charger_service.lease import LeaseConflictError
from charger_service.ports import (
    ChargingNeeds,
    CommandStatus,
    MeterReading,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from ev_service.charging import EvseState, LimitOutcome

pytestmark = pytest.mark.anyio

APPLIED, PARTLY, REJECTED = LimitOutcome.APPLIED, LimitOutcome.PARTLY_APPLIED, LimitOutcome.REJECTED


@pytest.fixture
async def charging(house: House) -> House:
    """Three cars charge at their fallback of 6 A."""
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")
    house.points.sent.clear()
    return house


async def test_a_car_that_comes_gets_the_fallback_until_somebody_commands(charging: House) -> None:
    assert [charging.really_a(one) for one in charging.site.chargers] == [6.0, 6.0, 6.0]
    evse = charging.evse("CP-1")
    assert (evse.limit_a, evse.fallback_a, evse.is_confirmed) == (None, 6.0, True)


async def test_limits_are_applied_as_asked_where_they_fit(charging: House) -> None:
    results = await charging.set(CP_1=32.0, CP_2=16.0, CP_3=0.0)

    assert [(one.outcome, one.limit_a, one.limited_by) for one in results] == [
        (APPLIED, 32.0, None),
        (APPLIED, 16.0, None),
        (APPLIED, 0.0, None),
    ]
    assert [charging.really_a(one) for one in charging.site.chargers] == [32.0, 16.0, 0.0]
    assert charging.evse("CP-2").limit_a == 16.0


async def test_what_does_not_fit_is_lowered_and_says_why(anyio_backend: str) -> None:
    house = House(feeder_a=50.0)
    await house.connect()
    await house.plug("CP-1", "CP-2", "CP-3")

    results = await house.set(CP_1=32.0, CP_2=32.0, CP_3=32.0)

    # 6 A of the third stay counted while the others are served: it may fall to them at any time.
    assert [(one.outcome, one.limit_a, one.limited_by) for one in results] == [
        (APPLIED, 32.0, None),
        (PARTLY, 12.0, "feeder_limit"),
        (PARTLY, 6.0, "feeder_limit"),
    ]


async def test_reductions_are_confirmed_before_anything_is_raised(charging: House) -> None:
    await charging.set(CP_1=32.0, CP_2=32.0, CP_3=32.0)
    charging.points.sent.clear()

    await charging.set(CP_1=32.0, CP_2=10.0, CP_3=0.0)
    await charging.set(CP_1=16.0, CP_2=32.0)

    assert charging.points.sent.index(("CP-1", 16.0)) < charging.points.sent.index(("CP-2", 32.0))


async def test_an_unconfirmed_reduction_frees_nothing(anyio_backend: str) -> None:
    house = House(("CP-1", "CP-2"), feeder_a=40.0)
    await house.connect()
    await house.plug("CP-1", "CP-2")
    await house.set(CP_1=32.0)
    house.points.at("CP-1").answer = CommandStatus.NO_ANSWER

    first, second = await house.set(CP_1=6.0, CP_2=32.0)

    assert (first.outcome, first.limited_by) == (REJECTED, "charger_no_answer")
    assert (second.outcome, second.limit_a, second.limited_by) == (PARTLY, 8.0, "feeder_limit")


async def test_who_hangs_holds_nobody_up_and_is_believed_when_it_answers_late(anyio_backend: str) -> None:
    house = House(("CP-1", "CP-2"), feeder_a=40.0)
    await house.connect()
    await house.plug("CP-1", "CP-2")
    await house.set(CP_1=32.0)
    waits = house.points.at("CP-1").waits = asyncio.Event()

    late, other = await house.set(CP_1=6.0, CP_2=32.0)
    assert (late.limited_by, other.limit_a) == ("charger_no_answer", 8.0)
    assert house.evse("CP-1").is_confirmed is False

    waits.set()
    await house.settled()
    assert (house.evse("CP-1").limit_a, house.evse("CP-1").is_confirmed) == (6.0, True)
    assert (await house.set(CP_2=32.0))[0].limit_a == 32.0


async def test_an_order_that_is_overtaken_while_it_waits_is_never_sent(charging: House) -> None:
    waits = charging.points.at("CP-1").waits = asyncio.Event()
    await charging.set(CP_1=10.0)
    await charging.set(CP_1=9.0)
    await charging.set(CP_1=8.0)

    waits.set()
    await charging.settled()

    assert [sent for sent in charging.points.sent if sent[0] == "CP-1"] == [("CP-1", 10.0), ("CP-1", 8.0)]


@pytest.mark.parametrize(
    ("answer", "limited_by"),
    [(CommandStatus.REJECTED, "charger_rejected"), (CommandStatus.NOT_SUPPORTED, "charger_rejected")],
)
async def test_a_refusal_leaves_what_was_before(charging: House, answer: CommandStatus, limited_by: str) -> None:
    await charging.set(CP_1=10.0)
    charging.points.at("CP-1").answer = answer

    (result,) = await charging.set(CP_1=20.0)

    assert (result.outcome, result.limited_by, result.limit_a) == (REJECTED, limited_by, 10.0)


async def test_what_can_not_be_is_refused_one_by_one(charging: House) -> None:
    await charging.disconnect("CP-3")
    limit = charging.limit
    results = await charging.put(
        limit("CP-9", 10.0),
        limit("CP-1", 10.0).model_copy(update={"evse_id": 2}),
        limit("CP-1", 3.0),
        limit("CP-2", 10.0),
        limit("CP-2", 11.0),
        limit("CP-3", 10.0),
        limit("CP-1", 10.0, valid_s=20.0),
        limit("CP-1", 10.0, phases=1),
    )

    assert [one.limited_by for one in results] == [
        "unknown_charger",
        "unknown_evse",
        "least_current",
        None,
        "duplicate",
        "not_connected",
        "valid_until",
        # The third already spoke for CP-1.
        "duplicate",
    ]
    assert [one.outcome for one in results] == [*[REJECTED] * 3, APPLIED, *[REJECTED] * 4]
    assert charging.points.sent == [("CP-2", 10.0)]


@pytest.mark.parametrize(("valid_s", "is_taken"), [(20, False), (40, True), (3600, True), (4000, False)])
async def test_a_limit_lives_three_periods_at_least_and_an_hour_at_most(
    charging: House, valid_s: float, is_taken: bool
) -> None:
    (result,) = await charging.put(charging.limit("CP-1", 10.0, valid_s))

    assert result.limited_by == (None if is_taken else "valid_until")


async def test_only_an_evse_that_can_switch_takes_fewer_phases(charging: House) -> None:
    (refused,) = await charging.put(charging.limit("CP-1", 10.0, phases=1))
    assert refused.limited_by == "phases"

    house = House(("CP-1",), evse={"can_switch_phases": True, "phases": [2, 3, 1]})
    await house.connect()
    await house.plug("CP-1")
    (applied,) = await house.put(house.limit("CP-1", 16.0, phases=1))
    assert applied.outcome is APPLIED
    # L2 of the site is the charger's L1; the fallback counts on all of them.
    assert house.site.max_currents(("CP-1", 1)) == (6.0, 16.0, 6.0)


async def test_one_commander_at_a_time(charging: House) -> None:
    await charging.set(CP_1=10.0)
    with pytest.raises(LeaseConflictError, match="agent commands until 2026-06-21T12:01:00Z"):
        await charging.put(charging.limit("CP-1", 20.0), commander="other")

    charging.clock.advance(60)
    (result,) = await charging.put(charging.limit("CP-1", 20.0), commander="other")
    assert result.outcome is APPLIED


async def test_a_call_that_commands_nothing_neither_needs_the_lease_nor_takes_it(charging: House) -> None:
    await charging.put(charging.limit("CP-9", 20.0), commander="somebody")
    await charging.set(CP_1=10.0)
    (result,) = await charging.put(charging.limit("CP-9", 20.0), commander="somebody")

    assert result.limited_by == "unknown_charger"
    answer = await charging.limits.limit_service.set_limits([charging.limit("CP-1", 3.0)], "somebody", None)
    assert answer.lease.commander == "agent"


async def test_a_limit_for_an_empty_place_is_kept_for_the_next_car(charging: House) -> None:
    await charging.unplug("CP-1")

    (result,) = await charging.set(CP_1=20.0)
    assert (result.outcome, result.detail) == (APPLIED, "no car is there; it is kept for the next one")
    assert charging.points.at("CP-1").limit is None

    await charging.plug("CP-1")
    assert charging.really_a("CP-1") == 20.0


async def test_the_limit_is_sent_again_after_the_car_begins_to_charge(charging: House) -> None:
    await charging.set(CP_1=10.0)
    charging.limits.events.on_evse_state("CP-1", 1, EvseState.SUSPENDED_EV)
    charging.points.at("CP-1").limit = None
    charging.points.sent.clear()

    charging.limits.events.on_evse_state("CP-1", 1, EvseState.CHARGING)
    await charging.settled()

    assert charging.points.sent == [("CP-1", 10.0)]


async def test_a_session_that_was_not_seen_to_begin_is_limited_all_the_same(house: House) -> None:
    await house.connect()

    house.limits.events.on_transaction_updated(TransactionUpdated("CP-1", 1, "unheard", NOON, state=EvseState.CHARGING))
    await house.settled()

    assert house.points.sent == [("CP-1", 6.0)]
    assert house.limits.views.sessions().sessions[0].started_at == NOON


async def test_what_ended_stays_ended_however_often_it_is_told(charging: House) -> None:
    session = charging.site.get_session(("CP-1", 1))
    assert session is not None
    await charging.unplug("CP-1")

    await charging.limits.events.on_transaction_started(
        TransactionStarted("CP-1", 1, session.transaction_id, NOON, 100.0)
    )
    await charging.limits.events.on_transaction_ended(TransactionEnded("CP-1", session.transaction_id, NOON))

    assert [one.charger_id for one in charging.limits.views.sessions().sessions] == ["CP-2", "CP-3"]


async def test_a_place_that_is_free_has_no_session_though_nobody_told_its_end(charging: House) -> None:
    charging.limits.events.on_evse_state("CP-1", 1, EvseState.AVAILABLE)

    assert charging.evse("CP-1").session is None


async def test_energy_and_needs_are_those_of_the_session(charging: House) -> None:
    charging.limits.events.on_meter_values("CP-1", 1, MeterReading(NOON, energy_kwh=107.5, power_kw=4.14))
    charging.limits.events.on_charging_needs(
        "CP-1", 1, ChargingNeeds(energy_wanted_kwh=20.0, departure=NOON.replace(hour=18))
    )

    session = charging.evse("CP-1").session
    measured = charging.evse("CP-1").measured
    assert session is not None
    assert measured is not None
    assert (session.energy_kwh, session.energy_wanted_kwh) == (7.5, 27.5)
    assert session.departure == NOON.replace(hour=18)
    assert (measured.power_kw, measured.current_a) == (4.14, (18.0, 18.0, 18.0))


async def test_currents_are_those_of_the_sites_phases(anyio_backend: str) -> None:
    house = House(("CP-1",), evse={"phases": [2, 3, 1]})
    await house.connect()
    await house.plug("CP-1")

    house.limits.events.on_meter_values("CP-1", 1, MeterReading(NOON, current_a=(10.0, 11.0, 12.0)))

    measured = house.evse("CP-1").measured
    assert measured is not None
    assert measured.current_a == (12.0, 10.0, 11.0)


async def test_reports_of_places_that_the_site_does_not_have_are_passed_over(house: House) -> None:
    events = house.limits.events
    events.on_connect("CP-9", "1.6")
    events.on_evse_state("CP-1", 7, EvseState.CHARGING)
    events.on_transaction_updated(TransactionUpdated("CP-1", None, "somewhere", NOON))
    events.on_meter_values("CP-1", None, MeterReading(NOON, transaction_id="nowhere", power_kw=3.0))
    events.on_charging_needs("CP-1", 7, ChargingNeeds(1.0))
    await events.on_transaction_started(TransactionStarted("CP-1", 7, "x", NOON))

    assert house.limits.views.sessions().sessions == ()


async def test_each_transaction_has_a_number_of_its_own_and_the_same_beginning_the_same(house: House) -> None:
    first = await house.limits.numbers.number_of("CP-1", "12:00 tag 1")
    second = await house.limits.numbers.number_of("CP-2", "12:00 tag 1")

    assert await house.limits.numbers.number_of("CP-1", "12:00 tag 1") == first
    assert first != second
    assert 0 < first < 2**31


async def test_what_a_charger_may_have_taken_without_a_word_counts_until_it_confirms_another(
    anyio_backend: str,
) -> None:
    house = House(("CP-1", "CP-2"), feeder_a=40.0)
    await house.connect()
    await house.plug("CP-1", "CP-2")
    house.points.at("CP-1").answer, house.points.at("CP-1").obeys = CommandStatus.NO_ANSWER, True
    await house.set(CP_1=30.0)
    house.points.at("CP-1").answer, house.points.at("CP-1").obeys = CommandStatus.REJECTED, False
    await house.set(CP_1=6.0)

    (held_back,) = await house.set(CP_2=32.0)
    assert (house.really_a("CP-1"), held_back.limit_a) == (30.0, 10.0)

    house.points.at("CP-1").answer = CommandStatus.ACCEPTED
    await house.set(CP_1=6.0)
    assert (await house.set(CP_2=32.0))[0].limit_a == 32.0
