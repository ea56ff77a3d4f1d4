"""Stops the agent's application at the gateway; see --help."""

import sys

from local_stack.run import run_command_on_stack
from local_stack.stack import ARTIFACTS
from wso2_provisioning.switch.cli import main


def run(act: str) -> int:
    """Act on the stack of `make run`, or on the one that the variables name."""
    return run_command_on_stack(lambda: main([act, *sys.argv[1:]], artifacts_dir=ARTIFACTS), "nothing is done")


if __name__ == "__main__":
    sys.exit(run("kill"))
