"""Figures of a simulated policy, all of them from its schedule, and the files that hold them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charging_agent.simulation.tariff import FloatArray, PriceSeries
from charging_agent.simulation.virtual_site import Schedule, SiteLimits, stay_steps

FILLED_KWH = 0.1
"""A session counts as filled if no more than this is missing [kWh]."""

_CHARGING_KW = 1e-3
"""Mean power above which a car counts as charging in a step [kW]."""

_TOLERANCE_KW = 1e-3


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What one policy reached."""

    policy: str
    """Name of the policy."""

    information: str
    """What it was told of departures and energies; empty where it uses none."""

    sessions: int
    """Number of sessions."""

    energy_kwh: float
    """Energy charged [kWh]."""

    deliverable_kwh: float
    """Recorded energy as far as it fits into the stays at the charging points' power [kWh]."""

    recorded_kwh: float
    """Recorded energy [kWh]."""

    filled_share_percent: float
    """Share of sessions that lack at most 0.1 kWh of what was deliverable to them [%]."""

    bill: float
    """Cost of charging: bill of the site less the bill without cars [currency]."""

    energy_cost: float
    """Part of `bill` for energy [currency]."""

    demand_cost: float
    """Part of `bill` for demand charges [currency]."""

    peak_kw: float
    """Highest mean power of a step that the site drew from the grid [kW]."""

    starts_per_session: float
    """How often a session that charged began to charge, on average."""

    violations: int
    """Steps in which the feeder was overloaded, a car got more than its charging point gives, or charged while away."""

    decisions: int
    """Number of decisions."""

    solve_ms_p50: float
    """Median time of a decision [ms]; of the optimum: of its only solution."""

    solve_ms_p99: float
    """99 % quantile of that [ms]."""

    @property
    def energy_share_percent(self) -> float:
        """Energy charged over what was deliverable [%]; 100 if nothing was."""
        return 100.0 * self.energy_kwh / self.deliverable_kwh if self.deliverable_kwh > 0 else 100.0

    @property
    def cost_per_kwh(self) -> float:
        """Bill over the energy charged [currency/kWh]; 0 without energy."""
        return self.bill / self.energy_kwh if self.energy_kwh > 0 else 0.0

    def to_json(self) -> dict[str, str | int | float]:
        """The figures by the names of the command's output."""
        return {
            "policy": self.policy,
            "information": self.information,
            "sessions": self.sessions,
            "energy_kwh": round(self.energy_kwh, 3),
            "deliverable_kwh": round(self.deliverable_kwh, 3),
            "recorded_kwh": round(self.recorded_kwh, 3),
            "energy_share_percent": round(self.energy_share_percent, 3),
            "filled_share_percent": round(self.filled_share_percent, 3),
            "bill": round(self.bill, 2),
            "energy_cost": round(self.energy_cost, 2),
            "demand_cost": round(self.demand_cost, 2),
            "cost_per_kwh": round(self.cost_per_kwh, 5),
            "peak_kw": round(self.peak_kw, 3),
            "starts_per_session": round(self.starts_per_session, 3),
            "violations": self.violations,
            "decisions": self.decisions,
            "solve_ms_p50": round(self.solve_ms_p50, 3),
            "solve_ms_p99": round(self.solve_ms_p99, 3),
        }


def compute_result(
    policy: str, information: str, schedule: Schedule, limits: SiteLimits, prices: PriceSeries, other_kw: FloatArray
) -> PolicyResult:
    """Compute the figures of a schedule.

    Args:
        policy: its name.
        information: what it was told.
        schedule: what it did.
        limits: of feeder and charging points.
        prices: of the steps.
        other_kw: power of the building less that of the panels, one per step [kW].
    """
    energy_kwh, total_kw = schedule.energy_kwh(), schedule.total_kw()
    possible_kwh = np.array([session.deliverable_kwh(limits.max_power_kw) for session in schedule.sessions])
    bill, without = prices.compute_bill(total_kw + other_kw), prices.compute_bill(other_kw)
    charging = bill.total - without.total
    filled = float(np.mean(energy_kwh >= possible_kwh - FILLED_KWH)) if len(energy_kwh) else 1.0
    times_ms = schedule.decision_ms if len(schedule.decision_ms) else np.zeros(1)
    return PolicyResult(
        policy=policy,
        information=information,
        sessions=len(schedule.sessions),
        energy_kwh=float(energy_kwh.sum()),
        deliverable_kwh=float(possible_kwh.sum()),
        recorded_kwh=sum(session.delivered_kwh for session in schedule.sessions),
        filled_share_percent=100.0 * filled,
        bill=charging,
        energy_cost=bill.energy - without.energy,
        demand_cost=bill.demand - without.demand,
        peak_kw=bill.peak_kw,
        starts_per_session=_count_starts(schedule),
        violations=count_violations(schedule, limits, other_kw),
        decisions=len(schedule.decision_ms),
        solve_ms_p50=float(np.quantile(times_ms, 0.5)),
        solve_ms_p99=float(np.quantile(times_ms, 0.99)),
    )


