"""What belongs together of a device that tells its values one by one: a round, as old as its oldest part."""

from collections.abc import Collection, Mapping
from datetime import datetime


class Rounds:
    """Collects the values of one device until each was told since the last round.

    A part that is told twice in a round counts by the newer value. A round is as old as its oldest part, so that a part
    that falls silent makes the whole stale and not wrong.
    """

    def __init__(self, expected: Collection[str], *, is_open: bool = False) -> None:
        """Begin with nothing told.

        Args:
            expected: names of the values that make up a round.
            is_open: whether the device may tell more than is expected; it then is known what makes up a round once
                one of its values comes again, or several come at once.
        """
        self._expected, self._is_open = set(expected), is_open
        self._told: dict[str, tuple[float, datetime]] = {}

    def add(self, values: Mapping[str, float], moment: datetime) -> tuple[dict[str, float], datetime] | None:
        """Take in what one message tells.

        Args:
            values: at least one, by name; where the round is not open, of those that are expected.
            moment: when they were measured, aware UTC.

        Returns:
            The values of a round and when the oldest of them was measured; None while one is awaited.
        """
        is_known = not self._is_open or bool(self._expected) or len(values) > 1 or bool(values.keys() & self._told)
        self._told |= {name: (value, moment) for name, value in values.items()}
        if not is_known:
            return None
        if self._is_open:
            self._expected |= self._told.keys()
        if self.list_missing():
            return None
        told = {name: value for name, (value, _) in self._told.items()}
        oldest = min(moment for _, moment in self._told.values())
        self._told = {}
        return told, oldest

    def list_missing(self) -> list[str]:
        """Names of the values that the round still lacks."""
        return sorted(self._expected - self._told.keys())
