"""Makes a plan calm: among plans of equal cost, one power through a block of equal price instead of a flicker.

Energy that moves between steps of equal price costs the same, as long as no limit and no peak is exceeded. So each
car's energy in a block of equal price is gathered into one stretch of constant power: the shortest, that is the
highest power, that covers whole steps, and the earliest. Cars that charge now come first and keep charging. Where
other cars use the room, they change places with it inside the block if they can, so that the sum of powers in each
step remains within what it was allowed to be.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charging_agent.scheduling.formulation import Sessions, circuit_headrooms, map_circuits
from charging_agent.scheduling.problem import FloatArray, IntArray, SchedulingProblem
from charging_agent.scheduling.sequencing import sequence_cars

_TOLERANCE_KW = 1e-7
_OWN_BLOCK = -1
"""Block of a step whose power cannot be moved at equal cost."""

_MAX_CELLS = 4_000_000
"""Cars times steps up to which plans are made calm; beyond lies no plan that a charging point would follow."""

_MAX_SWAP_CELLS = 20_000
"""Cars times steps up to which cars change places inside a block: 200 cars over a day; more would take seconds."""


@dataclass(slots=True)
class _Board:
    """Powers by car and step with everything that limits them."""

    powers: FloatArray
    """[kW], shape (cars, steps)."""

    max_kw: FloatArray
    """Highest power by car and step [kW]; 0 where the car is not there."""

    headrooms: FloatArray
    """Headroom of each limit per step [kW], shape (limits, steps)."""

    shares: FloatArray
    """Share of each car's power that counts for a limit, shape (limits, cars)."""

    car_class: IntArray
    """Cars of the same class count for the same limits; -1: the car's departure is uncertain, it changes no places."""

    may_swap: npt.NDArray[np.bool_]
    """Cars that may change places inside a block; those that take turns already gain nothing by it."""

    left: FloatArray
    """What each limit leaves beside the cars' powers [kW], shape (limits, steps)."""

    def room_kw(self, car: int, steps: IntArray) -> FloatArray:
        """Further power that the limits allow a car in these steps [kW]."""
        shares = self.shares[:, car]
        counting = np.flatnonzero(shares > 0)
        if not len(counting):
            return np.full(len(steps), np.inf)
        return (self.left[np.ix_(counting, steps)] / shares[counting, None]).min(axis=0)

    def assign(self, car: int, steps: IntArray, powers: FloatArray) -> None:
        """Set a car's powers in these steps."""
        self.left[:, steps] -= np.outer(self.shares[:, car], powers - self.powers[car, steps])
        self.powers[car, steps] = powers


def calm_powers(
    problem: SchedulingProblem, sessions: Sessions, powers: FloatArray, battery_kw: FloatArray, peak_kw: float
) -> FloatArray:
    """Gather each car's energy inside blocks of equal price.

    Args:
        problem: what was planned.
        sessions: its requests as arrays.
        powers: a plan's powers, in the order of `sessions` [kW].
        battery_kw: the plan's battery power per step [kW].
        peak_kw: import that no step may exceed [kW], the plan's peak.

    Returns:
        Powers with equal cost and energy, in the same order [kW].
    """
    if len(problem.requests) * problem.steps > _MAX_CELLS or not len(powers):
        return powers
    board = _lay_out(problem, sessions, powers, (battery_kw, peak_kw))
    _take_turns(problem, board)
    blocks = _find_blocks(problem, board, battery_kw)
    fixed = np.zeros(len(problem.requests), dtype=np.bool_)
    order = _order_cars(problem)
    for block in range(int(blocks.max(initial=_OWN_BLOCK)) + 1):
        steps = np.flatnonzero(blocks == block)
        if len(steps) < 2:
            continue
        fixed[:] = False
        is_uneven = _find_uneven(board, steps)
        for car in map(int, order[is_uneven[order]]):
            for own in _split_at_departures(problem, board, car, steps):
                _gather(board, car, own, fixed, problem.requests[car].min_power_kw)
            fixed[car] = True
    return board.powers[sessions.car, sessions.step]


