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


def round_first_powers(problem: SchedulingProblem, schedule: ChargingSchedule) -> FloatArray:
    """Round the powers of the first step to those that can be set, with the same sum as far as that goes.

    Powers are rounded down first. Then single cars get the next power above, as long as the circuits hold and the sum
    stays within the plan's: first those that could not be ready in time otherwise (for them the sum may rise), then
    those that charge now, then those that lost most.

    Args:
        problem: what was planned.
        schedule: its plan.

    Returns:
        Power of each car for the first step [kW]: 0, or `min_power_kw` or more in steps of `step_power_kw`.
    """
    planned_kw = schedule.power_at(0)
    lower_kw, upper_kw = _find_neighbours(problem, planned_kw)
    left_kw, shares = _leave(problem, schedule, lower_kw)
    is_late = _find_late(problem, lower_kw)
    spare_kw = float((planned_kw - lower_kw).sum())
    powers = lower_kw.copy()

    def urgency(car: int) -> tuple[bool, bool, float, str]:
        request = problem.requests[car]
        missing = (planned_kw[car] - lower_kw[car]) / (upper_kw[car] - lower_kw[car])
        return (not is_late[car], request.power_now_kw <= 0, -round(float(missing), 6), request.key)

    for car in sorted(map(int, np.flatnonzero(upper_kw > lower_kw + _TOLERANCE_KW)), key=urgency):
        rise_kw = float(upper_kw[car] - lower_kw[car])
        # Half a step over the plan is as near to it as half a step under.
        if not is_late[car] and rise_kw / 2 > spare_kw + _TOLERANCE_KW:
            continue
        if (shares[:, car] * rise_kw <= left_kw + _TOLERANCE_KW).all():
            left_kw = left_kw - shares[:, car] * rise_kw
            spare_kw -= rise_kw
            powers[car] = upper_kw[car]
    return powers


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


def _find_neighbours(problem: SchedulingProblem, planned_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The powers that can be set next to the planned ones, below and above; equal where there is none above."""
    requests = problem.requests
    step_kw = np.array([request.step_power_kw for request in requests], dtype=np.float64)
    min_kw = np.array([request.min_power_kw for request in requests], dtype=np.float64)
    max_kw = np.array([request.max_power_kw for request in requests], dtype=np.float64)
    size = np.where(step_kw > 0, step_kw, 1.0)
    down = np.where(step_kw > 0, np.floor(planned_kw / size + 1e-6) * size, planned_kw)
    up = np.where(step_kw > 0, np.ceil(planned_kw / size - 1e-6) * size, planned_kw)
    lowest = np.where(step_kw > 0, np.ceil(min_kw / size - 1e-6) * size, min_kw)
    lower = np.where(down < lowest - _TOLERANCE_KW, 0.0, down)
    upper = np.where(planned_kw > _TOLERANCE_KW, np.maximum(up, lowest), 0.0)
    return lower, np.where(upper > max_kw + _TOLERANCE_KW, lower, upper)


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


def _find_late(problem: SchedulingProblem, powers: FloatArray) -> list[bool]:
    """Cars that full power in all later steps would not fill after this power in the first."""
    return [
        request.energy_kwh
        > (power_kw + request.max_power_kw * max(min(request.end_step, problem.steps) - 1, 0)) * problem.step_h + 1e-6
        for request, power_kw in zip(problem.requests, powers, strict=True)
    ]
