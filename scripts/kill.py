"""Stops the agent's application at the gateway; see --help."""

import os
import sys
from pathlib import Path

from ev_service.errors import EvError
from local_stack.kept_run import take_variables
from wso2_provisioning.switch.cli import main

ARTIFACTS = Path(__file__).resolve().parents[1] / "wso2"


def run(act: str) -> int:
    """Act on the stack of `make run`, or on the one that the variables name."""
    asks_for_help = bool({"-h", "--help"} & set(sys.argv[1:]))
    try:
        if not asks_for_help:
            take_variables(os.environ)
    except EvError as error:
        print(f"nothing is done: {error}", file=sys.stderr)
        return 1
    return main([act, *sys.argv[1:]], artifacts_dir=ARTIFACTS)


if __name__ == "__main__":
    sys.exit(run("kill"))
