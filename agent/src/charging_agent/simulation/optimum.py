"""The schedule that knows all sessions: least cost at the most energy that feeder and stays allow."""

from time import perf_counter

import numpy as np

from charging_agent.scheduling.linear_program import INFINITY, LinearProgram
from charging_agent.scheduling.problem import IntArray
from charging_agent.simulation.sessions import ChargingSession
from charging_agent.simulation.tariff import FloatArray, PriceSeries
from charging_agent.simulation.virtual_site import Schedule, SiteLimits, StepGrid, stay_steps

_SCALE = 1000.0
"""Factor on money in the objective, so that the solver's tolerance lies far below any price."""


def compute_optimum(
    sessions: tuple[ChargingSession, ...],
    grid: StepGrid,
    limits: SiteLimits,
    prices: PriceSeries,
    other_kw: FloatArray,
) -> Schedule:
    """Compute the schedule of least cost, energy before cost, with all sessions known in advance.

    Currents are continuous also where charging points take whole amperes, so that it bounds what any policy reaches.

    Args:
        sessions: by arrival.
        grid: the steps.
        limits: of feeder and charging points.
        prices: of the steps.
        other_kw: power of the building less that of the panels, one per step [kW].

    Raises:
        SolverError: the solver finds no optimum.
    """
    started = perf_counter()
    stays = [stay_steps(grid, session) for session in sessions]
    lengths = np.array([len(parts) for _, parts in stays], dtype=np.int64)
    step = np.concatenate([np.arange(first, first + len(parts)) for first, parts in stays]).astype(np.int64)
    car = np.repeat(np.arange(len(sessions)), lengths)
    most_kw = np.concatenate([parts for _, parts in stays]) * limits.max_power_kw
    possible_kw = np.bincount(step, weights=most_kw, minlength=grid.steps).astype(np.float64)
    program = LinearProgram()
    powers = program.add_columns(np.zeros(len(step)), np.zeros(len(step)), most_kw)
    # What the panels give beyond the building costs nothing, so only power above it is bought.
    bought = program.add_columns(prices.per_kwh * grid.step_h * _SCALE, np.zeros(grid.steps), possible_kw)
    balance = program.add_rows(np.minimum(other_kw, 0.0), np.full(grid.steps, INFINITY))
    program.add_entries(balance, bought, 1.0)
    program.add_entries(balance[step], powers, -1.0)
    feeder = program.add_rows(np.full(grid.steps, -INFINITY), np.maximum(limits.feeder_kw - other_kw, 0.0))
    program.add_entries(feeder[step], powers, 1.0)
    wanted_kwh = np.array([session.deliverable_kwh(limits.max_power_kw) for session in sessions])
    missing = program.add_columns(np.full(len(sessions), _value_per_kwh(prices)), np.zeros(len(sessions)), wanted_kwh)
    energies = program.add_rows(wanted_kwh, wanted_kwh)
    program.add_entries(energies[car], powers, grid.step_h)
    program.add_entries(energies, missing, 1.0)
    _add_peaks(program, bought, np.maximum(other_kw, 0.0), prices)
    values = program.solve().values[powers]
    split = np.split(np.clip(values, 0.0, most_kw), np.cumsum(lengths)[:-1])
    elapsed_ms = np.array([(perf_counter() - started) * 1000])
    return Schedule(grid, sessions, tuple(first for first, _ in stays), tuple(split), elapsed_ms)


def _value_per_kwh(prices: PriceSeries) -> float:
    """Value that puts energy before any cost: in the worst case a kWh raises the peak in a single step."""
    worst = float(np.abs(prices.per_kwh).max() + prices.demand_per_kw.max() / prices.step_h)
    return (2.0 * worst + 1.0) * _SCALE


def _add_peaks(program: LinearProgram, bought: IntArray, building_kw: FloatArray, prices: PriceSeries) -> None:
    """Add a peak for each calendar month that is at least the power of all its steps."""
    for month in np.unique(prices.month):
        steps = np.flatnonzero(prices.month == month)
        charge = float(prices.demand_per_kw[steps].max())
        if charge <= 0:
            continue
        least_kw = np.array([building_kw[steps].max()])
        peak = program.add_columns(np.array([charge * _SCALE]), least_kw, np.array([INFINITY]))
        rows = program.add_rows(building_kw[steps], np.full(len(steps), INFINITY))
        program.add_entries(rows, np.broadcast_to(peak, rows.shape), 1.0)
        program.add_entries(rows, bought[steps], -1.0)
