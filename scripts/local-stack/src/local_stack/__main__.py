"""`python -m local_stack demo|run`: sees to it that being stopped ends everything, from the first moment on."""

import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; 130 after Ctrl-C or a stop by the system."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # Imported here: the drawing library alone takes a second, in which somebody may change their mind.
        from local_stack.cli import main as run_command_line

        return run_command_line()
    except KeyboardInterrupt:
        sys.stdout.write("stopped; nothing is left running\n")
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
