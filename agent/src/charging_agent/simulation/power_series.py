"""Power of building and panels from a CSV file, as the mean of each step."""

import csv
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from charging_agent.simulation.tariff import FloatArray
from charging_agent.simulation.virtual_site import StepGrid


class PowerSeriesError(ValueError):
    """A file of powers cannot be used; the message says what is wrong with it."""


def read_power(file: Path | None, grid: StepGrid) -> FloatArray:
    """Read powers and bring them onto the steps; a value holds until the next one.

    Args:
        file: CSV whose first column is a UTC timestamp and whose second is a power [kW]; None: 0 kW.
        grid: the steps.

    Raises:
        PowerSeriesError: the file cannot be read, is not in order, or does not reach over all steps.
    """
    if file is None:
        return np.zeros(grid.steps)
    moments_s, values_kw = _read_rows(file)
    if np.any(np.diff(moments_s) <= 0):
        line = int(np.argmax(np.diff(moments_s) <= 0)) + 3
        raise PowerSeriesError(f"{file}, line {line}: the time is not after that of the line before")
    begin_s, end_s = grid.start.timestamp(), grid.start_of(grid.steps).timestamp()
    spacing_s = float(np.median(np.diff(moments_s))) if len(moments_s) > 1 else 0.0
    if moments_s[0] > begin_s or moments_s[-1] + spacing_s < end_s:
        span = " to ".join(f"{datetime.fromtimestamp(float(one), UTC):%Y-%m-%d %H:%M}" for one in moments_s[[0, -1]])
        needed = f"{grid.start:%Y-%m-%d %H:%M} to {grid.start_of(grid.steps):%Y-%m-%d %H:%M}"
        raise PowerSeriesError(f"{file} reaches from {span} UTC, the simulation needs {needed}")
    # Integral of the step function at the borders of the steps; its differences are the means.
    edges = np.append(moments_s, max(end_s, float(moments_s[-1])) + spacing_s)
    integral = np.concatenate((np.zeros(1), np.cumsum(values_kw * np.diff(edges))))
    borders = begin_s + np.arange(grid.steps + 1) * grid.step_s
    return np.diff(np.interp(borders, edges, integral)) / grid.step_s


def _read_rows(file: Path) -> tuple[FloatArray, FloatArray]:
    try:
        rows = list(csv.reader(file.read_text(encoding="utf-8-sig").splitlines()))[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise PowerSeriesError(f"{file} cannot be read: {error}") from error
    moments_s, values_kw = list[float](), list[float]()
    for number, row in enumerate(rows, start=2):
        try:
            moment, value_kw = datetime.fromisoformat(row[0]), float(row[1])
        except (ValueError, IndexError):
            raise PowerSeriesError(f"{file}, line {number}: {row} is not a time and a power in kW") from None
        if not math.isfinite(value_kw):
            raise PowerSeriesError(f"{file}, line {number}: {row[1]} is no power")
        moments_s.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        values_kw.append(value_kw)
    if not moments_s:
        raise PowerSeriesError(f"{file} has no rows")
    return np.array(moments_s), np.array(values_kw)
