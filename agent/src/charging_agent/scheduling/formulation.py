"""The charging plan as a linear programme.

Columns: the power of each car in each step in which it is there, its shortfall, the power exported, the peak above
what is free of the demand charge, and the battery. All wishes are soft, so that a solution always exists: no power at
all keeps every row. The expected import of step t is

    load_t - pv_t + sum of car powers + battery charging - battery discharging + export_t >= 0,

so no column for the import is needed: each power costs the import price, and export costs import price - export price.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charging_agent.scheduling.linear_program import INFINITY, LinearProgram
from charging_agent.scheduling.problem import ChargingRequest, Circuit, FloatArray, IntArray, SchedulingProblem

OBJECTIVE_SCALE = 1000.0
"""Factor on money in the objective: the solver's absolute tolerance of 1e-7 then lies far below any price."""

FAIRNESS_SEGMENTS = 8
"""A car's shortfall is divided into this many parts, each dearer than the one before, so that shares come out equal."""

_TINY_KW = 1e-9


class Sessions(NamedTuple):
    """The requests as arrays; the second group has one value per power column."""

    first: IntArray
    end: IntArray
    offsets: IntArray
    max_kw: FloatArray

    car: IntArray
    step: IntArray
    presence: FloatArray
    """Probability that the car is still there."""


@dataclass(frozen=True, slots=True)
class Shortfalls:
    """Columns of the energy that cars do not get."""

    columns: IntArray
    """Shape (scenarios, segments)."""

    car: IntArray
    """Car of each scenario."""

    weight: FloatArray
    """Probability of each scenario."""

    unreachable_kwh: FloatArray
    """Energy of each scenario that even full power until departure does not give [kWh]."""

    rows: IntArray
    """Energy row of each scenario."""


@dataclass(frozen=True, slots=True)
class LimitRows:
    """Rows of one limit."""

    name: str
    """As in `BindingLimit.limit`."""

    steps: IntArray
    """Step of each row."""

    rows: IntArray
    """Indices of the rows; a step whose limit cannot bind has none."""


@dataclass(frozen=True, slots=True)
class BatteryColumns:
    """Columns of the battery, one per step."""

    charge: IntArray
    discharge: IntArray
    energy: IntArray


@dataclass(frozen=True, slots=True)
class Formulation:
    """The programme and where in it things are."""

    program: LinearProgram
    sessions: Sessions
    powers: IntArray
    """Power columns, in the order of `sessions`."""
    shortfalls: Shortfalls
    limits: tuple[LimitRows, ...]
    peak: int | None
    """Column of the peak above `free_peak_kw`; None: no demand charge."""
    battery: BatteryColumns | None


def index_sessions(problem: SchedulingProblem) -> Sessions:
    """Turn the requests into arrays, windows clipped to the plan's steps."""
    requests = problem.requests
    first = np.array([request.first_step for request in requests], dtype=np.int64).clip(0, problem.steps)
    ends = [max((s.end_step for s in request.scenarios), default=request.end_step) for request in requests]
    end = np.maximum(np.array(ends, dtype=np.int64).clip(0, problem.steps), first)
    lengths = end - first
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
    car = np.repeat(np.arange(len(requests)), lengths)
    step = np.arange(len(car)) - np.repeat(offsets[:-1] - first, lengths)
    presence = np.ones(len(car))
    for index, request in enumerate(requests):
        if request.scenarios:
            own = slice(offsets[index], offsets[index + 1])
            total = sum(scenario.weight for scenario in request.scenarios)
            presence[own] = sum(s.weight / total * (step[own] < s.end_step) for s in request.scenarios)
    max_kw = np.array([request.max_power_kw for request in requests], dtype=np.float64)
    return Sessions(first, end, offsets, max_kw, car, step, presence)


def formulate(problem: SchedulingProblem) -> Formulation:
    """Write the problem as a linear programme."""
    sessions, program = index_sessions(problem), LinearProgram()
    cost = problem.marginal_price_per_kwh[sessions.step] * sessions.presence * problem.step_h * OBJECTIVE_SCALE
    powers = program.add_columns(cost, np.zeros(len(cost)), sessions.max_kw[sessions.car])
    shortfalls = _add_shortfalls(program, problem, sessions)
    battery = _add_battery(program, problem)
    limits = [*_add_circuits(program, problem, sessions, battery)]
    _add_export(program, problem, sessions, battery)
    peak = None
    if problem.demand_charge_per_kw > 0:
        peak, rows = _add_peak(program, problem, sessions, battery)
        limits.append(rows)
    return Formulation(program, sessions, powers, shortfalls, tuple(limits), peak, battery)


