"""Sites that live through hours with cars that come and go, chargers that do not obey, lost meters and wrong clocks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.charging.sharing.conftest import NOON, list_exceeded_limits

from charging_agent.charging.sharing import Allotment, Car, Memory, SharingPolicy, SiteRoom, allocate, clamp_plan

ROUNDS = 120


@dataclass
class Life:
    """One site and what goes wrong on it, all drawn from one number."""

    random: Random
    cars: list[Car] = field(default_factory=list[Car])
    memory: Memory = field(default_factory=Memory.initial)
    now: datetime = NOON
    policy: SharingPolicy = field(default_factory=SharingPolicy)
    came: int = 0

    def room(self) -> SiteRoom:
        random = self.random
        phase_a = tuple(random.uniform(0, 80) for _ in range(3))
        feeder_a = {"main": (random.choice([32.0, 63.0, 100.0]),) * 3}
        total_kw, ceiling_kw = random.uniform(-3, 45), random.choice([5.0, 11.0, 22.0])
        return SiteRoom(total_kw, phase_a, feeder_a, 230.0, ceiling_kw, pauses=random.random() < 0.05)

    def pass_time(self) -> None:
        random = self.random
        # Now and then the clock jumps, or is set back.
        self.now += timedelta(seconds=random.choice([15, 15, 15, 15, 15, 1, 300, -600]))
        self.cars = [one for one in self.cars if random.random() < 0.98]
        if len(self.cars) < 9 and random.random() < 0.3:
            self.came += 1
            self.cars.append(self._new_car())

    def obey(self, allotments: tuple[Allotment, ...]) -> None:
        told = {one.key: one.limit_a for one in allotments}
        self.cars = [self._after(one, told[one.key]) for one in self.cars]

    def _new_car(self) -> Car:
        random = self.random
        phases = random.choice([(1, 2, 3), (2, 3, 1), (1,), (2,), (3,)])
        departure = random.choice([None, self.now + timedelta(seconds=random.randint(600, 9000))])
        return Car(
            (f"CP-{self.came:03}", 1),
            phases,
            random.choice([16.0, 20.0, 32.0]),
            priority=random.choice([0, 0, 1]),
            guaranteed_a=random.choice([0.0, 0.0, 6.0, 10.0]),
            energy_left_kwh=random.choice([None, 4.0, 20.0]),
            departure=departure,
            can_switch_phases=random.random() < 0.5,
        )

    def _after(self, one: Car, told_a: float) -> Car:
        random = self.random
        # A charger may not have heard, or may hold a lower limit; a car may take less, or more, or not be measured.
        limit_a = random.choice([told_a] * 8 + [one.limit_a, min(told_a, 6.0)])
        taken_a = (limit_a or 0.0) * random.choice([1.0, 1.0, 1.0, 0.5, 0.0, 1.3])
        drawn_a = tuple(taken_a if phase in one.phases else 0.0 for phase in (1, 2, 3))
        return replace(
            one,
            limit_a=limit_a,
            drawn_a=random.choice([drawn_a, drawn_a, drawn_a, None]),
            is_charging=taken_a > 0,
            wants=random.random() < 0.99,
        )


def live(seed: int) -> None:
    life = Life(Random(seed))
    for _ in range(ROUNDS):
        life.pass_time()
        room = life.room()
        shared = allocate(life.cars, room, life.memory, life.now, life.policy)

        assert list_exceeded_limits(shared.allotments, life.cars, room) == []
        assert clamp_plan(shared.allotments, life.cars, room) == (shared.allotments, ())
        assert not [one for one in shared.allotments if 0 < one.limit_a < 6.0]
        assert not [one for one in shared.allotments if room.pauses and one.limit_a > 0]

        life.memory = shared.memory
        life.obey(shared.allotments)


@settings(max_examples=2)
@given(st.integers(0, 2**32 - 1))
def test_no_limit_is_exceeded_on_a_day_on_which_much_goes_wrong(seed: int) -> None:
    live(seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_no_limit_is_exceeded_on_many_days_on_which_much_goes_wrong(seed: int) -> None:
    live(seed)
