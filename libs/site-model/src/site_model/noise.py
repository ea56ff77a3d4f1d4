"""Randomness that is a function of seed and time: the same moment always draws the same number."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from random import Random

KNOT_S = 900
"""Distance of the knots between which the noise runs straight [s]: long enough to look like a building, not static."""

_KNOTS_PER_DAY = 86_400 // KNOT_S


def draws(seed: int, subject: str, day: date) -> Random:
    """A generator of its own for one subject and one day."""
    # Text seeds are hashed by the generator itself, alike on every platform and in every process.
    return Random(f"{seed}/{subject}/{day.isoformat()}")  # noqa: S311 - a simulation, not a secret


@dataclass(frozen=True, slots=True)
class Noise:
    """Smooth standard normal noise: straight lines between knots, the same through midnight."""

    seed: int
    subject: str

    def at(self, moment: datetime) -> float:
        """The noise at an aware UTC moment; mean 0, standard deviation about 0.8 (1 at the knots)."""
        index, rest_s = divmod(moment.hour * 3600 + moment.minute * 60 + moment.second, KNOT_S)
        knots = _knots(self.seed, self.subject, moment.date())
        return knots[index] + (knots[index + 1] - knots[index]) * rest_s / KNOT_S


@lru_cache(maxsize=64)
def _knots(seed: int, subject: str, day: date) -> tuple[float, ...]:
    generator = draws(seed, subject, day)
    first_of_tomorrow = draws(seed, subject, day + timedelta(days=1)).gauss()
    return (*(generator.gauss() for _ in range(_KNOTS_PER_DAY)), first_of_tomorrow)
