"""How long a charging plan takes, model building included, beside the bare linear programme and EMHASS's figures.

Times are processor time of one thread, so that other jobs on the machine do not count. Run it:
`python tests/bench/plan.py`. With `EV_DATA_DIR` it also plans the day of `emhass_day`.
"""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np

from charging_agent.scheduling import (
    ChargingRequest,
    Circuit,
    SchedulingProblem,
    StationaryBattery,
    plan_charging,
)
from charging_agent.scheduling.formulation import formulate

_ROUNDS = {10: 60, 100: 30, 1000: 10}
_EMHASS_MS = {30: 197.0, 5: 3073.0}
"""Medians that EMHASS 0.18.7 took for this day, build and solve, measured on two shared cores at another time."""


def measure() -> dict[str, dict[str, float]]:
    """Milliseconds of plans for 10, 100 and 1,000 cars over 24 h in quarter hours, and EMHASS's day."""
    figures = {f"{cars}_cars": _measure_cars(cars, rounds) for cars, rounds in _ROUNDS.items()}
    folder = os.environ.get("EV_DATA_DIR")
    if folder:
        figures |= {f"emhass_{minutes}_min": _measure_emhass(Path(folder), minutes) for minutes in _EMHASS_MS}
    return figures


def _measure_cars(cars: int, rounds: int) -> dict[str, float]:
    plans_ms: list[float] = []
    bare_ms: list[float] = []
    starts: list[float] = []
    plan_charging(_site(cars, 1000))
    for seed in range(rounds):
        problem = _site(cars, seed)
        begun = time.process_time()
        plan = plan_charging(problem)
        plans_ms.append((time.process_time() - begun) * 1000)
        program = formulate(problem).program
        begun = time.process_time()
        program.solve()
        bare_ms.append((time.process_time() - begun) * 1000)
        charges = plan.power_matrix_kw() > 1e-6
        starts.append(float((charges & ~np.pad(charges, ((0, 0), (1, 0)))[:, :-1]).sum()) / cars)
    p50, p99 = float(np.percentile(plans_ms, 50)), float(np.percentile(plans_ms, 99))
    return {
        "p50_ms": round(p50, 2),
        "p99_over_p50": round(p99 / p50, 2),
        "over_bare": round(p50 / float(np.median(bare_ms)), 2),
        "starts_per_car": round(float(np.mean(starts)), 2),
    }


def _site(cars: int, seed: int) -> SchedulingProblem:
    """Cars of four powers and random stays, time-of-use prices, a demand charge and a limit that binds every second."""
    random = np.random.default_rng(seed)
    requests: list[ChargingRequest] = []
    for index in range(cars):
        first = int(random.integers(0, 60))
        end = min(96, first + int(random.integers(16, 70)))
        power_kw = float(random.choice([3.7, 7.4, 11.0, 22.0]))
        energy_kwh = min(float(random.uniform(5, 40)), 0.9 * power_kw * (end - first) / 4)
        requests.append(ChargingRequest(f"car {index}", first, end, energy_kwh, power_kw))
    limit_kw = sum(request.energy_kwh for request in requests) / 24 * 1.6
    return SchedulingProblem(
        900.0,
        96,
        tuple(requests),
        np.repeat([0.2, 0.3, 0.4, 0.3, 0.2], [32, 16, 24, 12, 12]),
        circuits=(Circuit("site", limit_kw=limit_kw),),
        demand_charge_per_kw=15.0 if seed % 2 else 0.0,
    )


def _measure_emhass(folder: Path, minutes: int) -> dict[str, float]:
    with (folder / "emhass_day" / f"series_{minutes}min.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sun_w, load_w, buy, sell = (
        np.array([float(row[name]) for row in rows]) for name in ("pv_w", "load_w", "buy_eur_kwh", "sell_eur_kwh")
    )
    steps = len(rows)
    problem = SchedulingProblem(
        minutes * 60.0,
        steps,
        (ChargingRequest("car", 0, steps, 22.2, 7.4), ChargingRequest("load", 0, steps, 4.0, 2.0)),
        buy,
        sell,
        load_kw=load_w / 1000,
        pv_kw=sun_w / 1000,
        # The data set does not say how full the battery is: half, and as full at the end.
        battery=StationaryBattery(10.0, 5.0, 5.0, 5.0, may_feed_cars=True),
    )
    plan, plans_ms = plan_charging(problem), list[float]()
    for _ in range(10):
        begun = time.process_time()
        plan = plan_charging(problem)
        plans_ms.append((time.process_time() - begun) * 1000)
    return {
        "cost_eur": round(plan.cost.total, 4),
        "ms": round(float(np.median(plans_ms)), 2),
        "times_faster": round(_EMHASS_MS[minutes] / float(np.median(plans_ms)), 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
