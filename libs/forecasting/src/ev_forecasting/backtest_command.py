"""What the commands of backtests have in common: time zones as arguments, and progress on a terminal."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from zoneinfo import ZoneInfo


def parse_zone(name: str) -> ZoneInfo:
    """Parse the name of a time zone, as type of an argument.

    Raises:
        ArgumentTypeError: there is no such time zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ArgumentTypeError(f"no time zone {name!r}") from error


def create_progress(*, is_terminal: bool) -> Callable[[float], None]:
    """Create what reports the share that is done (0 to 1) on stderr; nothing where that is no terminal."""

    def report(share: float) -> None:
        if is_terminal:
            sys.stderr.write(f"\rfitting and forecasting: {100 * share:3.0f} %" + ("\n" if share >= 1 else ""))
            sys.stderr.flush()

    return report
