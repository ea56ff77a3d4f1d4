"""What a charging plan is computed from: cars, circuits, prices, load, sun and battery over steps of equal length.

Powers are positive when they flow into the component [kW]; money is in one currency throughout; step 0 starts now.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class SchedulingProblemError(ValueError):
    """The problem holds a value with which no plan can be computed, such as a NaN or an array of the wrong length."""


@dataclass(frozen=True, slots=True)
class DepartureScenario:
    """One way how a charging session may end."""

    end_step: int
    """First step in which the car is gone."""

    energy_kwh: float
    """Energy that the car takes if it can [kWh], >= 0."""

    weight: float
    """Probability of this scenario, > 0; the weights of a session are scaled to the sum 1."""


@dataclass(frozen=True, slots=True)
class ChargingRequest:
    """What one charging session asks for."""

    key: str
    """Identifies the session; unique within a problem."""

    first_step: int
    """First step in which the car can charge; a negative one has passed already."""

    end_step: int
    """First step in which the car is gone; not after `first_step`: the car cannot charge any more."""

    energy_kwh: float
    """Energy that the car is to get until then [kWh], >= 0."""

    max_power_kw: float
    """Highest power that car and charging point take [kW], >= 0."""

    min_power_kw: float = 0.0
    """Lowest power other than 0, such as 6 A on the phases in use [kW]."""

    step_power_kw: float = 0.0
    """Step between the powers that can be set, such as 1 A on the phases in use [kW]; 0: any power can be set."""

    circuit: str | None = None
    """Key of the circuit that feeds the charging point; None: the root."""

    phases: tuple[int, ...] = (1, 2, 3)
    """Phases that the car loads equally, of 1, 2 and 3."""

    priority: float = 1.0
    """Factor on the value of energy that this car does not get, > 0."""

    unserved_value_per_kwh: float | None = None
    """Value of energy that the car does not get by departure; None: so high that energy goes before cost."""

    power_now_kw: float = 0.0
    """Power at which the car charges at the moment [kW]; 0: it does not charge."""

    scenarios: tuple[DepartureScenario, ...] = ()
    """How the session may end; empty: `end_step` and `energy_kwh` are certain, otherwise these replace them."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A part of the site's wiring with a limit: the connection, a feeder or a distribution board."""

    key: str
    """Identifies the circuit; unique within a problem."""

    parent: str | None = None
    """Key of the circuit that feeds it; None for the root, of which there is one."""

    limit_kw: float | FloatArray | None = None
    """Limit for the sum of the phases [kW], one value or one per step; None: not limited so."""

    limit_a: float | None = None
    """Limit of each phase [A]; None: not limited so."""

    voltage_v: float = 230.0
    """Voltage between phase and neutral [V]."""

    load_kw: float | FloatArray = 0.0
    """Power below this circuit beside the cars and beside the building's load of the problem [kW]."""

    load_a: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Highest current of other consumers on L1, L2, L3 [A]; at the root it includes that of the building."""


@dataclass(frozen=True, slots=True)
class StationaryBattery:
    """The site's battery."""

    capacity_kwh: float
    """Energy between empty and full [kWh]."""

    max_charge_kw: float
    """Highest charging power at its terminals [kW]."""

    max_discharge_kw: float
    """Highest discharging power at its terminals [kW]."""

    energy_kwh: float
    """Energy stored now [kWh]."""

    reserve_kwh: float = 0.0
    """Energy that stays in the battery [kWh]; one that holds less is not discharged."""

    final_energy_kwh: float | None = None
    """Energy that it holds at the end at least [kWh], never more than can be asked; None: as much as now."""

    charge_efficiency: float = 0.95
    """Stored energy per energy taken, 0 to 1."""

    discharge_efficiency: float = 0.95
    """Energy given per energy removed, 0 to 1."""

    wear_cost_per_kwh: float = 0.0
    """Cost of wear per energy given [currency/kWh]."""

    may_feed_cars: bool = False
    """Whether it may discharge for cars; otherwise it gives at most what the building lacks."""

    may_export: bool = False
    """Whether it may discharge into the grid; takes effect only together with `may_feed_cars`."""


