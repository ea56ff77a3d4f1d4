"""Runs a module or a script that ends with the process that started it.

`python -m local_stack.attached TARGET [ARGUMENT …]`. The starter holds the other end of standard input, a pipe that the
operating system closes when the starter ends for any reason. No process survives a starter that was killed.
"""

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Sequence

GRACE_S = 5.0
"""Time for a graceful shutdown after the starter has ended [s]."""


def build_command(target: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module, or a script that ends in `.py`, attached to its starter."""
    return [sys.executable, "-m", "local_stack.attached", target, *arguments]


def main() -> None:
    """Run the target named on the command line."""
    target, *arguments = sys.argv[1:]
    run(target, arguments)


def run(target: str, arguments: Sequence[str]) -> None:
    """Run a module, or a script that ends in `.py`, as the main program of this process."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
