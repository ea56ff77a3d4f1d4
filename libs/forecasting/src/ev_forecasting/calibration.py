"""Calibrated quantiles around a median: adaptive conformal prediction on the errors of the recent past.

Source: Gibbs and Candes, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021, for each tail by itself.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEVELS = (0.1, 0.9)
"""Probabilities of a value below the lower and below the upper bound."""


class AdaptiveConformal:
    """Learns, day by day, how far from the median the bounds have to lie at each step of the day.

    The caller divides errors by whatever scale makes them comparable and multiplies the offsets by it again.
    Deterministic; after `observe` nothing of later days is in the offsets.

    >>> calibration = AdaptiveConformal(steps=1, neighbours=0)
    >>> for score in (-2.0, -1.0, 0.0, 1.0, 2.0):
    ...     calibration.observe(np.array([score]))
    >>> calibration.offsets().round(1).tolist()
    [[-2.0, 2.0]]
    """

    def __init__(
        self,
        steps: int,
        *,
        levels: Sequence[float] = LEVELS,
        window: int = 56,
        neighbours: int = 1,
        rate: float = 0.02,
    ) -> None:
        """Start without any error.

        Args:
            steps: Steps of a day (or of another cycle), each with offsets of its own, >= 1.
            levels: Wanted probabilities of a score below each bound, in (0, 1), rising.
            window: Most days whose errors are kept, >= 1.
            neighbours: Steps before and after, around the cycle, whose errors count for a step too, >= 0.
            rate: How much a day's missed coverage moves the level of the next, 0 (not at all) to 1.
        """
        self._levels = np.asarray(levels, dtype=np.float64)
        self._effective = self._levels.copy()
        self._scores: deque[FloatArray] = deque(maxlen=window)
        self._shifts = np.arange(-neighbours, neighbours + 1)
        self._steps = steps
        self._rate = rate

    @property
    def days(self) -> int:
        """Days whose errors are kept."""
        return len(self._scores)

    def offsets(self) -> FloatArray:
        """Offset of each bound from the median, in scores: shape (steps, levels), rising; NaN before any error."""
        if not self._scores:
            return np.full((self._steps, len(self._levels)), np.nan)
        scores = np.stack(self._scores)
        order = (np.arange(self._steps)[:, None] + self._shifts) % self._steps
        # (steps, days * neighbours): what happened at this time of the day.
        pooled = np.moveaxis(scores[:, order], 0, 1).reshape(self._steps, -1)
        everywhere = self._quantiles(scores.reshape(1, -1))
        offsets = self._quantiles(pooled)
        offsets = np.where(np.isnan(offsets), everywhere, offsets)
        return np.maximum.accumulate(offsets, axis=1)

    def observe(self, scores: FloatArray) -> None:
        """Take up the errors of one day.

        Args:
            scores: (actual - median) / scale, shape (steps,); NaN where the value is missing.
        """
        known = ~np.isnan(scores)
        if not known.any():
            return
        if self._scores and self._rate:
            below = scores[known][:, None] <= self.offsets()[known]
            adapted = self._effective + self._rate * (self._levels - below.mean(axis=0))
            self._effective = np.clip(adapted, 0.002, 0.998)
        self._scores.append(np.asarray(scores, dtype=np.float64))

    def _quantiles(self, pooled: FloatArray) -> FloatArray:
        """Conformal quantiles of each row: the rank counts one value more than there are, so few errors widen."""
        counts = np.maximum(1, (~np.isnan(pooled)).sum(axis=1))[:, None]
        ordered = np.sort(pooled, axis=1)
        # Symmetric around the median rank: level 0.9 of n values is rank 0.9 (n + 1), counted from 1.
        ranks = np.clip(self._effective * (counts + 1) - 1, 0, counts - 1)
        lower = np.floor(ranks).astype(np.int64)
        upper = np.ceil(ranks).astype(np.int64)
        at_lower = np.take_along_axis(ordered, lower, axis=1)
        at_upper = np.take_along_axis(ordered, upper, axis=1)
        return at_lower + (at_upper - at_lower) * (ranks - lower)