def _lay_out(
    problem: SchedulingProblem, sessions: Sessions, powers: FloatArray, grid: tuple[FloatArray, float]
) -> _Board:
    shape = (len(problem.requests), problem.steps)
    matrix, highest = np.zeros(shape), np.zeros(shape)
    matrix[sessions.car, sessions.step] = powers
    highest[sessions.car, sessions.step] = sessions.max_kw[sessions.car]
    battery_kw, peak_kw = grid
    headrooms: list[FloatArray] = []
    shares: list[FloatArray] = []
    is_below = map_circuits(problem)
    for index, circuit in enumerate(problem.circuits):
        for _, headroom_kw, factors in circuit_headrooms(problem, circuit):
            at_root_kw = battery_kw if circuit.parent is None else 0.0
            headrooms.append(headroom_kw - at_root_kw)
            shares.append(factors * is_below[index])
    if problem.demand_charge_per_kw > 0:
        headrooms.append(peak_kw - problem.load_kw + problem.pv_kw - battery_kw)
        shares.append(np.ones(shape[0]))
    surplus_kw = problem.pv_kw - problem.load_kw - battery_kw
    total_kw = matrix.sum(axis=0)
    # A step that is fed by the sun alone stays so.
    is_sunny = (surplus_kw > 0) & (total_kw <= surplus_kw + _TOLERANCE_KW)
    headrooms.append(np.where(is_sunny, surplus_kw, np.inf))
    shares.append(np.ones(shape[0]))
    headroom, share = np.array(headrooms), np.array(shares)
    left = headroom - share @ matrix
    _, classes = np.unique(share.T, axis=0, return_inverse=True)
    car_class = classes.astype(np.int64).ravel()
    car_class[[bool(request.scenarios) for request in problem.requests]] = -1
    may_swap = (car_class >= 0) & (matrix.size <= _MAX_SWAP_CELLS)
    return _Board(matrix, highest, headroom, share, car_class, may_swap, left)


def _take_turns(problem: SchedulingProblem, board: _Board) -> None:
    """Hand each class's powers out again, for the whole plan."""
    end = np.array([request.end_step for request in problem.requests], dtype=np.int64).clip(0, problem.steps)
    now_kw = np.array([request.power_now_kw for request in problem.requests], dtype=np.float64)
    has_room = _have_room_for_all(board)
    for number in range(int(board.car_class.max(initial=-1)) + 1):
        cars = np.flatnonzero(board.car_class == number)
        if has_room[cars[0]]:
            continue
        powers = sequence_cars(board.powers[cars], board.max_kw[cars], end[cars], now_kw[cars])
        if powers is not None:
            board.powers[cars] = powers
            board.may_swap[cars] = False
    board.left = board.headrooms - board.shares @ board.powers


def _have_room_for_all(board: _Board) -> npt.NDArray[np.bool_]:
    """Cars whose limits would hold if all cars charged at full power all the time."""
    can_bind = (board.shares @ board.max_kw > board.headrooms + _TOLERANCE_KW).any(axis=1)
    return np.logical_not(np.any(board.shares[can_bind] > 0, axis=0))


def _find_blocks(problem: SchedulingProblem, board: _Board, battery_kw: FloatArray) -> IntArray:
    """Number the groups of steps between which power moves at equal cost."""
    surplus_kw = problem.pv_kw - problem.load_kw - battery_kw
    is_sunny = np.isfinite(board.headrooms[-1])
    export = np.minimum(problem.export_price_per_kwh, problem.marginal_price_per_kwh)
    marginal = np.where(is_sunny, export, problem.marginal_price_per_kwh)
    # Sun and grid together, or a battery that gives what the cars draw: moving power changes the cost there.
    is_bound = ((surplus_kw > 0) & ~is_sunny) | (battery_kw < -_TOLERANCE_KW)
    key = np.stack((marginal, is_sunny.astype(np.float64)))
    _, numbers = np.unique(np.round(key, 9), axis=1, return_inverse=True)
    return np.where(is_bound, _OWN_BLOCK, numbers.ravel()).astype(np.int64)


def _order_cars(problem: SchedulingProblem) -> IntArray:
    """Cars that charge now first, then by departure; independent of the order of the requests."""
    requests = problem.requests
    keys = [(request.power_now_kw <= 0, request.end_step, request.key) for request in requests]
    return np.array(sorted(range(len(requests)), key=keys.__getitem__), dtype=np.int64)


def _find_uneven(board: _Board, steps: IntArray) -> npt.NDArray[np.bool_]:
    """Cars whose power changes among the steps of a block in which they are there."""
    powers, is_there = board.powers[:, steps], board.max_kw[:, steps] > 0
    lowest = np.where(is_there, powers, np.inf).min(axis=1)
    return powers.max(axis=1) > lowest + _TOLERANCE_KW


def _split_at_departures(problem: SchedulingProblem, board: _Board, car: int, steps: IntArray) -> list[IntArray]:
    own = steps[board.max_kw[car, steps] > 0]
    if not problem.requests[car].scenarios:
        return [own]
    ends = sorted({scenario.end_step for scenario in problem.requests[car].scenarios})
    return [part for part in np.split(own, np.searchsorted(own, ends)) if len(part) > 1]