def energy_value_per_kwh(problem: SchedulingProblem) -> float:
    """Value of a kWh that puts energy before any cost [currency/kWh].

    In the worst case a kWh raises the peak in a single step, and with it the demand charge by 1 / step length.
    """
    prices = problem.marginal_price_per_kwh
    spread = float(prices.max() - min(prices.min(), problem.export_price_per_kwh.min(), 0.0))
    wear = problem.battery.wear_cost_per_kwh if problem.battery else 0.0
    return 1.1 * (2.0 * spread + wear + problem.demand_charge_per_kw / problem.step_h) + 0.1


def _value_of(request: ChargingRequest, default: float) -> float:
    return default if request.unserved_value_per_kwh is None else request.unserved_value_per_kwh


def _add_shortfalls(program: LinearProgram, problem: SchedulingProblem, sessions: Sessions) -> Shortfalls:
    default = energy_value_per_kwh(problem)
    entries = [
        (car, end, energy, weight / total, request.priority * _value_of(request, default))
        for car, request in enumerate(problem.requests)
        for scenarios in (
            [(s.end_step, s.energy_kwh, s.weight) for s in request.scenarios]
            or [(request.end_step, request.energy_kwh, 1.0)],
        )
        for total in (sum(weight for _, _, weight in scenarios),)
        for end, energy, weight in scenarios
    ]
    table = np.array(entries, dtype=np.float64).reshape(len(entries), 5)
    car, wanted, weight, value = table[:, 0].astype(np.int64), table[:, 2], table[:, 3], table[:, 4]
    end = np.clip(table[:, 1].astype(np.int64), sessions.first[car], sessions.end[car])
    lengths = end - sessions.first[car]
    reachable = np.minimum(wanted, lengths * sessions.max_kw[car] * problem.step_h)
    # The last part, a car that gets nothing, costs twice the first.
    steepness = 1.0 + np.arange(FAIRNESS_SEGMENTS) / (FAIRNESS_SEGMENTS - 1)
    shape = (len(entries), FAIRNESS_SEGMENTS)
    cost = (value * weight)[:, None] * steepness[None, :] * OBJECTIVE_SCALE
    upper = np.broadcast_to(reachable[:, None] / FAIRNESS_SEGMENTS, shape)
    columns = program.add_columns(cost.ravel(), np.zeros(cost.size), upper.ravel()).reshape(shape)
    is_single = np.bincount(car, minlength=len(problem.requests))[car] == 1
    rows = program.add_rows(reachable, np.where(is_single, reachable, INFINITY))
    inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    program.add_entries(np.repeat(rows, lengths), np.repeat(sessions.offsets[car], lengths) + inside, problem.step_h)
    program.add_entries(np.repeat(rows, FAIRNESS_SEGMENTS), columns.ravel(), 1.0)
    _add_energy_caps(program, problem, sessions, (car, reachable, is_single))
    return Shortfalls(columns, car, weight, wanted - reachable, rows)


def _add_energy_caps(
    program: LinearProgram,
    problem: SchedulingProblem,
    sessions: Sessions,
    scenarios: tuple[IntArray, FloatArray, np.ndarray[tuple[int], np.dtype[np.bool_]]],
) -> None:
    """A car with several scenarios takes no more than in the one with most energy."""
    car, reachable, is_single = scenarios
    most = np.zeros(len(problem.requests))
    np.maximum.at(most, car, reachable)
    several = np.unique(car[~is_single])
    rows = program.add_rows(np.full(len(several), -INFINITY), most[several])
    columns = np.flatnonzero(np.isin(sessions.car, several))
    program.add_entries(rows[np.searchsorted(several, sessions.car[columns])], columns, problem.step_h)


