"""Computes a charging plan: energy by departure first, then cost."""

import numpy as np

from charging_agent.scheduling.calm import calm_powers
from charging_agent.scheduling.formulation import OBJECTIVE_SCALE, Formulation, formulate
from charging_agent.scheduling.linear_program import LinearSolution
from charging_agent.scheduling.problem import FloatArray, SchedulingProblem
from charging_agent.scheduling.schedule import BindingLimit, ChargingSchedule, PlanCost


def plan_charging(problem: SchedulingProblem, *, is_calm: bool = True) -> ChargingSchedule:
    """Compute the plan with the least shortfall, among these the least cost, among these few changes of power.

    The same problem gives the same plan.

    Args:
        problem: what to plan.
        is_calm: whether powers are gathered inside blocks of equal price; False where only the cost matters.

    Raises:
        SolverError: if the solver finds no optimum; the problem itself is never infeasible.
    """
    formulation = formulate(problem)
    solution = formulation.program.solve()
    return _read_schedule(problem, formulation, solution, is_calm=is_calm)


def _read_schedule(
    problem: SchedulingProblem, formulation: Formulation, solution: LinearSolution, *, is_calm: bool
) -> ChargingSchedule:
    sessions, values = formulation.sessions, solution.values
    powers = np.clip(values[formulation.powers], 0.0, sessions.max_kw[sessions.car])
    battery_kw = np.zeros(problem.steps)
    if formulation.battery is not None:
        battery_kw = values[formulation.battery.charge] - values[formulation.battery.discharge]
    if is_calm:
        above_kw = float(values[formulation.peak]) if formulation.peak is not None else 0.0
        powers = calm_powers(problem, sessions, powers, battery_kw, problem.free_peak_kw + above_kw)
    cars_kw = np.bincount(sessions.step, weights=powers * sessions.presence, minlength=problem.steps)
    net_kw = problem.load_kw - problem.pv_kw + cars_kw + battery_kw
    import_kw, export_kw = np.maximum(net_kw, 0.0), np.maximum(-net_kw, 0.0)
    peak_kw = max(problem.free_peak_kw, float(import_kw.max()))
    shortfalls = formulation.shortfalls
    missing = (values[shortfalls.columns].sum(axis=1) + shortfalls.unreachable_kwh) * shortfalls.weight
    return ChargingSchedule(
        keys=tuple(request.key for request in problem.requests),
        steps=problem.steps,
        step_s=problem.step_s,
        offsets=sessions.offsets,
        first_steps=sessions.first,
        session_power_kw=powers,
        battery_kw=battery_kw,
        import_kw=import_kw,
        export_kw=export_kw,
        peak_kw=peak_kw,
        cost=_compute_cost(problem, import_kw, export_kw, battery_kw, peak_kw),
        shortfall_kwh=np.bincount(shortfalls.car, weights=missing, minlength=len(problem.requests)).astype(np.float64),
        binding=_find_binding(problem, formulation, solution),
    )


def _compute_cost(
    problem: SchedulingProblem, import_kw: FloatArray, export_kw: FloatArray, battery_kw: FloatArray, peak_kw: float
) -> PlanCost:
    import_kwh, export_kwh = import_kw * problem.step_h, export_kw * problem.step_h
    wear = problem.battery.wear_cost_per_kwh if problem.battery else 0.0
    return PlanCost(
        energy=float(import_kwh @ problem.import_price_per_kwh),
        demand=problem.demand_charge_per_kw * (peak_kw - problem.free_peak_kw),
        export=-float(export_kwh @ problem.export_price_per_kwh),
        battery_wear=wear * float(np.maximum(-battery_kw, 0.0).sum()) * problem.step_h,
        co2=float(import_kwh @ problem.co2_g_per_kwh) / 1000.0 * problem.co2_price_per_kg,
        import_parts={name: float(import_kwh @ part) for name, part in problem.import_price_parts.items()},
    )


def _find_binding(
    problem: SchedulingProblem, formulation: Formulation, solution: LinearSolution
) -> tuple[BindingLimit, ...]:
    found: list[BindingLimit] = []
    for limit in formulation.limits:
        prices = np.zeros(problem.steps)
        prices[limit.steps] = np.maximum(-solution.duals[limit.rows], 0.0) / (OBJECTIVE_SCALE * problem.step_h)
        if prices.max(initial=0.0) > 0:
            found.append(BindingLimit(limit.name, prices))
    return tuple(found)
