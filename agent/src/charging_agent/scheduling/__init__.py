"""Charging plans: which car gets how much power when, by a linear programme over prices, limits and departures."""

from charging_agent.scheduling.car_plans import CarPlan, describe_cars
from charging_agent.scheduling.first_interval import hand_out_first_powers
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
    "CarPlan",
    "ChargingRequest",
    "ChargingSchedule",
    "Circuit",
    "DepartureScenario",
    "PlanCost",
    "SchedulingProblem",
    "SchedulingProblemError",
    "SolverError",
    "StationaryBattery",
    "describe_cars",
    "hand_out_first_powers",
    "plan_charging",
]
