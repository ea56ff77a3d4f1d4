"""The charging plan as a policy: each car's power by departure, limits, prices and forecasts of the next day.

The rules stay the ceiling of cars that are not planned, and all that is proposed while charging pauses.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

import numpy as np
from pydantic import JsonValue

from charging_agent.charging.fleet import car_name, power_kw
from charging_agent.charging.sharing import Car
from charging_agent.decision.plan_inputs import (
    STEP_S,
    STEPS,
    LoadOutlook,
    PlanPrices,
    build_load_outlook,
    build_plan_prices,
    describe_time,
)
from charging_agent.decision.policy import (
    CarExplanation,
    ConnectionLimits,
    DecisionInputs,
    PlanExplanation,
    PolicyUnavailableError,
    Proposal,
    ScheduledPower,
)
from charging_agent.decision.rules import RulePolicy
from charging_agent.scheduling import (
    CarPlan,
    ChargingRequest,
    ChargingSchedule,
    Circuit,
    SchedulingProblem,
    SchedulingProblemError,
    SolverError,
    describe_cars,
    hand_out_first_powers,
    plan_charging,
)
from ev_service.charging import ChargingMode

_CONNECTION = "connection"
"""Key of the root of the circuits; those of feeders begin with `feeder`."""

_STEP_A = 1.0
"""Ceilings are whole amperes: charging points that take nothing else get what was planned."""

_SHORTEST_H = 1 / 60
"""A departure is planned with as if it were at least a minute ahead [h]."""

_TINY_KW = 1e-6
_TINY_KWH = 0.05


@dataclass(frozen=True, slots=True)
class PlanParameters:
    """What the plan goes by beside its inputs; recorded with each decision."""

    energy_kwh: float = 20.0
    """Energy that a car is taken to want when nobody said so [kWh]."""

    unserved_value_per_kwh: float | None = None
    """Value of energy that a car does not get by departure [currency/kWh]; None: energy comes before any cost."""

    co2_price_per_kg: float = 0.0
    """Price of emissions [currency/kg]."""

    wait_cost_per_kwh_h: float = 0.004
    """What it costs to let energy wait [currency/kWh per hour]: at equal prices sooner is better."""

    peak_target_kw: float = 0.0
    """Import of the billing month up to which no demand charge is counted [kW]."""

    keeps_rule_ceilings: bool = True
    """Whether no car gets more than the rules give; the plan then reckons with the present ceiling throughout."""


@dataclass(frozen=True, slots=True)
class _CarNeed:
    """What one car is planned with."""

    car: Car
    request: ChargingRequest
    scale: float
    """Energy of the request per energy that the car is to get."""
    laxity_h: float
    has_departure: bool
    has_energy: bool


class PlanPolicy:
    """Plans 24 h in steps of 15 min at each decision, and proposes what the plan says for now.

    Energy by departure comes first, then cost, then few changes. The same inputs and parameters give the same plan: the
    solver is bounded by iterations, not by time.

    Args:
        rules: propose while charging pauses and while no car is known; their power is the ceiling of other cars.
        parameters: of the plan.
    """

    name = "plan"
    version = "1"

    def __init__(self, rules: RulePolicy, parameters: PlanParameters | None = None) -> None:
        self._rules = rules
        self._parameters = parameters or PlanParameters()

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """The parameters by name."""
        return asdict(self._parameters)

    def propose(self, inputs: DecisionInputs) -> Proposal:
        """Plan the cars, and propose their powers of now.

        Raises:
            PolicyUnavailableError: there is no solution, or inputs hold a value with which nothing can be computed.
        """
        ruled = self._rules.propose(inputs)
        # What the sun alone feeds is measured each round, not planned.
        cars = tuple(
            sorted((car for car in inputs.cars if car.wants and not car.is_on_surplus), key=lambda car: car.key)
        )
        # A pause is the guard's; without chargers there is nobody to plan for.
        if ruled.ceiling_kw <= 0 or inputs.limits is None or not cars:
            return ruled
        try:
            return self._plan(inputs, inputs.limits, cars, ruled.ceiling_kw)
        except (SolverError, SchedulingProblemError, ArithmeticError) as error:
            raise PolicyUnavailableError(f"no plan could be made ({error})") from error

    def _plan(
        self, inputs: DecisionInputs, limits: ConnectionLimits, cars: Sequence[Car], rule_ceiling_kw: float
    ) -> Proposal:
        prices, load = build_plan_prices(inputs), build_load_outlook(inputs, limits)
        ceiling_kw = rule_ceiling_kw if self._parameters.keeps_rule_ceilings else math.inf
        needs = [self._need(car, inputs, limits, ceiling_kw, prices) for car in cars]
        problem = self._build_problem(limits, needs, prices, load)
        schedule = plan_charging(problem)
        powers_kw = hand_out_first_powers(problem, schedule, [need.laxity_h for need in needs])
        ceilings_kw = {
            need.car.key: max(float(planned_kw), _guaranteed_kw(need.car, limits))
            for need, planned_kw in zip(needs, powers_kw, strict=True)
        }
        # Costs are told without the cost of waiting, which nobody pays.
        plans = describe_cars(replace(problem, import_price_per_kwh=prices.import_per_kwh), schedule)
        explained = tuple(
            _explain_car(inputs, need, plan, ceilings_kw[need.car.key], prices)
            for need, plan in zip(needs, plans, strict=True)
        )
        basis = (prices.basis, load.basis, *_describe_needs(needs, self._parameters))
        return Proposal(
            rule_ceiling_kw,
            _describe_plan(schedule, explained, ceilings_kw.values(), prices),
            ceilings_kw,
            {need.car.key: _course(inputs, schedule, index) for index, need in enumerate(needs)},
            PlanExplanation(
                inputs.at + timedelta(seconds=STEPS * STEP_S),
                prices.currency,
                round(schedule.peak_kw, 3),
                explained,
                basis,
                rule_ceiling_kw,
            ),
        )

    def _need(
        self, car: Car, inputs: DecisionInputs, limits: ConnectionLimits, ceiling_kw: float, prices: PlanPrices
    ) -> _CarNeed:
        per_ampere_kw = power_kw(1.0, len(car.phases), limits.voltage_v)
        max_kw, least_kw = min(car.max_a * per_ampere_kw, ceiling_kw), car.least_a * per_ampere_kw
        max_kw = max_kw if max_kw >= least_kw else 0.0
        is_filled = car.energy_left_kwh is not None and car.energy_left_kwh <= 0
        energy_kwh = self._parameters.energy_kwh if is_filled or car.energy_left_kwh is None else car.energy_left_kwh
        full_h = energy_kwh / max_kw if max_kw > 0 else 0.0
        stay_h = None if car.departure is None else (car.departure - inputs.at).total_seconds() / 3600
        # A car of which nobody knows when it leaves, or that should have left, is charged at once, as a fast one.
        has_departure = stay_h is not None and stay_h > 0 and car.mode is not ChargingMode.FAST
        window_h = stay_h if stay_h is not None and has_departure else full_h
        steps = max(window_h, _SHORTEST_H) * 3600 / STEP_S
        end_step = min(STEPS, math.ceil(steps))
        # The last step is counted whole, so more is asked for until then: the power comes out as it has to be.
        scale = max(1.0, end_step / steps)
        # The last part of a shortfall costs twice the first: a filled car goes on up to the day's median price.
        half_price = max(0.0, prices.median_per_kwh / 2)
        request = ChargingRequest(
            key=car_name(car.key),
            first_step=0,
            end_step=end_step,
            energy_kwh=energy_kwh * scale,
            max_power_kw=max_kw,
            min_power_kw=least_kw,
            step_power_kw=_STEP_A * per_ampere_kw,
            circuit=_feeder_key(car.feeder_id) if car.feeder_id in limits.feeder_a else None,
            phases=car.phases,
            priority=1.0 + max(0, car.priority),
            unserved_value_per_kwh=half_price if is_filled else self._parameters.unserved_value_per_kwh,
            power_now_kw=(car.limit_a or 0.0) * per_ampere_kw,
        )
        return _CarNeed(car, request, scale, window_h - full_h, has_departure, car.energy_left_kwh is not None)

    def _build_problem(
        self, limits: ConnectionLimits, needs: Sequence[_CarNeed], prices: PlanPrices, load: LoadOutlook
    ) -> SchedulingProblem:
        feeders = [
            Circuit(
                _feeder_key(name),
                parent=_CONNECTION,
                limit_a=max(room_a),
                voltage_v=limits.voltage_v,
                load_a=_pad(max(room_a) - free_a for free_a in room_a),
            )
            for name, room_a in sorted(limits.feeder_a.items())
        ]
        wait_cost = self._parameters.wait_cost_per_kwh_h * STEP_S / 3600 * np.arange(STEPS)
        return SchedulingProblem(
            step_s=STEP_S,
            steps=STEPS,
            requests=tuple(need.request for need in needs),
            import_price_per_kwh=prices.import_per_kwh + wait_cost,
            export_price_per_kwh=prices.export_per_kwh,
            circuits=(Circuit(_CONNECTION, limit_kw=limits.usable_kw, voltage_v=limits.voltage_v), *feeders),
            load_kw=load.expected_kw,
            load_high_kw=load.high_kw,
            demand_charge_per_kw=prices.demand_charge_per_kw,
            peak_so_far_kw=max(0.0, float(load.expected_kw[0])),
            peak_target_kw=self._parameters.peak_target_kw,
            co2_g_per_kwh=prices.co2_g_per_kwh,
            co2_price_per_kg=self._parameters.co2_price_per_kg,
        )


def parse_parameters(own: Mapping[str, JsonValue]) -> PlanParameters:
    """Read the parameters of a record; what is absent has its default.

    Raises:
        TypeError: a name is not known.
    """
    known = {name: value for name, value in own.items() if isinstance(value, bool | int | float) or value is None}
    return replace(PlanParameters(), **known)


def _guaranteed_kw(car: Car, limits: ConnectionLimits) -> float:
    guaranteed_a = max(car.guaranteed_a, car.least_a) if car.guaranteed_a > 0 else 0.0
    return power_kw(guaranteed_a, len(car.phases), limits.voltage_v)


def _pad(currents_a: Iterable[float]) -> tuple[float, float, float]:
    first, second, third = (*currents_a, 0.0, 0.0, 0.0)[:3]
    return first, second, third


def _feeder_key(feeder_id: str) -> str:
    return f"feeder {feeder_id}"


def _course(inputs: DecisionInputs, schedule: ChargingSchedule, car: int) -> tuple[ScheduledPower, ...]:
    """Powers of a car where they change, from the decision to the end of the plan."""
    powers = np.zeros(schedule.steps)
    own, first = schedule.powers_of(car), int(schedule.first_steps[car])
    powers[first : first + len(own)] = own
    changes = [0, *(int(step) + 1 for step in np.flatnonzero(np.abs(np.diff(powers)) > _TINY_KW))]
    return tuple(
        ScheduledPower(inputs.at + timedelta(seconds=step * STEP_S), round(float(powers[step]), 3)) for step in changes
    )


def _explain_car(
    inputs: DecisionInputs, need: _CarNeed, plan: CarPlan, ceiling_kw: float, prices: PlanPrices
) -> CarExplanation:
    energy_kwh, shortfall_kwh = plan.energy_kwh / need.scale, plan.shortfall_kwh / need.scale
    cost, cost_at_once = plan.cost / need.scale, plan.cost_at_once / need.scale
    unit = f" {prices.currency}" if prices.currency else ""
    text = f"{ceiling_kw:.3g} kW now"
    if plan.change_step is not None:
        moment = inputs.at + timedelta(seconds=plan.change_step * STEP_S)
        text += f", {plan.next_power_kw:.3g} kW from {describe_time(moment)}"
    leaves = describe_time(need.car.departure) if need.has_departure and need.car.departure else None
    text += f"; {energy_kwh:.1f} kWh " + _describe_stay(need, leaves)
    if plan.limited_by is not None:
        price = f", where one more kWh would save {plan.limit_price_per_kwh:.2g}{unit}" if prices.currency else ""
        text += f"; bound by {_limit_name(plan.limited_by)}{price}"
    elif plan.power_kw <= _TINY_KW < energy_kwh:
        text += "; energy is cheaper later" if prices.currency else "; the site's own sun comes later"
    if shortfall_kwh > _TINY_KWH:
        text += f"; {shortfall_kwh:.1f} kWh will be missing"
    if prices.currency:
        text += f"; costs {cost:.2f}{unit}, {cost_at_once:.2f}{unit} if charged at once"
    return CarExplanation(
        need.car.key,
        f"{text}.",
        need.car.departure if need.has_departure else None,
        round(energy_kwh, 3),
        round(shortfall_kwh, 3),
        plan.limited_by,
        round(plan.limit_price_per_kwh, 6),
        round(cost, 4) if prices.currency else None,
        round(cost_at_once, 4) if prices.currency else None,
    )


def _describe_stay(need: _CarNeed, leaves: str | None) -> str:
    if need.car.mode is ChargingMode.FAST:
        return "at once, in mode fast"
    return f"until it leaves at {leaves}" if leaves else "at once, departure not known"


def _limit_name(limit: str) -> str:
    return "the month's highest import" if limit == "peak" else f"the {limit.removeprefix('circuit ')}"


def _describe_needs(needs: Sequence[_CarNeed], parameters: PlanParameters) -> list[str]:
    fast = [need.request.key for need in needs if need.car.mode is ChargingMode.FAST]
    hasty = [need.request.key for need in needs if not need.has_departure and need.car.mode is not ChargingMode.FAST]
    unknown = [need.request.key for need in needs if not need.has_energy]
    sentences: list[str] = []
    if fast:
        sentences.append(f"In mode fast, charged at once: {', '.join(fast)}.")
    if hasty:
        sentences.append(f"Departure not known, charged at once: {', '.join(hasty)}.")
    if unknown:
        sentences.append(f"Energy not known, {parameters.energy_kwh:g} kWh assumed: {', '.join(unknown)}.")
    return sentences


def _describe_plan(
    schedule: ChargingSchedule, explained: Sequence[CarExplanation], powers_kw: Collection[float], prices: PlanPrices
) -> str:
    active = [one_kw for one_kw in powers_kw if one_kw > 0]
    text = f"By plan {len(active)} of {len(explained)} cars charge now with {sum(active):.1f} kW together"
    missing_kwh = sum(one.shortfall_kwh for one in explained)
    if missing_kwh > _TINY_KWH:
        text += f"; {missing_kwh:.1f} kWh will be missing at departures"
    if prices.currency:
        cost = sum(one.cost or 0.0 for one in explained)
        at_once = sum(one.cost_at_once or 0.0 for one in explained)
        text += f"; energy costs {cost:.2f} {prices.currency}, {at_once:.2f} if charged at once"
    return f"{text}; highest import {schedule.peak_kw:.1f} kW."