def _empty() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class SchedulingProblem:
    """Everything that a plan depends on. Arrays hold one value per step."""

    step_s: float
    """Length of a step [s]."""

    steps: int
    """Number of steps, >= 1."""

    requests: tuple[ChargingRequest, ...]
    """The charging sessions, present and expected."""

    import_price_per_kwh: FloatArray
    """Price of imported energy, the sum of all parts [currency/kWh]."""

    export_price_per_kwh: FloatArray = field(default_factory=_empty)
    """Revenue of exported energy [currency/kWh]; empty: 0. Above the import price it counts as the import price."""

    import_price_parts: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    """Named parts of the import price [currency/kWh], only for `PlanCost.import_parts`; may be empty."""

    circuits: tuple[Circuit, ...] = ()
    """The tree of circuits; empty: nothing limits the cars together."""

    load_kw: FloatArray = field(default_factory=_empty)
    """Load of the site beside cars and battery for the cost, the median forecast [kW]; empty: 0."""

    load_high_kw: FloatArray | None = None
    """The same for the limits, the 90 % quantile [kW]; None: as `load_kw`."""

    pv_kw: FloatArray = field(default_factory=_empty)
    """Power of the panels for the cost, the median forecast [kW]; empty: 0."""

    pv_low_kw: FloatArray | None = None
    """The same for the limits, the 10 % quantile [kW]; None: as `pv_kw`."""

    demand_charge_per_kw: float = 0.0
    """Price of the highest import of the billing period [currency/kW]."""

    peak_so_far_kw: float = 0.0
    """Highest import of the billing period until now [kW]."""

    peak_target_kw: float = 0.0
    """Import that the billing period is expected to reach anyway [kW]; up to it no demand charge is counted."""

    co2_g_per_kwh: FloatArray = field(default_factory=_empty)
    """Emissions of imported energy [g/kWh]; empty: 0."""

    co2_price_per_kg: float = 0.0
    """Price of emissions [currency/kg]."""

    battery: StationaryBattery | None = None
    """The battery that the plan may use; None: none."""

    def __post_init__(self) -> None:
        """Fill empty arrays and refuse values with which nothing can be computed.

        Raises:
            SchedulingProblemError: with the name of the field and what is wrong with it.
        """
        if not (self.steps >= 1 and self.step_s > 0 and math.isfinite(self.step_s)):
            raise SchedulingProblemError(f"steps {self.steps} of {self.step_s} s: both must be positive")
        for name in ("import_price_per_kwh", "export_price_per_kwh", "load_kw", "pv_kw", "co2_g_per_kwh"):
            object.__setattr__(self, name, self._array(name, getattr(self, name), may_be_empty=True))
        for name in ("load_high_kw", "pv_low_kw"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._array(name, getattr(self, name)))
        for name, part in self.import_price_parts.items():
            self._array(f"import_price_parts[{name}]", part)
        for name in ("demand_charge_per_kw", "peak_so_far_kw", "peak_target_kw", "co2_price_per_kg"):
            _require_finite(name, getattr(self, name))
        _check_requests(self)
        _check_circuits(self)
        _check_battery(self.battery)

    def _array(self, name: str, values: FloatArray, *, may_be_empty: bool = False) -> FloatArray:
        array = np.asarray(values, dtype=np.float64)
        if may_be_empty and array.size == 0:
            return np.zeros(self.steps)
        if array.shape != (self.steps,):
            raise SchedulingProblemError(f"{name} has shape {array.shape}, the plan has {self.steps} steps")
        if not np.isfinite(array).all():
            raise SchedulingProblemError(f"{name} is not finite at step {int(np.argmin(np.isfinite(array)))}")
        return array

    @property
    def step_h(self) -> float:
        """Length of a step [h]."""
        return self.step_s / 3600.0

    @property
    def cautious_load_kw(self) -> FloatArray:
        """Load less sun that the limits reckon with [kW], one per step."""
        load_kw = self.load_kw if self.load_high_kw is None else self.load_high_kw
        return load_kw - (self.pv_kw if self.pv_low_kw is None else self.pv_low_kw)

    @property
    def marginal_price_per_kwh(self) -> FloatArray:
        """Import price with the price of emissions [currency/kWh], one per step."""
        return self.import_price_per_kwh + self.co2_g_per_kwh / 1000.0 * self.co2_price_per_kg

    @property
    def free_peak_kw(self) -> float:
        """Import up to which no demand charge is counted [kW]."""
        return max(self.peak_so_far_kw, self.peak_target_kw, 0.0)


