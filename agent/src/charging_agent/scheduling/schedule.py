"""The charging plan: power by car and step, what it costs, what falls short and which limits bind."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from charging_agent.scheduling.problem import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Expected cost of a plan by part [currency]; revenue is negative."""

    energy: float
    """Imported energy at the import price."""

    demand: float
    """Demand charge on the peak above what was free of it."""

    export: float
    """Revenue of exported energy, at most 0 unless the export price is negative."""

    battery_wear: float
    """Wear of the battery."""

    co2: float
    """Price of the emissions of imported energy."""

    import_parts: Mapping[str, float]
    """`energy` by the named parts of the import price; empty if the problem names none."""

    @property
    def total(self) -> float:
        """Sum of the parts [currency]."""
        return self.energy + self.demand + self.export + self.battery_wear + self.co2


@dataclass(frozen=True, slots=True)
class BindingLimit:
    """A limit that the plan uses fully, with what more of it would be worth."""

    limit: str
    """`circuit KEY`, `circuit KEY L1` to `L3`, or `peak`."""

    price_per_kwh: FloatArray
    """What one more kWh below this limit would save, one per step [currency/kWh]; 0 where it does not bind."""


@dataclass(frozen=True, slots=True)
class ChargingSchedule:
    """Powers of all cars, of battery and grid connection, with their cost."""

    keys: tuple[str, ...]
    """Keys of the requests, in their order."""

    steps: int
    """Number of steps."""

    step_s: float
    """Length of a step [s]."""

    offsets: IntArray
    """Where each car's powers begin in `session_power_kw`, and the length of that at the end."""

    first_steps: IntArray
    """Step of each car's first power."""

    session_power_kw: FloatArray
    """Powers of the cars one after another, only for the steps in which they are there [kW]."""

    battery_kw: FloatArray
    """Power of the battery per step [kW]; negative: it discharges."""

    import_kw: FloatArray
    """Expected import per step [kW]."""

    export_kw: FloatArray
    """Expected export per step [kW]."""

    peak_kw: float
    """Highest of the expected import, of the peak until now and of the peak target [kW]."""

    cost: PlanCost
    """Expected cost."""

    shortfall_kwh: FloatArray
    """Energy that each car does not get by departure, expected over its scenarios [kWh]."""

    binding: tuple[BindingLimit, ...]
    """Limits that bind in at least one step."""

    def powers_of(self, car: int) -> FloatArray:
        """Powers of one car from its first step to its departure [kW]."""
        return self.session_power_kw[self.offsets[car] : self.offsets[car + 1]]

    def power_at(self, step: int) -> FloatArray:
        """Power of each car in one step [kW]."""
        positions = self.offsets[:-1] + (step - self.first_steps)
        is_there = (step >= self.first_steps) & (positions < self.offsets[1:])
        powers = np.zeros(len(self.keys))
        powers[is_there] = self.session_power_kw[positions[is_there]]
        return powers

    def power_matrix_kw(self) -> FloatArray:
        """Powers by car and step [kW], shape (cars, steps); 0 where a car is not there."""
        matrix = np.zeros((len(self.keys), self.steps))
        lengths = np.diff(self.offsets)
        cars = np.repeat(np.arange(len(self.keys)), lengths)
        steps = np.arange(len(cars)) - np.repeat(self.offsets[:-1] - self.first_steps, lengths)
        matrix[cars, steps] = self.session_power_kw
        return matrix

    def total_power_kw(self) -> FloatArray:
        """Power of all cars together per step [kW]."""
        lengths = np.diff(self.offsets)
        steps = np.arange(len(self.session_power_kw)) - np.repeat(self.offsets[:-1] - self.first_steps, lengths)
        return np.bincount(steps, weights=self.session_power_kw, minlength=self.steps).astype(np.float64)
