"""What the plan means for each car: which limit binds it, when its power changes, what its charging costs."""

from dataclasses import dataclass

import numpy as np

from charging_agent.scheduling.formulation import circuit_headrooms, map_circuits
from charging_agent.scheduling.problem import FloatArray, SchedulingProblem
from charging_agent.scheduling.schedule import BindingLimit, ChargingSchedule

_TOLERANCE_KW = 1e-6


@dataclass(frozen=True, slots=True)
class CarPlan:
    """The plan of one car, for an explanation in words."""

    key: str
    """Key of the request."""

    power_kw: float
    """Planned power in the first step [kW]."""

    limited_by: str | None
    """The limit that costs this car most while it is there, named as in `BindingLimit.limit`; None: none binds it."""

    limit_price_per_kwh: float
    """What one more kWh below that limit would save [currency/kWh]; 0 without a limit."""

    limit_step: int | None
    """The step in which it is that price; None without a limit."""

    change_step: int | None
    """First step whose power differs from that of the first step; None: it does not change."""

    next_power_kw: float
    """Power from `change_step` on [kW]; `power_kw` without a change."""

    energy_kwh: float
    """Planned energy [kWh]."""

    shortfall_kwh: float
    """Energy that the car does not get by departure [kWh]."""

    cost: float
    """Expected cost of its energy, at the import price or at what its export would have earned [currency]."""

    cost_at_once: float
    """The same if it charged at full power from now on, as without a plan and without limits [currency]."""


def describe_cars(problem: SchedulingProblem, schedule: ChargingSchedule) -> tuple[CarPlan, ...]:
    """Describe the plan of each car, in the order of the requests."""
    price = energy_price_per_kwh(problem, schedule)
    bound = _limits_of_cars(problem, schedule)
    return tuple(_describe(problem, schedule, car, price, bound[car]) for car in range(len(problem.requests)))


def energy_price_per_kwh(problem: SchedulingProblem, schedule: ChargingSchedule) -> FloatArray:
    """Price of a further kWh per step: the export price while the site exports, otherwise the import price."""
    exports = schedule.export_kw > _TOLERANCE_KW
    return np.where(exports, problem.export_price_per_kwh, problem.marginal_price_per_kwh)


def _limits_of_cars(problem: SchedulingProblem, schedule: ChargingSchedule) -> list[list[BindingLimit]]:
    cars_of: dict[str, FloatArray] = {"peak": np.ones(len(problem.requests))}
    feeds = map_circuits(problem)
    for index, circuit in enumerate(problem.circuits):
        for name, _, shares in circuit_headrooms(problem, circuit):
            cars_of[name] = shares * feeds[index]
    return [
        [limit for limit in schedule.binding if cars_of[limit.limit][car] > 0] for car in range(len(problem.requests))
    ]


def _describe(
    problem: SchedulingProblem,
    schedule: ChargingSchedule,
    car: int,
    price: FloatArray,
    limits: list[BindingLimit],
) -> CarPlan:
    request, powers = problem.requests[car], schedule.powers_of(car)
    first = int(schedule.first_steps[car])
    steps = slice(first, first + len(powers))
    best: tuple[float, int, str] | None = None
    for limit in limits:
        prices = limit.price_per_kwh[steps]
        highest = float(prices.max(initial=0.0))
        if highest > 0 and (best is None or highest > best[0]):
            best = (highest, first + int(prices.argmax()), limit.limit)
    now_kw = float(powers[0]) if len(powers) and first == 0 else 0.0
    # Before it comes and after it has left, a car charges with 0.
    course = np.concatenate((np.zeros(first), powers, np.zeros(max(schedule.steps - first - len(powers), 0))))
    changes = np.flatnonzero(np.abs(course - now_kw) > _TOLERANCE_KW)
    energy = powers * problem.step_h
    full_kwh = request.max_power_kw * problem.step_h
    at_once = np.clip(request.energy_kwh - full_kwh * np.arange(len(powers)), 0.0, full_kwh)
    return CarPlan(
        key=request.key,
        power_kw=now_kw,
        limited_by=best[2] if best else None,
        limit_price_per_kwh=best[0] if best else 0.0,
        limit_step=best[1] if best else None,
        change_step=int(changes[0]) if len(changes) else None,
        next_power_kw=float(course[changes[0]]) if len(changes) else now_kw,
        energy_kwh=float(energy.sum()),
        shortfall_kwh=float(schedule.shortfall_kwh[car]),
        cost=float(energy @ price[steps]),
        cost_at_once=float(at_once @ price[steps]),
    )