def _add_battery(program: LinearProgram, problem: SchedulingProblem) -> BatteryColumns | None:
    battery, steps, hours = problem.battery, problem.steps, problem.step_h
    if battery is None:
        return None
    prices = problem.marginal_price_per_kwh
    discharge_kw = np.full(steps, battery.max_discharge_kw)
    if not battery.may_feed_cars:
        discharge_kw = np.minimum(discharge_kw, np.maximum(problem.load_kw - problem.pv_kw, 0.0))
    # At negative prices the losses of charging and discharging at once would pay, which no battery can do.
    discharge_kw = np.where((prices < 0) | (problem.export_price_per_kwh < 0), 0.0, discharge_kw)
    zeros = np.zeros(steps)
    charge = program.add_columns(prices * hours * OBJECTIVE_SCALE, zeros, np.full(steps, battery.max_charge_kw))
    wear = battery.wear_cost_per_kwh
    discharge = program.add_columns((wear - prices) * hours * OBJECTIVE_SCALE, zeros, discharge_kw)
    now = min(battery.energy_kwh, battery.capacity_kwh)
    lower = np.full(steps, min(battery.reserve_kwh, now))
    final = now if battery.final_energy_kwh is None else min(battery.final_energy_kwh, now)
    lower[-1] = max(lower[-1], final)
    energy = program.add_columns(zeros, lower, np.full(steps, battery.capacity_kwh))
    start = zeros.copy()
    start[0] = now
    rows = program.add_rows(start, start)
    program.add_entries(rows, energy, 1.0)
    program.add_entries(rows[1:], energy[:-1], -1.0)
    program.add_entries(rows, charge, -battery.charge_efficiency * hours)
    program.add_entries(rows, discharge, hours / battery.discharge_efficiency)
    return BatteryColumns(charge, discharge, energy)


def _add_circuits(
    program: LinearProgram, problem: SchedulingProblem, sessions: Sessions, battery: BatteryColumns | None
) -> list[LimitRows]:
    is_below = map_circuits(problem)
    limits: list[LimitRows] = []
    for index, circuit in enumerate(problem.circuits):
        columns = np.flatnonzero(is_below[index][sessions.car])
        at_root = circuit.parent is None
        for name, headroom_kw, shares in circuit_headrooms(problem, circuit):
            factors = shares[sessions.car[columns]]
            is_counted = factors > 0
            rows = _add_sum_rows(
                program,
                sessions,
                (columns[is_counted], factors[is_counted]),
                headroom_kw,
                battery if at_root else None,
                battery_share=1.0 if name.endswith(circuit.key) else 1.0 / 3.0,
            )
            limits.append(LimitRows(name, *rows))
    return limits


def map_circuits(problem: SchedulingProblem) -> npt.NDArray[np.bool_]:
    """Return which circuits feed which car, shape (circuits, cars)."""
    parents = {circuit.key: circuit.parent for circuit in problem.circuits}
    numbers = {circuit.key: number for number, circuit in enumerate(problem.circuits)}
    root = next((key for key, parent in parents.items() if parent is None), None)
    feeds = np.zeros((len(numbers), len(problem.requests)), dtype=np.bool_)
    for car, request in enumerate(problem.requests):
        above = request.circuit or root
        while above is not None:
            feeds[numbers[above], car] = True
            above = parents[above]
    return feeds


def circuit_headrooms(problem: SchedulingProblem, circuit: Circuit) -> list[tuple[str, FloatArray, FloatArray]]:
    """What each limit of a circuit leaves for the cars.

    Returns:
        Name, headroom per step [kW], >= 0, and share of each car's power that counts, for the sum and each phase.
    """
    at_root = circuit.parent is None
    headrooms: list[tuple[str, FloatArray, FloatArray]] = []
    if circuit.limit_kw is not None:
        left = np.broadcast_to(np.asarray(circuit.limit_kw, dtype=np.float64), (problem.steps,)) - circuit.load_kw
        if at_root:
            left = left - problem.cautious_load_kw
        headrooms.append((f"circuit {circuit.key}", np.maximum(left, 0.0), np.ones(len(problem.requests))))
    if circuit.limit_a is not None:
        for phase in (1, 2, 3):
            left_kw = (circuit.limit_a - circuit.load_a[phase - 1]) * circuit.voltage_v / 1000.0
            shares = np.array([(phase in r.phases) / len(r.phases) for r in problem.requests], dtype=np.float64)
            headroom = np.full(problem.steps, max(left_kw, 0.0))
            headrooms.append((f"circuit {circuit.key} L{phase}", headroom, shares))
    return headrooms


