"""Honest cars lose nothing by being asked for proof: the twin's day in June, with the agent's own logic."""

from __future__ import annotations

import pytest
from tests.unit.charging_agent.charging.sharing_loop import SharingLoop
from tests.unit.charging_agent.charging.twin_day import TwinDay

from charging_agent.charging.sharing import CarKey


def assert_nothing_is_lost(period_s: int, seed: int) -> None:
    believing, asking = (TwinDay(SharingLoop(believes_reports=one), period_s, seed) for one in (True, False))

    today_kwh, energy_kwh = believing.live(), asking.live()

    assert today_kwh > 100
    assert energy_kwh >= 0.99 * today_kwh
    assert asking.contradicted == set[CarKey]()
    assert asking.highest_kw <= 86


@pytest.mark.parametrize("period_s", [60, 600])
def test_honest_cars_get_the_energy_that_they_would_get_without_proof(period_s: int) -> None:
    assert_nothing_is_lost(period_s, seed=7)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
def test_honest_cars_get_it_on_other_days_too_and_every_15_s(seed: int) -> None:
    assert_nothing_is_lost(15, seed)
