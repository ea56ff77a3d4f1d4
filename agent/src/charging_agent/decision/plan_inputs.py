"""Prices and load of the next day on the steps of a plan, with words for what was known and what stands in for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from charging_agent.decision.policy import ConnectionLimits, DecisionInputs
from charging_agent.readings.forecasts import LOAD_FORECAST, LoadForecastOutlook
from charging_agent.readings.prices import PRICES, PriceOutlook
from charging_agent.scheduling.problem import FloatArray
from ev_service.forecasts import Forecast, SolarForecast

STEP_S = 900
"""Length of a step of the plan [s]. The first step begins with the decision."""

STEPS = 96
"""Steps of the plan: 24 h."""

_SURPLUS_STEPS = 4
"""Without a forecast of the sun, the present surplus is planned with for an hour."""

_EDGES_S = np.arange(STEPS + 1, dtype=np.float64) * STEP_S


@dataclass(frozen=True, slots=True)
class PlanPrices:
    """Prices of each step of the plan."""

    import_per_kwh: FloatArray
    """Price of imported energy [currency/kWh]; 1 throughout where no price is known."""

    export_per_kwh: FloatArray
    """Revenue of exported energy [currency/kWh]; 0 where it is not known."""

    co2_g_per_kwh: FloatArray
    """Emissions of imported energy [g/kWh]; 0 where they are not known."""

    demand_charge_per_kw: float
    """Demand charge on the highest import of the month [currency/kW]."""

    currency: str | None
    """Currency; None: no price is known."""

    basis: str
    """What was known, in one sentence."""

    median_per_kwh: float = 1.0
    """Median of the import prices [currency/kWh]."""


@dataclass(frozen=True, slots=True)
class LoadOutlook:
    """Power of the site without the cars in each step of the plan: load less sun, negative while it exports."""

    expected_kw: FloatArray
    """Median [kW]."""

    high_kw: FloatArray
    """What limits reckon with, the 90 % quantile [kW]."""

    basis: str
    """What was known, in one sentence."""


def build_plan_prices(inputs: DecisionInputs) -> PlanPrices:
    """Bring the prices onto the plan's steps; an interval whose price is not known counts as the dearest known one."""
    outlook = inputs.prices.get(PRICES)
    known = () if not isinstance(outlook, PriceOutlook) else outlook.import_price_per_kwh
    if not isinstance(outlook, PriceOutlook) or all(price is None for price in known):
        basis = "No prices are known: power is planned by departure alone, and the site's own sun comes first."
        return PlanPrices(np.ones(STEPS), np.zeros(STEPS), np.zeros(STEPS), 0.0, None, basis)
    start_s = (outlook.starts_at - inputs.at).total_seconds()

    def on_steps(values: Sequence[float | None], otherwise: float) -> FloatArray:
        filled = np.array([otherwise if value is None else value for value in values])
        return _mean_on_steps(filled, start_s, outlook.resolution_s, otherwise)

    dearest = max(price for price in known if price is not None)
    highest_g = max((one for one in outlook.co2_g_per_kwh if one is not None), default=0.0)
    first_unknown = next((index for index, price in enumerate(known) if price is None), len(known))
    until = outlook.starts_at + timedelta(seconds=first_unknown * outlook.resolution_s)
    gap = "" if (until - inputs.at).total_seconds() >= STEPS * STEP_S else ", beyond it the dearest known one counts"
    import_per_kwh = on_steps(known, dearest)
    return PlanPrices(
        import_per_kwh,
        on_steps(outlook.export_price_per_kwh, 0.0),
        on_steps(outlook.co2_g_per_kwh, highest_g),
        outlook.demand_charge_per_kw or 0.0,
        outlook.currency,
        f"Prices are known until {describe_time(until)}{gap}.",
        float(np.median(import_per_kwh)),
    )


def build_load_outlook(inputs: DecisionInputs, limits: ConnectionLimits) -> LoadOutlook:
    """Bring load and sun onto the plan's steps; without forecasts the present values stay.

    The first step is what was measured: its limit is what the cars may draw now.
    """
    exported_kw = inputs.grid.export_kw if inputs.grid is not None else 0.0
    now_kw, reserved_kw = limits.base_load_kw - exported_kw, limits.usable_kw - limits.free_kw
    grid, solar = inputs.forecasts.get(LOAD_FORECAST), inputs.forecasts.get("solar")
    if isinstance(grid, LoadForecastOutlook):
        start_s = (grid.starts_at - inputs.at).total_seconds()
        # Beyond a forecast that ends early its last value stays.
        expected_kw, high_kw = (
            _mean_on_steps(np.array(values), start_s, grid.resolution_s, values[-1])
            for values in (grid.p50_kw, grid.p90_kw)
        )
        basis = f"Load by the forecast {grid.model} of {describe_time(grid.issued_at)}."
    elif isinstance(solar, SolarForecast) and inputs.solar is not None:
        gross_kw = now_kw + inputs.solar.generation_kw
        expected_kw = gross_kw - _read_quantile(solar, inputs.at, "p50")
        high_kw = gross_kw - _read_quantile(solar, inputs.at, "p10")
        basis = (
            f"Sun by the forecast {solar.model} of {describe_time(solar.issued_at)}; without a forecast of the load, "
            "the present one stays."
        )
    else:
        expected_kw = np.where(np.arange(STEPS) < _SURPLUS_STEPS, now_kw, max(now_kw, 0.0))
        high_kw = expected_kw.copy()
        basis = "Without forecasts, the present load stays, and a surplus of sun for an hour."
    if now_kw < 0:
        # What is drawn from the grid, and so its forecast, is 0 at least: a surplus is known as measured only.
        expected_kw[:_SURPLUS_STEPS] = now_kw
    # Nothing is planned with sun that is not certain: what a cloud takes away must not overload the connection.
    high_kw = np.maximum(np.maximum(high_kw, expected_kw), 0.0)
    expected_kw[0], high_kw[0] = now_kw, reserved_kw
    return LoadOutlook(expected_kw, high_kw, basis)


def describe_time(moment: datetime) -> str:
    """Format a moment of the next or last day, such as `17:00 UTC`."""
    return f"{moment:%H:%M} UTC"


def _mean_on_steps(values: FloatArray, start_s: float, resolution_s: float, otherwise: float) -> FloatArray:
    """Mean of a step function over each step of the plan.

    Args:
        values: one per interval.
        start_s: start of the first interval after the decision [s]; negative where it has begun.
        resolution_s: length of an interval [s].
        otherwise: value before the first and after the last interval.
    """
    edges_s = start_s + np.arange(len(values) + 1) * resolution_s
    first_s, last_s = min(0.0, float(edges_s[0])), max(float(_EDGES_S[-1]), float(edges_s[-1]))
    points_s = np.concatenate(([first_s - 1.0], edges_s, [last_s + 1.0]))
    steps = np.concatenate(([otherwise], values, [otherwise]))
    sums = np.concatenate(([0.0], np.cumsum(steps * np.diff(points_s))))
    return np.diff(np.interp(_EDGES_S, points_s, sums)) / STEP_S


def _read_quantile(forecast: Forecast, at: datetime, name: str) -> FloatArray:
    values = np.array([getattr(interval, name) for interval in forecast.intervals], dtype=np.float64)
    start_s = (forecast.intervals[0].interval_start - at).total_seconds()
    # Beyond a forecast that ends early its last value stays.
    return _mean_on_steps(values, start_s, forecast.resolution_s, float(values[-1]))