def _add_sum_rows(
    program: LinearProgram,
    sessions: Sessions,
    terms: tuple[IntArray, FloatArray],
    headroom_kw: FloatArray,
    battery: BatteryColumns | None,
    battery_share: float = 1.0,
) -> tuple[IntArray, IntArray]:
    """Rows `sum of factor x power <= headroom` for the steps in which the cars could reach it."""
    columns, factors = terms
    steps, car_steps = len(headroom_kw), sessions.step[columns]
    potential = np.bincount(car_steps, weights=factors * sessions.max_kw[sessions.car[columns]], minlength=steps)
    can_bind = (potential > headroom_kw + _TINY_KW) | (battery is not None)
    needed = np.flatnonzero(can_bind)
    row_of_step = np.full(steps, -1, dtype=np.int64)
    row_of_step[needed] = program.add_rows(np.full(len(needed), -INFINITY), headroom_kw[needed])
    has_row = can_bind[car_steps]
    program.add_entries(row_of_step[car_steps[has_row]], columns[has_row], factors[has_row])
    if battery is not None:
        program.add_entries(row_of_step[needed], battery.charge[needed], battery_share)
        program.add_entries(row_of_step[needed], battery.discharge[needed], -battery_share)
    return needed, row_of_step[needed]


def _add_export(
    program: LinearProgram, problem: SchedulingProblem, sessions: Sessions, battery: BatteryColumns | None
) -> None:
    surplus_kw = problem.pv_kw - problem.load_kw
    price = problem.marginal_price_per_kwh
    # Above the import price the export price would pay for importing and exporting at once, which no meter shows.
    loss = price - np.minimum(problem.export_price_per_kwh, price)
    may_export = (surplus_kw > 0) | (battery is not None)
    needed = np.flatnonzero(may_export & (loss > 0))
    zeros = np.zeros(len(needed))
    columns = program.add_columns(
        loss[needed] * problem.step_h * OBJECTIVE_SCALE, zeros, np.full(len(needed), INFINITY)
    )
    rows = program.add_rows(surplus_kw[needed], np.full(len(needed), INFINITY))
    row_of_step = np.full(problem.steps, -1, dtype=np.int64)
    row_of_step[needed] = rows
    program.add_entries(rows, columns, 1.0)
    has_row = row_of_step[sessions.step] >= 0
    cars = np.flatnonzero(has_row)
    program.add_entries(row_of_step[sessions.step[cars]], cars, sessions.presence[cars])
    if battery is not None:
        program.add_entries(rows, battery.charge[needed], 1.0)
        program.add_entries(rows, battery.discharge[needed], -1.0)
        _forbid_battery_export(program, problem, sessions, battery)


def _forbid_battery_export(
    program: LinearProgram, problem: SchedulingProblem, sessions: Sessions, battery: BatteryColumns
) -> None:
    if problem.battery is None or problem.battery.may_export or not problem.battery.may_feed_cars:
        return
    needs_kw = np.maximum(problem.load_kw - problem.pv_kw, 0.0)
    rows = program.add_rows(np.full(problem.steps, -INFINITY), needs_kw)
    program.add_entries(rows, battery.discharge, 1.0)
    program.add_entries(rows[sessions.step], np.arange(len(sessions.step)), -sessions.presence)


def _add_peak(
    program: LinearProgram, problem: SchedulingProblem, sessions: Sessions, battery: BatteryColumns | None
) -> tuple[int, LimitRows]:
    headroom_kw = problem.free_peak_kw - problem.load_kw + problem.pv_kw
    # What the building alone reaches is no matter of the plan, unless the battery can lower it.
    lowest = 0.0 if battery is not None else max(float((-headroom_kw).max()), 0.0)
    cost = np.array([problem.demand_charge_per_kw * OBJECTIVE_SCALE])
    column = int(program.add_columns(cost, np.array([lowest]), np.array([INFINITY]))[0])
    terms = (np.arange(len(sessions.step)), sessions.presence)
    steps, rows = _add_sum_rows(program, sessions, terms, headroom_kw, battery)
    program.add_entries(rows, np.full(len(rows), column), -1.0)
    return column, LimitRows("peak", steps, rows)