def count_violations(schedule: Schedule, limits: SiteLimits, other_kw: FloatArray) -> int:
    """Count steps with an overloaded feeder, and steps of cars with more power or energy than there can be.

    Args:
        schedule: what was done.
        limits: of feeder and charging points.
        other_kw: power of the building less that of the panels, one per step [kW].
    """
    # A building that overloads the feeder alone is not the cars' doing.
    total_kw = schedule.total_kw()
    count = int(((total_kw > _TOLERANCE_KW) & (total_kw + other_kw > limits.feeder_kw + _TOLERANCE_KW)).sum())
    for session, powers in zip(schedule.sessions, schedule.power_kw, strict=True):
        _, present = stay_steps(schedule.grid, session)
        count += int((powers > present * limits.max_power_kw + _TOLERANCE_KW).sum() + (powers < 0).sum())
        count += int(powers.sum() * schedule.grid.step_h > session.delivered_kwh + _TOLERANCE_KW)
    return count


def _count_starts(schedule: Schedule) -> float:
    starts = [
        int((np.diff((powers > _CHARGING_KW).astype(np.int8), prepend=0) == 1).sum()) for powers in schedule.power_kw
    ]
    charged = [count for count in starts if count > 0]
    return float(np.mean(charged)) if charged else 0.0


def write_schedule(file: Path, schedule: Schedule) -> None:
    """Write the mean power of each session and step as CSV; steps without power are left out.

    Args:
        file: its folder is created.
        schedule: of one policy.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    starts = [f"{schedule.grid.start_of(step):%Y-%m-%dT%H:%M:%SZ}" for step in range(schedule.grid.steps)]
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("session_id", "interval_start", "power_kw"))
        for session, first, powers in zip(schedule.sessions, schedule.first_steps, schedule.power_kw, strict=True):
            for offset in np.flatnonzero(powers > 0).tolist():
                rows.writerow((session.session_id, starts[first + offset], f"{powers[offset]:.6f}"))


def write_json(file: Path, results: list[PolicyResult], settings: dict[str, object]) -> None:
    """Write the figures; those of a single policy stand at the top level, those of several under `policies` as well.

    Args:
        file: its folder is created.
        results: one for each policy.
        settings: what was simulated.
    """
    figures = [result.to_json() for result in results]
    document: dict[str, object] = {**figures[-1], "policies": figures, "simulation": settings}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def captured_percent(result: PolicyResult, uncontrolled: PolicyResult, optimum: PolicyResult) -> float | None:
    """Share of the avoidable cost per kWh that a policy avoided [%]; None where nothing was avoidable."""
    avoidable = uncontrolled.cost_per_kwh - optimum.cost_per_kwh
    return None if avoidable <= 1e-9 else 100.0 * (uncontrolled.cost_per_kwh - result.cost_per_kwh) / avoidable


_HEADER = ("policy", "energy", "filled", "bill", "per kWh", "peak kW", "starts", "violations", "ms p50", "p99")


def format_table(results: list[PolicyResult]) -> str:
    """Format the figures of several policies, with the captured share where uncontrolled and optimum are among them."""
    by_policy = {result.policy: result for result in results}
    uncontrolled, optimum = by_policy.get("uncontrolled"), by_policy.get("optimum")
    header = [*_HEADER, *(["captured"] if uncontrolled and optimum else [])]
    rows = [header]
    for one in results:
        name = f"{one.policy} ({one.information})" if one.information else one.policy
        row = [
            name,
            f"{one.energy_share_percent:.1f} %",
            f"{one.filled_share_percent:.1f} %",
            f"{one.bill:,.0f}",
            f"{one.cost_per_kwh:.4f}",
            f"{one.peak_kw:.1f}",
            f"{one.starts_per_session:.2f}",
            f"{one.violations}",
            f"{one.solve_ms_p50:.1f}",
            f"{one.solve_ms_p99:.1f}",
        ]
        if uncontrolled is not None and optimum is not None:
            captured = captured_percent(one, uncontrolled, optimum)
            row.append("-" if captured is None else f"{captured:.1f} %")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = (
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(lines) + "\n"
