"""Runs policies on the same sessions, tariff and limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.simulation.information import EnteredInformation, Information, TrueInformation
from charging_agent.simulation.optimum import compute_optimum
from charging_agent.simulation.peak_target import PeakTarget
from charging_agent.simulation.planned import PlanScheduler
from charging_agent.simulation.results import PolicyResult, compute_result
from charging_agent.simulation.schedulers import LeastLaxityScheduler, SharingScheduler, UncontrolledScheduler
from charging_agent.simulation.sessions import ChargingSession
from charging_agent.simulation.tariff import FloatArray, PriceSeries, Tariff, compute_price_series
from charging_agent.simulation.virtual_site import Progress, Schedule, Scheduler, SiteLimits, StepGrid, VirtualSite


class Policy(StrEnum):
    """What sets the limits."""

    UNCONTROLLED = "uncontrolled"
    EQUAL = "equal"
    LEAST_LAXITY = "least-laxity"
    RULES = "rules"
    PLAN = "plan"
    OPTIMUM = "optimum"


class InformationKind(StrEnum):
    """What is known of a session's end."""

    ENTERED = "entered"
    TRUE = "true"


@dataclass(frozen=True, slots=True)
class Simulation:
    """One site, its sessions and its tariff."""

    sessions: tuple[ChargingSession, ...]
    """Sessions by arrival."""

    grid: StepGrid
    """Steps over all of them."""

    limits: SiteLimits
    """Of feeder and charging points."""

    zone: ZoneInfo
    """Time zone of the site."""

    tariff: Tariff
    """Tariff of the site."""

    prices: PriceSeries
    """Prices of the steps."""

    load_kw: FloatArray
    """Power of the building, one per step [kW]."""

    pv_kw: FloatArray
    """Power of the panels, one per step [kW]."""

    history: tuple[ChargingSession, ...] = ()
    """Sessions before these; what ended before the first step may be learned from."""

    capacity_kwp: float = 0.0
    """Rated power of the panels [kWp]; 0: there are none."""

    follows_rules: bool = False
    """Whether the rules bound every policy but the references."""

    taper_share: float = 0.0
    """Last part of a session's energy in which the car takes less and less, 0 to 1."""

    @classmethod
    def create(
        cls, sessions: Sequence[ChargingSession], tariff: Tariff, zone: ZoneInfo, limits: SiteLimits, step_s: int
    ) -> "Simulation":
        """Build the simulation of a site without building and panels.

        Raises:
            TariffError: the tariff has no single price for one of the days.
        """
        grid = StepGrid.covering(sessions, step_s)
        prices = compute_price_series(tariff, grid.local_starts(zone), step_s)
        nothing = np.zeros(grid.steps)
        return cls(tuple(sessions), grid, limits, zone, tariff, prices, nothing, nothing)


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """Schedule and figures of one policy."""

    policy: Policy
    schedule: Schedule
    result: PolicyResult


def run_policy(
    simulation: Simulation, policy: Policy, kind: InformationKind, progress: Progress | None = None
) -> PolicyRun:
    """Simulate one policy.

    Args:
        simulation: the site.
        policy: what sets the limits.
        kind: what it is told of departures and energies.
        progress: is told the time of each decision.
    """
    other_kw = simulation.load_kw - simulation.pv_kw
    if policy is Policy.OPTIMUM:
        schedule = compute_optimum(simulation.sessions, simulation.grid, simulation.limits, simulation.prices, other_kw)
        result = compute_result(policy.value, "", schedule, simulation.limits, simulation.prices, other_kw)
        return PolicyRun(policy, schedule, result)
    site = VirtualSite(
        simulation.sessions,
        simulation.grid,
        simulation.limits,
        simulation.load_kw,
        simulation.pv_kw,
        simulation.taper_share,
    )
    schedule = site.run(_create_scheduler(simulation, policy, kind), progress)
    told = "" if policy is Policy.UNCONTROLLED else kind.value
    result = compute_result(policy.value, told, schedule, simulation.limits, simulation.prices, other_kw)
    return PolicyRun(policy, schedule, result)


def _create_information(kind: InformationKind) -> Information:
    return TrueInformation() if kind is InformationKind.TRUE else EnteredInformation()


def _create_scheduler(simulation: Simulation, policy: Policy, kind: InformationKind) -> Scheduler:
    limits, information = simulation.limits, _create_information(kind)
    if policy is Policy.UNCONTROLLED:
        return UncontrolledScheduler(limits)
    if policy is Policy.LEAST_LAXITY:
        return LeastLaxityScheduler(limits, information)
    follows_rules = simulation.follows_rules or policy is Policy.RULES
    sharing = SharingScheduler(limits, information, follows_rules, simulation.capacity_kwp)
    if policy is not Policy.PLAN:
        return sharing
    target = PeakTarget(simulation.zone, limits.max_power_kw)
    for session in simulation.history:
        if session.departure <= simulation.grid.start:
            target.learn(session, session.deliverable_kwh(limits.max_power_kw))
    guard = sharing if follows_rules else None
    return PlanScheduler(limits, information, simulation.tariff, simulation.zone, target, guard)
