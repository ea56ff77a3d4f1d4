"""How long to wait before the next attempt, after one that failed."""

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays that double after each failure and are spread at random.

    The spread keeps clients that lost one server at the same moment from coming back at the same moment
    (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    """

    first_s: float
    """Longest delay after the first failure [s]."""

    longest_s: float
    """Upper bound of all delays [s]."""

    spread: tuple[float, float] = (0.5, 1.0)
    """Each delay is multiplied by a random number between these two."""

    _next_s: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._next_s = self.first_s

    def next_s(self) -> float:
        """Return the delay after one more failure [s].

        >>> backoff = Backoff(first_s=1.0, longest_s=5.0, spread=(1.0, 1.0))
        >>> [backoff.next_s() for _ in range(4)]
        [1.0, 2.0, 4.0, 5.0]
        """
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self.longest_s)
        return delay_s * random.uniform(*self.spread)  # noqa: S311 - spreads load, hides nothing

    def reset(self) -> None:
        """Begin with the first delay again, after a success."""
        self._next_s = self.first_s
