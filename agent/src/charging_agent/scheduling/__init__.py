"""Charging plans: which car gets how much power when, by a linear programme over prices, limits and departures."""

from charging_agent.scheduling.linear_program import SolverError
from charging_agent.scheduling.planner import plan_charging
from charging_agent.scheduling.problem import (
    ChargingRequest,
    Circuit,
    DepartureScenario,
    SchedulingProblem,
    SchedulingProblemError,
    StationaryBattery,
)
from charging_agent.scheduling.schedule import BindingLimit, ChargingSchedule, PlanCost

__all__ = [
    "BindingLimit",
    "ChargingRequest",
    "ChargingSchedule",
    "Circuit",
    "DepartureScenario",
    "PlanCost",
    "SchedulingProblem",
    "SchedulingProblemError",
    "SolverError",
    "StationaryBattery",
    "plan_charging",
]
