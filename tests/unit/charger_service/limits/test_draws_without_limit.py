"""What is drawn without a limit that the charger accepted counts, whatever state the charger reports."""

import pytest
from tests.unit.charger_service.limits.conftest import House

from charger_service.limit_state import SETTLES_S
from charger_service.ports import CommandStatus
from ev_service.charging import EvseState, LimitOutcome

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(anyio_backend: str) -> House:
    """Two chargers on a feeder that carries one car of 32 A and a second of 31 A, with a car at the second."""
    house = House(("CP-1", "CP-2"), feeder_a=63.0)
    await house.connect()
    await house.plug("CP-2")
    return house


@pytest.mark.parametrize("state", [state for state in EvseState if state is not EvseState.UNKNOWN])
async def test_what_is_drawn_without_a_transaction_counts_in_every_state(house: House, state: EvseState) -> None:
    house.limits.events.on_evse_state("CP-1", 1, state)
    house.meter("CP-1", 32.0)

    (result,) = await house.set(CP_2=32.0)

    assert (result.outcome, result.limit_a, result.limited_by) == (LimitOutcome.PARTLY_APPLIED, 31.0, "feeder_limit")


async def test_others_are_lowered_for_a_car_that_begins_to_draw_without_a_transaction(house: House) -> None:
    await house.set(CP_2=32.0)
    await house.pass_time(1)

    house.meter("CP-1", 32.0)
    await house.pass_time(1)

    assert house.really_a("CP-2") == 31.0


@pytest.mark.parametrize("answer", [CommandStatus.REJECTED, CommandStatus.NOT_SUPPORTED, CommandStatus.NO_ANSWER])
async def test_a_car_whose_charger_accepts_no_limit_for_it_counts_with_what_it_draws(
    house: House, answer: CommandStatus
) -> None:
    house.points.at("CP-1").answer = answer
    await house.plug("CP-1")
    await house.set(CP_1=8.0, CP_2=0.0)
    await house.pass_time(SETTLES_S + 1)
    house.meter("CP-1", 32.0)

    _, result = await house.set(CP_1=8.0, CP_2=32.0)

    assert house.evse("CP-1").is_overdrawing
    assert (result.outcome, result.limit_a, result.limited_by) == (LimitOutcome.PARTLY_APPLIED, 31.0, "feeder_limit")


@pytest.mark.parametrize("drawn_a", [0.0, 6.0])
async def test_a_car_at_its_fallback_is_not_said_to_draw_too_much(house: House, drawn_a: float) -> None:
    house.points.at("CP-1").answer = CommandStatus.REJECTED
    await house.plug("CP-1")

    house.meter("CP-1", drawn_a)

    assert not house.evse("CP-1").is_overdrawing
