"""Where a call is worth most when more are wanted than the gateway allows.

While calls suffice, every reading that is too old is fetched, and nothing here delays it. Where they do not:

- within one API its calls are spread evenly over the rest of the window;
- under a limit of the application they are spent in rounds, also spread evenly: one reading that is too old degrades a
  decision as much as three, so calls are worth most where they make all three young together;
- where calls do not suffice for a whole round, the grid comes first, without which everything pauses, then sun or
  battery by how fast they move and how long ago they were read. A grid reading about to be missing waits for no round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, inf

from charging_agent.gateway.budget import CallBudget
from charging_agent.readings.apis import GRID, SOURCES
from charging_agent.readings.assessment import AgeLimits
from ev_service.telemetry import Reading

_PERCENT_OF = {source.name: source.percent_of for source in SOURCES}

_NEWEST_SHARE = 0.3
"""Weight of the newest value in what is learned: the last three or four count most."""

_SLOWEST_PERCENT_PER_S = 1e-4
"""Speed that is assumed at least [%/s], so that a reading that stands still is asked for too: a hundredth of a
battery's usual pace."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A reading that a decision would like to have fetched."""

    api: str
    """Name of its API."""

    age_s: float | None
    """Age of the reading that is held [s]; None: there is none."""


class CallPlan:
    """Chooses the calls of one agent.

    Args:
        budgets: of each API by name; they may share the application's.
        ages: how old a reading may be.
    """

    def __init__(self, budgets: Mapping[str, CallBudget], ages: AgeLimits) -> None:
        self._budgets = budgets
        self._ages = ages
        self._whole = next((budget.application for budget in budgets.values() if budget.application is not None), None)
        self._chosen_at: dict[str, datetime] = {}
        self._round_at: datetime | None = None
        self._asked_at: datetime | None = None
        # Nobody is taken to ask often before having done so.
        self._gap_s = ages.stale_s
        self._learned: dict[str, _Speed] = {}

    def choose(self, wishes: Sequence[Wish], now: datetime) -> frozenset[str]:
        """The APIs to call now, of those whose readings are too old.

        Args:
            wishes: readings that are too old, or missing.
            now: the run's time.
        """
        self._note_asked(now)
        due = [wish for wish in wishes if self._is_due(self._budgets[wish.api], self._chosen_at.get(wish.api), now)]
        return self.take_all(self._affordable(due, now), now)

    def take_all(self, wishes: Sequence[Wish], now: datetime) -> frozenset[str]:
        """The APIs of all wishes: they are called now, whatever that leaves."""
        chosen = frozenset(wish.api for wish in wishes)
        self._chosen_at |= dict.fromkeys(chosen, now)
        return chosen

    def note_read(self, api: str, reading: Reading) -> None:
        """Learn from a reading how fast it moves."""
        self._learned.setdefault(api, _Speed()).note(_PERCENT_OF[api](reading), reading.timestamp)

    def has_calls_to_spare(self, now: datetime) -> bool:
        """Whether more than half of each API's calls are left in this window."""
        return all(budget.has_more_than_half(now) for budget in self._budgets.values())

    def is_spent(self, api: str, now: datetime) -> bool:
        """Whether an API may not be called at all now: no call is left, or the gateway said to wait."""
        return self._budgets[api].remaining(now) == 0

    def _affordable(self, due: Sequence[Wish], now: datetime) -> Sequence[Wish]:
        left = None if self._whole is None else self._whole.remaining(now)
        if self._whole is None or left is None:
            return due
        ranked = sorted(due, key=self._worth, reverse=True)[:left]
        # The last round of a window may be smaller: it gets what is left.
        if ranked and self._is_spaced(self._whole, ceil(left / len(self._budgets)), self._round_at, now):
            self._round_at = now
            return ranked
        return [wish for wish in ranked if self._is_urgent(wish, self._whole, left, now)]

    def _is_urgent(self, wish: Wish, whole: CallBudget, left: int, now: datetime) -> bool:
        """Whether everything would pause for want of this reading: then it may have what was meant for a round."""
        is_ending = wish.age_s is None or wish.age_s + self._gap_s > self._ages.stale_s
        return wish.api == GRID.name and is_ending and self._is_spaced(whole, left, self._chosen_at.get(wish.api), now)

    def _is_due(self, budget: CallBudget, last: datetime | None, now: datetime) -> bool:
        left = budget.own_remaining(now)
        return left is None or (left > 0 and self._is_spaced(budget, left, last, now))

    def _is_spaced(self, budget: CallBudget, left: int, last: datetime | None, now: datetime) -> bool:
        """Whether `left` calls are enough for what is wanted, or if not, whether it is the next one's turn."""
        # A clock that was set back says nothing about how long ago something was.
        if last is None or last > now:
            return True
        spacing_s = (budget.window_end(now) - last).total_seconds() / (left + 1)
        is_plenty = spacing_s <= max(self._ages.maximum_s, self._gap_s)
        return is_plenty or (now - last).total_seconds() >= spacing_s

    def _worth(self, wish: Wish) -> tuple[bool, float]:
        # What a reading has moved since it was taken grows with its age; the error made by using it meanwhile is the
        # sum of that, and grows with the square.
        age_s = inf if wish.age_s is None else wish.age_s
        learned = self._learned.get(wish.api)
        speed = _SLOWEST_PERCENT_PER_S if learned is None else max(learned.percent_per_s, _SLOWEST_PERCENT_PER_S)
        return wish.api == GRID.name, speed * age_s * age_s

    def _note_asked(self, now: datetime) -> None:
        """Learn how often readings are wanted: who is asked every minute needs no call every ten seconds."""
        if self._asked_at is not None and now >= self._asked_at:
            gap_s = min((now - self._asked_at).total_seconds(), self._ages.stale_s)
            self._gap_s += _NEWEST_SHARE * (gap_s - self._gap_s)
        self._asked_at = now


class _Speed:
    """How fast a value moves [%/s], learned from its readings."""

    def __init__(self) -> None:
        self.percent_per_s = 0.0
        self._last: tuple[float, datetime] | None = None

    def note(self, percent: float, at: datetime) -> None:
        if self._last is not None and (passed_s := (at - self._last[1]).total_seconds()) > 0:
            newest = abs(percent - self._last[0]) / passed_s
            self.percent_per_s += _NEWEST_SHARE * (newest - self.percent_per_s)
        self._last = percent, at
