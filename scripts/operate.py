"""Shows the chargers and carries out a person's orders; see --help."""

import sys

from local_stack.run import run_command_on_stack
from local_stack.stack import ARTIFACTS
from wso2_provisioning.operating.cli import main

if __name__ == "__main__":
    sys.exit(run_command_on_stack(lambda: main(artifacts_dir=ARTIFACTS), "not done"))
