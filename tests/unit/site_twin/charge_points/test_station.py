"""A charger without its network: whatever happens to it, what it offers is something that a car can be given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.site_twin.charge_points.central_system import NOON

from ev_service.clock import SteppedClock
from site_twin.charge_points import EvsePlan, ParkedCars, Quirk
from site_twin.charge_points.outbox import MAX_MESSAGES, Outbox, OutgoingMessage
from site_twin.charge_points.profile_handling import clear_profiles, remote_stop, set_profile
from site_twin.charge_points.profiles import Period, Profile, ProfileKind, ProfilePurpose, RateUnit, Schedule
from site_twin.charge_points.protocol_version import BootReason, StopReason
from site_twin.charge_points.station import Station, StationConfig
from site_twin.charge_points.v16 import V16
from site_twin.charge_points.v201 import V201
from site_twin.ports import NOTHING, Offer

PLAN = EvsePlan(1, (1, 2, 3), 32.0)
ACTS = ("plug", "unplug", "limit", "default", "watts", "clear", "stop", "off", "on", "wait")
acts = st.lists(st.tuples(st.sampled_from(ACTS), st.floats(0, 40), st.integers(1, 900)), max_size=12)
quirks = st.sets(st.sampled_from(Quirk), max_size=3)


@dataclass
class Standing:
    """The station as the place where a car stands."""

    station: Station
    charger_id: str = "CP-1"

    def plan(self, evse_id: int) -> EvsePlan:
        return PLAN

    def compute_offer(self, evse_id: int, moment: datetime) -> Offer:
        return self.station.compute_offer(evse_id, moment)


def order(station: Station, act: str, limit: float, until: datetime) -> Profile:
    purpose = ProfilePurpose.TX_DEFAULT if act == "default" else ProfilePurpose.TX
    unit = RateUnit.WATTS if act == "watts" else RateUnit.AMPERES
    schedule = Schedule(unit, (Period(0, limit * (690 if act == "watts" else 1)),))
    number, name = (1 if act == "default" else 2), station.transactions()[1]
    ends = None if act == "default" else until
    transaction = None if act == "default" else name
    return Profile(number, 1, 0, purpose, ProfileKind.RELATIVE, schedule, valid_to=ends, transaction_id=transaction)


def do(standing: Standing, cars: ParkedCars, clock: SteppedClock, act: str, limit: float, seconds: int) -> None:
    station = standing.station
    match act:
        case "plug":
            cars.plug(standing)
        case "unplug":
            if cars.car_at("CP-1", 1) is not None:
                cars.unplug("CP-1")
        case "limit" | "default" | "watts":
            set_profile(station, order(station, act, limit, clock.now() + timedelta(seconds=seconds)))
        case "clear":
            clear_profiles(station)
        case "stop":
            remote_stop(station, station.transactions()[1] or "")
        case "off":
            station.switch_off(BootReason.WATCHDOG, StopReason.POWER_LOSS)
        case "on":
            station.switch_on()
            station.boot_reason = None
        case _:
            clock.advance(seconds)
    station.tick()
    if (transaction := station.evses[1].transaction) is not None:
        transaction.wire_id = transaction.wire_id or "7"


@given(st.booleans(), quirks, acts)
@settings(max_examples=25)
def test_an_offer_is_0_or_something_that_a_car_can_be_given(
    is_16: bool, quirks: set[Quirk], acts: Sequence[tuple[str, float, int]]
) -> None:
    clock = SteppedClock(NOON)
    cars = ParkedCars(clock)
    station = Station(StationConfig("CP-1", (PLAN,), cars, quirks), V16() if is_16 else V201())
    station.boot_reason = None
    standing = Standing(station)
    register_kwh = 0.0

    for act, limit, seconds in acts:
        do(standing, cars, clock, act, limit, seconds)
        offer = station.compute_offer(1, clock.now())
        metered = cars.meter("CP-1", 1)

        assert offer.limit_a == 0 or 6 <= offer.limit_a <= PLAN.max_current_a
        assert metered.register_kwh >= register_kwh
        assert max(metered.current_a) <= offer.limit_a
        register_kwh = metered.register_kwh
        if station.is_off or station.evses[1].transaction is None:
            assert offer == NOTHING


def test_the_outbox_keeps_what_must_not_be_lost_and_no_more_than_it_can_hold() -> None:
    outbox, answers = Outbox(), list[object]()
    outbox.add(OutgoingMessage(make=lambda: "kept", is_kept=True))
    outbox.add(OutgoingMessage(make=lambda: "dropped", answered=answers.append))
    outbox.drop_volatile()
    assert answers == [None]

    for _ in range(MAX_MESSAGES + 5):
        outbox.add(OutgoingMessage(make=lambda: "more", is_kept=True, answered=answers.append))
    assert len(outbox.waiting) == MAX_MESSAGES


def test_of_several_meter_values_that_wait_only_the_newest_is_sent() -> None:
    outbox = Outbox()
    for value in ("old", "new"):
        outbox.add(OutgoingMessage(make=lambda value=value: value, key="meter 1"))

    assert [message.make() for message in outbox.waiting] == ["new"]
