"""Says how a person's own assistant is connected; see --help."""

import sys

from local_stack.run import run_command_on_stack
from local_stack.stack import ARTIFACTS
from wso2_provisioning.assistant import main

if __name__ == "__main__":
    sys.exit(run_command_on_stack(lambda: main(artifacts_dir=ARTIFACTS), "failed"))
