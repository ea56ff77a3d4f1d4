"""A report that the connection's meter contradicts starves nobody; one that it confirms counts."""

import pytest
from tests.unit.charger_service.protection.conftest import MeteredHouse

from ev_service.charging import EvseState

pytestmark = pytest.mark.anyio


async def charging_beside(reported_a: float, drawn_a: float) -> MeteredHouse:
    """Two cars at 20 A; after a while the third charger, without a transaction, reports and draws something."""
    house = MeteredHouse()
    await house.charging(CP_1=20.0, CP_2=20.0)
    house.limits.events.on_evse_state("CP-3", 1, EvseState.CHARGING)
    house.meter("CP-3", 0.0)
    await house.seconds(3)
    house.meter("CP-3", reported_a)
    house.draws["CP-3"] = drawn_a
    return house


async def a_while(house: MeteredHouse, reported_a: float, seconds: int = 100) -> None:
    for _ in range(0, seconds, 5):
        await house.pass_time(5)
        house.report()
        house.meter("CP-3", reported_a)
        await house.message()
        await house.set(CP_1=20.0, CP_2=20.0)


async def test_one_liar_starves_nobody_whose_draw_the_meter_confirms() -> None:
    house = await charging_beside(90.0, 0.0)
    assert max(house.site.max_currents(("CP-3", 1))) == 90.0

    await a_while(house, 90.0)

    assert max(house.site.max_currents(("CP-3", 1))) == 32.0
    results = await house.set(CP_1=26.0, CP_2=26.0)
    assert [one.limit_a for one in results] == [26.0, 26.0]
    assert house.evse("CP-3").measured is not None


async def test_a_miswired_evse_that_really_draws_it_counts_with_it() -> None:
    house = await charging_beside(50.0, 50.0)

    await a_while(house, 50.0)

    assert max(house.site.max_currents(("CP-3", 1))) == 50.0


async def test_a_meter_that_is_lost_contradicts_nobody() -> None:
    house = await charging_beside(90.0, 0.0)
    await a_while(house, 90.0)

    house.meter_source.obstacle = "offline"
    await house.protection.check_meter()

    assert max(house.site.max_currents(("CP-3", 1))) == 90.0


async def test_what_the_meter_confirms_of_a_report_is_told_with_it() -> None:
    house = await charging_beside(90.0, 0.0)
    await house.seconds(5)

    honest, liar = house.evse("CP-1").measured, house.evse("CP-3").measured
    assert honest is not None
    assert liar is not None
    assert honest.confirmed_power_kw == pytest.approx(20 * 0.69, abs=0.01)
    assert honest.confirmed_current_a == pytest.approx((20.0, 20.0, 20.0), abs=0.01)
    assert (liar.confirmed_power_kw, liar.confirmed_current_a) == (0.0, (0.0, 0.0, 0.0))

    house.meter_source.obstacle = "offline"
    await house.protection.check_meter()

    lost = house.evse("CP-1").measured
    assert lost is not None
    assert (lost.confirmed_power_kw, lost.confirmed_current_a) == (None, None)
