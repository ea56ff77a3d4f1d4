"""Cars and sites, a site that lives through rounds, and what hypothesis draws of all that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st

from charging_agent.charging.sharing import (
    AllocationResult,
    Allotment,
    Car,
    CarKey,
    CarMemory,
    Memory,
    SharingPolicy,
    SiteRoom,
    allocate,
)
from ev_service.charging import ChargingMode

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
HASTY = SharingPolicy(
    turn_s=7200.0, minimum_off_s=0.0, calm_s=0.0, hysteresis_kw=0.0, ramp_percent_per_s=1e6, phase_switch_s=0.0
)
"""Nothing is delayed, but turns are long; and the first round rises no further, for no time has passed yet."""

NEVER = SharingPolicy(
    turn_s=1e9, minimum_off_s=1e9, calm_s=1e9, hysteresis_kw=1e9, ramp_percent_per_s=0.0, phase_switch_s=1e9
)
"""Every increase and every voluntary change is delayed for ever."""


def car(name: str = "A", phases: tuple[int, ...] = (1,), max_a: float = 32.0, **told: Any) -> Car:
    return Car((name, 1), phases, max_a, **told)


def room(total_kw: float = 1000.0, phase_a: float | tuple[float, ...] = 1000.0, **told: Any) -> SiteRoom:
    of_all: dict[str, Any] = {
        "total_kw": total_kw,
        "phase_a": phase_a if isinstance(phase_a, tuple) else (phase_a,) * 3,
        "feeder_a": {"main": (1000.0, 1000.0, 1000.0)},
        "voltage_v": 230.0,
        "ceiling_kw": 22.08,
    }
    return SiteRoom(**of_all | told)


def at_once(cars: Sequence[Car], of: SiteRoom, policy: SharingPolicy = HASTY) -> dict[str, Allotment]:
    """What sharing comes to when there is nothing to wait for."""
    first = allocate(cars, of, Memory.initial(), NOON, policy)
    return by_name(allocate(cars, of, first.memory, NOON + timedelta(hours=1), policy))


def amperes(cars: Sequence[Car], of: SiteRoom, policy: SharingPolicy = HASTY) -> dict[str, float]:
    return {name: allotment.limit_a for name, allotment in at_once(cars, of, policy).items()}


def by_name(shared: AllocationResult) -> dict[str, Allotment]:
    return {allotment.key[0]: allotment for allotment in shared.allotments}


class Site:
    """Rounds that follow each other; chargers obey at once, and cars draw what they are told, but at most that."""

    def __init__(self, cars: Sequence[Car], of: SiteRoom, policy: SharingPolicy | None = None) -> None:
        self.cars, self.room, self.policy = list(cars), of, SharingPolicy() if policy is None else policy
        self.takes_a: dict[str, float] = {}
        self.memory, self.now = Memory.initial(), NOON

    def round(self, after_s: float = 15.0) -> dict[str, Allotment]:
        self.now += timedelta(seconds=after_s)
        shared = allocate(self.cars, self.room, self.memory, self.now, self.policy)
        self.memory = shared.memory
        told = by_name(shared)
        self.cars = [self._obeying(one, told[one.key[0]]) for one in self.cars]
        return told

    def rounds(self, for_s: float, every_s: float = 15.0) -> list[dict[str, Allotment]]:
        return [self.round(every_s) for _ in range(int(for_s / every_s))]

    def _obeying(self, one: Car, told: Allotment) -> Car:
        taken_a = min(told.limit_a, self.takes_a.get(one.key[0], told.limit_a))
        used = one.phases[: told.phases]
        drawn_a = tuple(taken_a if phase in used else 0.0 for phase in (1, 2, 3))
        return replace(one, limit_a=told.limit_a, drawn_a=drawn_a, is_charging=taken_a > 0)


def phases_of(one: Car, allotment: Allotment) -> tuple[int, ...]:
    return one.phases[: allotment.phases]


def list_exceeded_limits(allotments: Sequence[Allotment], cars: Sequence[Car], of: SiteRoom) -> list[str]:
    """The limits that a plan breaks, added up in decimals, as the numbers are written."""
    found: list[str] = []
    site_w = Decimal(0)
    on_phase: dict[int, Decimal] = {}
    on_feeder: dict[tuple[str, int], Decimal] = {}
    by_key = {one.key: one for one in cars}
    for allotment in allotments:
        one, current = by_key[allotment.key], Decimal(repr(allotment.limit_a))
        own_w = current * len(phases_of(one, allotment)) * _to_decimal(of.voltage_v)
        site_w += own_w
        found += [f"{one.key} charger"] if current > _to_decimal(one.max_a) else []
        found += [f"{one.key} ceiling"] if own_w > _to_decimal(of.ceiling_kw) * 1000 else []
        for phase in phases_of(one, allotment):
            on_phase[phase] = on_phase.get(phase, Decimal(0)) + current
            feeder = one.feeder_id, phase
            on_feeder[feeder] = on_feeder.get(feeder, Decimal(0)) + current
    found += ["site"] if site_w > _to_decimal(of.total_kw) * 1000 else []
    for phase, sum_a in on_phase.items():
        found += [f"phase {phase}"] if sum_a > _to_decimal(_limit(of.phase_a, phase)) else []
    for (feeder_id, phase), sum_a in on_feeder.items():
        limits_a = of.feeder_a.get(feeder_id, ())
        found += [f"feeder {feeder_id} {phase}"] if sum_a > _to_decimal(_limit(limits_a, phase)) else []
    return found


def _limit(limits_a: Sequence[float], phase: int) -> float:
    return limits_a[phase - 1] if phase <= len(limits_a) else 0.0


def _to_decimal(value: float) -> Decimal:
    return max(Decimal(0), Decimal(repr(value))) if value == value else Decimal(0)


@dataclass(frozen=True)
class World:
    """Everything that one round depends on."""

    cars: tuple[Car, ...]
    room: SiteRoom
    memory: Memory
    now: datetime
    policy: SharingPolicy


def world(seed: int) -> World:
    """Any cars, room and memory, good and bad ones.

    Drawn from one number: hypothesis would spend a hundred times as long on drawing each field as sharing takes.
    """
    random = Random(seed)
    cars = tuple(_any_car(random, f"CP-{number}") for number in range(random.randrange(8)))
    known = tuple(
        _any_memory(random, key) for key in [*(one.key for one in cars), ("gone", 1)] if random.random() < 0.7
    )
    memory = Memory(known, max((one.since for one in known), default=None), random.choice([None, _moment(random)]))
    policy = random.choice([SharingPolicy(), HASTY, NEVER, SharingPolicy(step_a=1.0), SharingPolicy(step_a=0.5)])
    return World(cars, _any_room(random), memory, _moment(random), policy)


worlds = st.integers(0, 2**32 - 1).map(world)


_POWERS_KW = [11.04, 22.0, float("nan"), float("inf")]


def _any_car(random: Random, name: str) -> Car:
    drawn_a = tuple(_current(random) for _ in range(random.randint(1, 3)))
    return Car(
        key=(name, 1),
        phases=random.choice([(1,), (2,), (3,), (1, 2, 3), (2, 3, 1), (3, 1, 2), (1, 2)]),
        max_a=random.choice([16.0, 32.0, _current(random)]),
        priority=random.randrange(3),
        guaranteed_a=random.choice([0.0, 0.0, _current(random) / 2]),
        energy_left_kwh=random.choice([None, 0.0, random.uniform(0, 60)]),
        departure=random.choice([None, _moment(random)]),
        can_switch_phases=random.random() < 0.5,
        feeder_id=random.choice(["main", "main", "east"]),
        drawn_a=random.choice([None, drawn_a]),
        limit_a=random.choice([None, _current(random)]),
        is_charging=random.random() < 0.5,
        wants=random.random() < 0.9,
        mode=random.choice([ChargingMode.SMART, *ChargingMode]),
    )


def _any_room(random: Random) -> SiteRoom:
    feeders = random.choice([["main"], ["main", "east"]])
    return SiteRoom(
        total_kw=random.choice([*_POWERS_KW, random.randrange(60) / 1.0, random.uniform(-5, 60)]),
        phase_a=tuple(_limit_a(random) for _ in range(random.choice([1, 3, 3, 3]))),
        feeder_a={feeder_id: tuple(_limit_a(random) for _ in range(3)) for feeder_id in feeders},
        voltage_v=random.choice([230.0, 230.0, 120.0, 277.1, random.uniform(100, 300)]),
        ceiling_kw=random.choice([5.0, 11.0, 22.0, 4.0, random.uniform(0, 25)]),
        pauses=random.random() < 0.1,
        surplus_kw=random.choice([0.0, float("nan"), random.randrange(40) / 1.0, random.uniform(-5, 40)]),
    )


def _any_memory(random: Random, key: CarKey) -> CarMemory:
    limit_a = random.choice([0.0, random.randrange(60, 320) / 10])
    since = _moment(random)

    def earlier() -> datetime | None:
        return random.choice([None, since - timedelta(seconds=random.choice([0, 30, 3600]))])

    return CarMemory(
        key=key,
        limit_a=limit_a,
        phases=random.choice([1, 3]),
        since=since,
        has_stopped=limit_a == 0 and random.random() < 0.5,
        changed_at=earlier(),
        raised_at=earlier(),
        switched_at=earlier(),
        enough_since=earlier(),
        lack_since=earlier(),
    )


def _moment(random: Random) -> datetime:
    return NOON + timedelta(seconds=random.choice([random.randint(-60, 60), random.randint(-7200, 7200)]))


def _current(random: Random) -> float:
    # Often as people write them, for it is there that sums meet their limits.
    return random.choice([0.0, 6.0, 10.0, 16.0, 32.0, random.randrange(400) / 10, random.uniform(0, 40)])


def _limit_a(random: Random) -> float:
    return random.choice([16.0, 32.0, 63.0, 1000.0, random.randrange(1500) / 10, random.uniform(-5, 150)])
