"""From `make run` to the first governed decision, installed and with nothing kept from a former run."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple
from pathlib import Path

from local_stack.environment import PortSettings, free_ports

ROOT = Path(__file__).resolve().parents[2]
_ROUNDS = 3


def measure() -> dict[str, float]:
    """Start the stack a few times.

    Returns:
        first_decision_s [s]: median time from the command to the printed decision.
    """
    return {"first_decision_s": statistics.median(_once() for _ in range(_ROUNDS))}


def _once() -> float:
    ports = {
        name.upper(): str(port) for name, port in zip(PortSettings.model_fields, astuple(free_ports()), strict=True)
    }
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "scripts/dev.py", "run", "--state", state]
        started = time.monotonic()
        running = subprocess.Popen(command, cwd=ROOT, env=os.environ | ports, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        try:
            for line in running.stdout:
                if "first governed decision" in line:
                    return time.monotonic() - started
            raise RuntimeError("the stack did not start")
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=20)


if __name__ == "__main__":
    print(measure())
