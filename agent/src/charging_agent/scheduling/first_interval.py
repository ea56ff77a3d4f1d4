"""From the plan's first step to powers that charging points can be told: 0 or at least the lowest, in whole steps."""

import math
from collections.abc import Sequence

import numpy as np

from charging_agent.scheduling.formulation import circuit_headrooms, map_circuits
from charging_agent.scheduling.problem import FloatArray, SchedulingProblem
from charging_agent.scheduling.schedule import ChargingSchedule

_TOLERANCE_KW = 1e-6

_HOLD_H = 2.0
"""A car that charges goes on if the plan lets it charge within this time anyway [h]: cars take turns less often."""

_URGENT_H = 0.5
"""Cars with less time to spare than this go first [h]."""


def hand_out_first_powers(
    problem: SchedulingProblem, schedule: ChargingSchedule, laxity_h: Sequence[float]
) -> FloatArray:
    """Hand the planned power of the first step out to few cars, so that powers change rarely from plan to plan.

    The sum stays the plan's, and each circuit holds. Urgent cars come first, then those that charge and would charge
    soon anyway, then those with the least time to spare. Each gets as much as it takes, and 0 or at least
    `min_power_kw`; of a rest below that the car before gives the difference, rather than that a charging car stops.

    Args:
        problem: what was planned.
        schedule: its plan.
        laxity_h: time that each car can wait and still be ready at full power [h].

    Returns:
        Power of each car for the first step [kW], in steps of `step_power_kw`.
    """
    planned_kw = schedule.power_at(0)
    powers = np.zeros(len(planned_kw))
    free_kw, shares = _leave(problem, schedule, powers)
    left_kw, last = float(planned_kw.sum()), None
    for index in _rank(problem, schedule, planned_kw, laxity_h):
        request = problem.requests[index]
        own = shares[:, index] > 0
        circuits_kw = float((free_kw[own] / shares[own, index]).min(initial=math.inf))
        power_kw = min(request.max_power_kw, left_kw, circuits_kw)
        lacking_kw = request.min_power_kw - power_kw
        if lacking_kw > _TOLERANCE_KW:
            giver = last
            if giver is None or request.power_now_kw <= 0 or not _TOLERANCE_KW < power_kw == left_kw:
                continue
            reduced_kw = _round_down(problem, giver, float(powers[giver]) - lacking_kw)
            if reduced_kw <= 0 or circuits_kw < request.min_power_kw:
                continue
            free_kw = free_kw + shares[:, giver] * (powers[giver] - reduced_kw)
            powers[giver] = reduced_kw
            left_kw = power_kw = request.min_power_kw
        # A rounding error in the sum of a plan's powers takes no step away.
        powers[index] = _round_down(problem, index, power_kw + 1e-9)
        free_kw = free_kw - shares[:, index] * powers[index]
        left_kw -= float(powers[index])
        last = index
    return powers


def _rank(
    problem: SchedulingProblem, schedule: ChargingSchedule, planned_kw: FloatArray, laxity_h: Sequence[float]
) -> list[int]:
    hold_steps = math.ceil(_HOLD_H / problem.step_h)
    ranked: list[tuple[int, float, str, int]] = []
    for index, request in enumerate(problem.requests):
        is_planned = planned_kw[index] > _TOLERANCE_KW
        soon_kw = float(schedule.powers_of(index)[:hold_steps].max(initial=0.0))
        is_going = request.power_now_kw > 0 and request.first_step <= 0 and soon_kw > _TOLERANCE_KW
        if is_planned or is_going:
            is_urgent = is_planned and laxity_h[index] < _URGENT_H
            ranked.append((0 if is_urgent else 1 if is_going else 2, laxity_h[index], request.key, index))
    return [index for *_, index in sorted(ranked)]


def _round_down(problem: SchedulingProblem, car: int, power_kw: float) -> float:
    request = problem.requests[car]
    power_kw = min(power_kw, request.max_power_kw)
    if request.step_power_kw > 0:
        power_kw = math.floor(power_kw / request.step_power_kw + 1e-6) * request.step_power_kw
    return power_kw if power_kw >= request.min_power_kw - _TOLERANCE_KW and power_kw > 0 else 0.0


def _leave(problem: SchedulingProblem, schedule: ChargingSchedule, powers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What each circuit's limit leaves in the first step [kW], and which share of each car's power counts for it."""
    left: list[float] = []
    shares: list[FloatArray] = []
    feeds = map_circuits(problem)
    for index, circuit in enumerate(problem.circuits):
        for _, headroom_kw, factors in circuit_headrooms(problem, circuit):
            battery_kw = float(schedule.battery_kw[0]) if circuit.parent is None else 0.0
            own = factors * feeds[index]
            left.append(float(headroom_kw[0]) - battery_kw - float(own @ powers))
            shares.append(own)
    return np.array(left), np.array(shares).reshape(len(left), len(powers))
