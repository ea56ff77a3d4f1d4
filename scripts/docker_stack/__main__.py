"""`python scripts/docker_stack COMMAND`: up, down, verify-wso2, kill, revive or operate."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A folder that is run is itself on the path; the package is found from the folder above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from docker_stack.cli import main

    sys.exit(main(sys.argv[1:]))
