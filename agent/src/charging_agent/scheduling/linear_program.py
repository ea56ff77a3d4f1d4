"""A linear programme in sparse arrays, and its solution by HiGHS on one thread with bounded iterations."""

from dataclasses import dataclass, field

import highspy
import numpy as np
import numpy.typing as npt

from charging_agent.scheduling.problem import FloatArray, IntArray

INFINITY = highspy.kHighsInf
_MAX_ITERATIONS_BASE, _MAX_ITERATIONS_PER_ROW = 20_000, 50
_INT = np.int32
_COLUMN_WISE, _MINIMIZE = 1, 1


class SolverError(RuntimeError):
    """HiGHS found no optimal solution within its iterations."""


@dataclass(frozen=True, slots=True)
class LinearSolution:
    """An optimal solution."""

    objective: float
    """Value of the objective."""

    values: FloatArray
    """Value of each column."""

    reduced_costs: FloatArray
    """Reduced cost of each column."""

    duals: FloatArray
    """Dual price of each row: change of the objective per unit of its binding bound."""

    iterations: int
    """Iterations of the simplex method."""


@dataclass(slots=True)
class LinearProgram:
    """Columns, rows and entries of a programme that is minimized, gathered block by block."""

    _columns: list[tuple[FloatArray, FloatArray, FloatArray]] = field(
        default_factory=list[tuple[FloatArray, FloatArray, FloatArray]]
    )
    _rows: list[tuple[FloatArray, FloatArray]] = field(default_factory=list[tuple[FloatArray, FloatArray]])
    _entries: list[tuple[IntArray, IntArray, FloatArray]] = field(
        default_factory=list[tuple[IntArray, IntArray, FloatArray]]
    )
    columns: int = 0
    """Number of columns."""
    rows: int = 0
    """Number of rows."""

    def add_columns(self, cost: FloatArray, lower: FloatArray, upper: FloatArray) -> IntArray:
        """Add one column per element and return their indices."""
        self._columns.append((cost, lower, upper))
        first, self.columns = self.columns, self.columns + len(cost)
        return np.arange(first, self.columns, dtype=np.int64)

    def add_rows(self, lower: FloatArray, upper: FloatArray) -> IntArray:
        """Add one row per element and return their indices."""
        self._rows.append((lower, upper))
        first, self.rows = self.rows, self.rows + len(lower)
        return np.arange(first, self.rows, dtype=np.int64)

    def add_entries(self, rows: IntArray, columns: IntArray, values: FloatArray | float) -> None:
        """Add coefficients; each pair of row and column at most once."""
        self._entries.append((rows, columns, np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape)))

    def solve(self) -> LinearSolution:
        """Solve by the dual simplex method.

        Raises:
            SolverError: if the programme has no optimum or the iterations do not suffice.
        """
        if self.columns == 0:
            return LinearSolution(0.0, np.zeros(0), np.zeros(0), np.zeros(self.rows), 0)
        solver = _create_solver(_MAX_ITERATIONS_BASE + _MAX_ITERATIONS_PER_ROW * self.rows)
        cost, lower, upper = (np.concatenate(part) for part in zip(*self._columns, strict=True))
        row_lower, row_upper = self._row_bounds()
        starts, indices, values = self._compress()
        solver.passModel(
            self.columns,
            self.rows,
            len(values),
            _COLUMN_WISE,
            _MINIMIZE,
            0.0,
            cost,
            lower,
            upper,
            row_lower,
            row_upper,
            starts,
            indices,
            values,
            np.zeros(self.columns, dtype=_INT),
        )
        solver.run()
        status = solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolverError(f"HiGHS: {solver.modelStatusToString(status)}")
        solution, info = solver.getSolution(), solver.getInfo()
        return LinearSolution(
            info.objective_function_value,
            np.asarray(solution.col_value, dtype=np.float64),
            np.asarray(solution.col_dual, dtype=np.float64),
            np.asarray(solution.row_dual, dtype=np.float64),
            info.simplex_iteration_count,
        )

    def _row_bounds(self) -> tuple[FloatArray, FloatArray]:
        if not self._rows:
            return np.zeros(0), np.zeros(0)
        lower, upper = (np.concatenate(part) for part in zip(*self._rows, strict=True))
        return lower, upper

    def _compress(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], FloatArray]:
        """Compressed columns: where each begins, then row and value of each entry."""
        if not self._entries:
            return np.zeros(self.columns, dtype=_INT), np.zeros(0, dtype=_INT), np.zeros(0)
        rows, columns, values = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        order = np.argsort(columns, kind="stable")
        counts = np.bincount(columns, minlength=self.columns)
        starts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(_INT)
        return starts, rows[order].astype(_INT), values[order]


class _SilentHighs(highspy.Highs):
    """HiGHS without callbacks: enabling them prints a banner on stdout, which holds the log as JSON."""

    def enableCallbacks(self) -> None:
        """Silence the output instead."""
        self.silent()


def _create_solver(max_iterations: int) -> highspy.Highs:
    solver = _SilentHighs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", 0),
        ("presolve", "off"),
        ("simplex_iteration_limit", max_iterations),
    ):
        solver.setOptionValue(option, value)
    return solver