def _gather(board: _Board, car: int, steps: IntArray, fixed: npt.NDArray[np.bool_], min_kw: float) -> None:
    """Try stretches of constant power until one fits."""
    total_kw = float(board.powers[car, steps].sum())
    if total_kw <= _TOLERANCE_KW:
        return
    room_kw = board.room_kw(car, steps)
    may_swap = bool(board.may_swap[car])
    if not may_swap and room_kw.max() <= _TOLERANCE_KW:
        return
    possible_kw = room_kw + board.powers[car, steps] + _TOLERANCE_KW
    for target in _propose_targets(board, car, steps, min_kw, possible_kw):
        if (target <= possible_kw).all():
            board.assign(car, steps, target)
            return
        if may_swap and _change_places(board, car, steps, target, fixed):
            return


def _propose_targets(
    board: _Board, car: int, steps: IntArray, min_kw: float, possible_kw: FloatArray
) -> Iterator[FloatArray]:
    max_kw = float(board.max_kw[car, steps[0]])
    total_kw = float(board.powers[car, steps].sum())
    count = max(int(np.ceil(total_kw / max_kw - 1e-6)), 1)
    limit = len(steps) if min_kw <= 0 else min(len(steps), max(int(total_kw / min_kw + 1e-6), count))
    order = _order_stretches(board, car, steps)
    for length in sorted({count, min(count + 1, limit), (count + limit) // 2, limit}):
        power_kw = min(total_kw / length, max_kw)
        for positions in order:
            # A stretch that is too short is filled, and the next one takes the rest.
            for chosen in _choose_positions(possible_kw[positions], length, power_kw):
                target = np.zeros(len(steps))
                target[positions[chosen]] = power_kw
                yield target


def _choose_positions(possible_kw: FloatArray, length: int, power_kw: float) -> Iterator[IntArray]:
    """From the beginning, where the limits leave room first, and up to the end."""
    count = len(possible_kw)
    if length >= count:
        yield np.arange(count)
        return
    yield np.arange(length)
    too_low = np.concatenate(([0], np.cumsum(possible_kw < power_kw)))
    free = too_low[length:] == too_low[:-length]
    if free.any() and not free[0]:
        yield int(np.argmax(free)) + np.arange(length)
    if not free[-1]:
        yield count - length + np.arange(length)


def _order_stretches(board: _Board, car: int, steps: IntArray) -> list[IntArray]:
    """Positions of the steps, stretches without a gap one after another: those beside charging first, then earlier."""
    gaps = np.flatnonzero(steps[1:] - steps[:-1] > 1) + 1
    powers = board.powers[car]
    bounds = [0, *gaps.tolist(), len(steps)]
    stretches: list[tuple[bool, IntArray]] = []
    for first, end in itertools.pairwise(bounds):
        before, after = int(steps[first]) - 1, int(steps[end - 1]) + 1
        is_beside = (before >= 0 and powers[before] > _TOLERANCE_KW) or (
            after < len(powers) and powers[after] > _TOLERANCE_KW
        )
        stretches.append((not is_beside, np.arange(first, end)))
    ordered = [stretch for _, stretch in sorted(stretches, key=lambda pair: pair[0])]
    return [np.concatenate(ordered[index:] + ordered[:index]) for index in range(len(ordered))]


def _change_places(board: _Board, car: int, steps: IntArray, target: FloatArray, fixed: npt.NDArray[np.bool_]) -> bool:
    """Give a car these powers, others making room inside the block; return whether it was done."""
    left = board.room_kw(car, steps) - (target - board.powers[car, steps])
    moved: dict[int, FloatArray] = {}
    for position in np.flatnonzero(left < -_TOLERANCE_KW).tolist():
        if not _displace(board, (car, steps, position), left, moved, fixed):
            return False
    for other, powers in moved.items():
        board.assign(other, steps, powers)
    board.assign(car, steps, target)
    return True


def _displace(
    board: _Board,
    where: tuple[int, IntArray, int],
    left: FloatArray,
    moved: dict[int, FloatArray],
    fixed: npt.NDArray[np.bool_],
) -> bool:
    """Move power of other cars of the same class out of one step into others of the block."""
    car, steps, position = where
    may_move = (board.car_class == board.car_class[car]) & ~fixed & (board.powers[:, steps[position]] > _TOLERANCE_KW)
    may_move[car] = False
    for other in map(int, np.flatnonzero(may_move)):
        powers = moved[other] if other in moved else board.powers[other, steps]
        room = np.minimum(board.max_kw[other, steps] - powers, np.maximum(left, 0.0))
        room[position] = 0.0
        amount = min(float(powers[position]), -float(left[position]), float(room.sum()))
        if amount <= _TOLERANCE_KW:
            continue
        taken = np.clip(amount - (np.cumsum(room) - room), 0.0, room)
        taken[position] = -amount
        moved[other] = powers + taken
        left -= taken
        if left[position] >= -_TOLERANCE_KW:
            return True
    return False