def _require_finite(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise SchedulingProblemError(f"{name} is {value}, not a number of at least 0")


def _check_requests(problem: SchedulingProblem) -> None:
    keys = {request.key for request in problem.requests}
    if len(keys) != len(problem.requests):
        raise SchedulingProblemError("two requests have the same key")
    for request in problem.requests:
        for name in ("energy_kwh", "max_power_kw", "min_power_kw", "step_power_kw", "priority", "power_now_kw"):
            value = getattr(request, name)
            # Written out instead of calling _require_finite: the name is only put together when it is needed.
            if not 0.0 <= value < math.inf:
                raise SchedulingProblemError(f"{name} of {request.key} is {value}, not a number of at least 0")
        if request.unserved_value_per_kwh is not None:
            _require_finite(f"unserved_value_per_kwh of {request.key}", request.unserved_value_per_kwh)
        for scenario in request.scenarios:
            _require_finite(f"scenario energy of {request.key}", scenario.energy_kwh)
            if not 0.0 < scenario.weight < math.inf:
                raise SchedulingProblemError(f"scenario weight of {request.key} is {scenario.weight}, not above 0")
        if not request.phases or not set(request.phases) <= {1, 2, 3}:
            raise SchedulingProblemError(f"phases of {request.key} are {request.phases}, not of 1, 2 and 3")


def _check_circuits(problem: SchedulingProblem) -> None:
    known = {circuit.key: circuit for circuit in problem.circuits}
    if len(known) != len(problem.circuits):
        raise SchedulingProblemError("two circuits have the same key")
    roots = [circuit.key for circuit in problem.circuits if circuit.parent is None]
    if known and len(roots) != 1:
        raise SchedulingProblemError(f"the circuits have {len(roots)} roots, not one")
    for circuit in problem.circuits:
        for name, value in (("limit_kw", circuit.limit_kw), ("limit_a", circuit.limit_a), ("load_kw", circuit.load_kw)):
            if value is not None and not np.isfinite(value).all():
                raise SchedulingProblemError(f"{name} of circuit {circuit.key} is not finite")
        depth, above = 0, circuit.parent
        while above is not None:
            if above not in known or depth > len(known):
                raise SchedulingProblemError(f"circuit {circuit.key} is not below the root")
            depth, above = depth + 1, known[above].parent
    for request in problem.requests:
        if request.circuit is not None and request.circuit not in known:
            raise SchedulingProblemError(f"circuit {request.circuit} of {request.key} is not known")


def _check_battery(battery: StationaryBattery | None) -> None:
    if battery is None:
        return
    for name in ("capacity_kwh", "max_charge_kw", "max_discharge_kw", "energy_kwh", "reserve_kwh", "wear_cost_per_kwh"):
        _require_finite(f"battery.{name}", getattr(battery, name))
    if not (0 < battery.charge_efficiency <= 1 and 0 < battery.discharge_efficiency <= 1):
        raise SchedulingProblemError("the battery's efficiencies are not above 0 and up to 1")
