"""The command line of the safety run."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.safety.run import RunSettings, run_safely


def main() -> int:
    """Play a run and print what happens; 1 where something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.safety", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides what happens; default 1")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long; default 3")
    parser.add_argument(
        "--without-protection", action="store_true", help="switch protection off, to see that the checks find it"
    )
    arguments = parser.parse_args()
    settings = RunSettings(arguments.seed, arguments.minutes * 60, not arguments.without_protection)
    with tempfile.TemporaryDirectory(prefix="ev-safety-") as folder:
        findings = asyncio.run(run_safely(settings, Path(folder), lambda line: print(line, flush=True)))
    return 1 if findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
