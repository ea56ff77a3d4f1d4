"""Limits that outlive their transaction count until their charger takes them back."""

from pathlib import Path

import pytest
from tests.unit.charger_service.limits.conftest import House

from charger_service.ports import CommandStatus, KnownMethod, LimitMethod, LimitPurpose, MeterReading, RateUnit
from ev_service.charging import LimitOutcome

pytestmark = pytest.mark.anyio

OUTLIVING = LimitMethod(LimitPurpose.TX_DEFAULT, 1, RateUnit.AMPERES)
REPLACING = LimitMethod(LimitPurpose.TX_DEFAULT, 0, RateUnit.AMPERES)
OF_TRANSACTION = LimitMethod(LimitPurpose.TX, 1, RateUnit.AMPERES)
IN_WATTS = LimitMethod(LimitPurpose.TX, 1, RateUnit.WATTS)


@pytest.fixture
async def house(anyio_backend: str) -> House:
    """Two chargers on a feeder that carries 48 A, with a car at each; the first limited to 32 A."""
    house = House(("CP-1", "CP-2"), feeder_a=48.0)
    house.points.at("CP-1").method = OUTLIVING
    await house.connect()
    await house.plug("CP-1", "CP-2")
    await house.put(house.limit("CP-1", 32.0, valid_s=600))
    return house


async def raised_a(house: House) -> float | None:
    """What the second charger is granted of 32 A."""
    (result,) = await house.set(CP_2=32.0)
    return result.limit_a


async def leave(house: House, charger_id: str = "CP-1") -> None:
    """The car leaves; what its charger holds of its limit stays, as with a default profile."""
    told = house.points.at(charger_id)
    held = told.limit
    session = house.site.get_session((charger_id, 1))
    assert session is not None
    await house.unplug(charger_id)
    if told.clear_answer is not CommandStatus.ACCEPTED:
        told.limit = held


@pytest.mark.parametrize("answer", [CommandStatus.NO_ANSWER, CommandStatus.REJECTED, CommandStatus.NOT_SUPPORTED])
async def test_a_limit_that_its_charger_does_not_take_back_counts_and_is_asked_for_again(
    house: House, answer: CommandStatus
) -> None:
    house.points.at("CP-1").clear_answer = answer
    await leave(house)
    assert await raised_a(house) == 16.0

    await house.pass_time(11)
    assert await raised_a(house) == 16.0
    asked = len(house.points.cleared)
    house.points.at("CP-1").clear_answer = CommandStatus.ACCEPTED
    await house.pass_time(11)

    assert asked > 1
    assert await raised_a(house) == 32.0
    await house.pass_time(60)
    assert len(house.points.cleared) == asked + 1


async def test_a_limit_that_is_taken_back_counts_no_more(house: House) -> None:
    await leave(house)

    assert house.points.cleared == ["CP-1"]
    assert await raised_a(house) == 32.0


async def test_a_limit_of_a_charger_that_is_away_counts_until_it_is_back(house: House) -> None:
    house.points.at("CP-1").clear_answer = CommandStatus.NOT_CONNECTED
    await leave(house)
    await house.disconnect("CP-1")
    assert await raised_a(house) == 16.0

    house.points.at("CP-1").clear_answer = CommandStatus.ACCEPTED
    await house.connect("CP-1")
    await house.pass_time(11)

    assert await raised_a(house) == 32.0


async def test_the_next_cars_limit_takes_the_place_of_what_lingers(house: House) -> None:
    house.points.at("CP-1").clear_answer = CommandStatus.NO_ANSWER
    await leave(house)
    await house.plug("CP-1")
    await house.set(CP_1=8.0)

    assert await raised_a(house) == 32.0
    asked = len(house.points.cleared)
    await house.pass_time(11)
    assert len(house.points.cleared) == asked


async def test_a_limit_of_a_transaction_is_never_cleared(house: House) -> None:
    house.points.at("CP-2").method = OF_TRANSACTION
    await house.set(CP_2=16.0)
    await house.unplug("CP-2")
    await house.pass_time(11)

    assert house.points.cleared == []


async def test_a_limit_that_takes_the_place_of_the_fallback_counts_until_that_is_back(house: House) -> None:
    told = house.points.at("CP-1")
    told.method = REPLACING
    await house.put(house.limit("CP-1", 32.0, valid_s=600))
    sent = told.default_a
    told.default_a = None
    # The fallback is not sent over the limit of a car that is there.
    await house.pass_time(11)
    assert told.default_a is None

    told.default_answer = CommandStatus.NO_ANSWER
    await house.unplug("CP-1")
    assert await raised_a(house) == 16.0
    told.default_answer = CommandStatus.ACCEPTED
    await house.pass_time(11)

    assert told.default_a == sent
    assert house.points.cleared == []
    assert await raised_a(house) == 32.0


async def test_what_lingers_is_counted_after_a_restart_as_well(anyio_backend: str, tmp_path: Path) -> None:
    before = House(("CP-1", "CP-2"), feeder_a=48.0, folder=tmp_path)
    before.points.at("CP-1").method = OUTLIVING
    await before.connect()
    before.limits.events.on_limit_method("CP-1", KnownMethod(OUTLIVING))
    await before.plug("CP-1")
    await before.put(before.limit("CP-1", 32.0, valid_s=600))
    before.points.at("CP-1").clear_answer = CommandStatus.NO_ANSWER
    await leave(before)
    await before.limits.writer.write()
    before.close()

    after = House(("CP-1", "CP-2"), feeder_a=48.0, folder=tmp_path, clock=before.clock, points=before.points)
    await after.connect()
    await after.plug("CP-2")
    assert await raised_a(after) == 16.0
    after.points.at("CP-1").clear_answer = CommandStatus.ACCEPTED
    await after.pass_time(11)

    assert await raised_a(after) == 32.0
    assert after.site.known_methods == {"CP-1": KnownMethod(OUTLIVING)}
    after.close()


async def test_a_car_on_one_phase_is_told_watts_for_one_phase_as_soon_as_its_meter_says_so(house: House) -> None:
    house.points.at("CP-1").method = IN_WATTS
    await house.set(CP_1=10.0)
    limit = house.points.at("CP-1").limit
    assert limit is not None
    assert limit.phases_in_use is None

    house.limits.events.on_meter_values("CP-1", 1, MeterReading(house.clock.now(), current_a=(10.0, 0.0, 0.0)))
    await house.settled()

    limit = house.points.at("CP-1").limit
    assert limit is not None
    assert limit.phases_in_use == 1


async def test_a_fallback_in_watts_counts_with_what_a_car_on_one_phase_gets_of_it(house: House) -> None:
    house.points.at("CP-1").method = IN_WATTS
    await house.set(CP_1=6.0)
    assert house.site.max_currents(("CP-1", 1)) == (6.0, 6.0, 6.0)

    house.limits.events.on_meter_values("CP-1", 1, MeterReading(house.clock.now(), current_a=(6.0, 0.0, 0.0)))

    assert house.site.max_currents(("CP-1", 1)) == (18.0, 18.0, 18.0)
    (result,) = await house.set(CP_2=32.0)
    assert (result.outcome, result.limit_a) == (LimitOutcome.PARTLY_APPLIED, 30.0)
