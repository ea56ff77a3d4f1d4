"""`python -m local_stack demo|run`: a stop by a signal ends every process, from the first moment on."""

import signal
import sys
from types import FrameType

_SIGNALS = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""A stop by the system, and a terminal that was closed."""


def main() -> int:
    """Run the command line; 130 after Ctrl-C or a stop by the system."""
    for name in _SIGNALS:
        signal.signal(getattr(signal, name), _interrupt)
    try:
        # Imported here: the drawing library alone takes a second, in which somebody may change their mind.
        from local_stack.cli import main as run_command_line

        return run_command_line()
    except KeyboardInterrupt:
        sys.stdout.write("stopped; nothing is left running\n")
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # What ends the processes must not be cut short by a second signal.
    for name in _SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
