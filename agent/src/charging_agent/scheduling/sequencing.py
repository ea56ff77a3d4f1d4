"""Lets cars take turns: the power of all cars together stays as planned in each step, its owner changes seldom.

Cars that load the same limits (a class) are interchangeable: as long as the sum of a class stays the same in each
step, every limit keeps its margin and the plan costs the same. So the sum is handed out again step by step: to cars
that must charge now to be ready in time, then to those that charge already, then by departure.
"""

import numpy as np

from charging_agent.scheduling.problem import FloatArray, IntArray

_TOLERANCE_KW = 1e-7
_MAX_CHAIN_CELLS = 30_000_000
"""Chains of exchanges that are tried, times cars and steps that each looks through: about 0.2 s on one core."""


def sequence_cars(powers: FloatArray, max_kw: FloatArray, end: IntArray, power_now_kw: FloatArray) -> FloatArray | None:
    """Hand the sum of powers of each step out again, with few changes.

    Args:
        powers: planned powers of one class [kW], shape (cars, steps).
        max_kw: highest power of each car in each step [kW], same shape; 0 where the car is not there.
        end: first step in which each car is gone.
        power_now_kw: power of each car at the moment [kW].

    Returns:
        Powers with the same sum in each step and the same energy of each car; None if that takes too many exchanges.
    """
    budget, energy = powers.sum(axis=0), powers.sum(axis=1)
    result = np.zeros_like(powers)
    possible = np.minimum(max_kw, budget)
    possible_later = np.cumsum(possible[:, ::-1], axis=1)[:, ::-1] - possible
    since = np.where(power_now_kw > 0, -1.0, np.inf)
    for step in np.flatnonzero(budget > _TOLERANCE_KW).tolist():
        wish = np.minimum(max_kw[:, step], energy)
        must = np.clip(energy - possible_later[:, step], 0.0, wish)
        order = np.lexsort((end, since, ~_find_urgent(energy, end, budget, step)))
        order = order[wish[order] > _TOLERANCE_KW]
        given = _fill(must[order], budget[step])
        given += _fill(wish[order] - given, budget[step] - float(given.sum()))
        energy[order] -= given
        result[order, step] = given
        since = np.where(result[:, step] > _TOLERANCE_KW, np.minimum(since, step), np.inf)
    # The plan itself shows that the rest can be handed out as well.
    is_complete = _hand_out_rest(result, max_kw, energy, budget - result.sum(axis=0))
    return result if is_complete else None


def _fill(wishes: FloatArray, budget_kw: float) -> FloatArray:
    """Serve wishes in their order until nothing is left."""
    return np.clip(budget_kw - (np.cumsum(wishes) - wishes), 0.0, wishes)


def _find_urgent(
    energy: FloatArray, end: IntArray, budget: FloatArray, step: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Cars that leave no later than a step until which the later budget does not suffice for all who leave by then."""
    wanted = np.cumsum(np.bincount(end, weights=energy, minlength=len(budget) + 1))
    later = np.concatenate((np.zeros(step + 2), np.cumsum(budget[step + 1 :])))
    lacking = np.flatnonzero(wanted[: len(later)] > later + _TOLERANCE_KW)
    lacking = lacking[lacking > step]
    last = int(lacking[-1]) if len(lacking) else -1
    return end <= last


def _hand_out_rest(result: FloatArray, max_kw: FloatArray, energy: FloatArray, unused: FloatArray) -> bool:
    """Serve cars that came short from budget that was left over, along chains of cars that change places."""
    chains_left = _MAX_CHAIN_CELLS // max_kw.size
    for car in np.flatnonzero(energy > _TOLERANCE_KW).tolist():
        while energy[car] > _TOLERANCE_KW:
            chain = _find_chain(result, max_kw, car, unused)
            chains_left -= 1
            if not chain or chains_left < 0:
                return False
            gains = tuple(np.array(chain, dtype=np.int64).T)
            losses = (gains[0][1:], gains[1][:-1])
            amount = min(
                float(energy[car]),
                float(unused[chain[-1][1]]),
                float((max_kw[gains] - result[gains]).min()),
                float(result[losses].min(initial=np.inf)),
            )
            result[gains] += amount
            result[losses] -= amount
            energy[car] -= amount
            unused[chain[-1][1]] -= amount
    return True


def _find_chain(result: FloatArray, max_kw: FloatArray, car: int, unused: FloatArray) -> list[tuple[int, int]]:
    """Find the shortest chain of pairs (car, step): each car gains in its step what the next one loses there.

    In the last step budget is left over. Source: augmenting paths of Edmonds and Karp (1972).
    """
    has_room, has_power = max_kw - result > _TOLERANCE_KW, result > _TOLERANCE_KW
    car_of_step = np.full(len(unused), -1, dtype=np.int64)
    step_of_car = np.full(len(result), -1, dtype=np.int64)
    is_open = np.ones(len(result), dtype=np.bool_)
    is_open[car] = False
    front = np.array([car], dtype=np.int64)
    while len(front):
        steps = np.flatnonzero(has_room[front].any(axis=0) & (car_of_step < 0))
        if not len(steps):
            break
        car_of_step[steps] = front[has_room[np.ix_(front, steps)].argmax(axis=0)]
        ends = steps[unused[steps] > _TOLERANCE_KW]
        if len(ends):
            return _trace_chain(car_of_step, step_of_car, int(ends[0]))
        front = np.flatnonzero(has_power[:, steps].any(axis=1) & is_open)
        step_of_car[front] = steps[has_power[np.ix_(front, steps)].argmax(axis=1)]
        is_open[front] = False
    return []


def _trace_chain(car_of_step: IntArray, step_of_car: IntArray, step: int) -> list[tuple[int, int]]:
    chain: list[tuple[int, int]] = []
    while step >= 0:
        car = int(car_of_step[step])
        chain.append((car, step))
        step = int(step_of_car[car])
    return chain[::-1]
