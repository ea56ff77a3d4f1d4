"""Says how a person's own assistant is connected; see --help."""

import sys

from local_stack.kept_run import beside_the_kept_run
from local_stack.stack import ARTIFACTS
from wso2_provisioning.assistant import main

if __name__ == "__main__":
    sys.exit(beside_the_kept_run(lambda: main(artifacts_dir=ARTIFACTS), "failed"))
