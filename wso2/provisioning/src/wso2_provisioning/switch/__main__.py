"""`python -m wso2_provisioning.switch kill|revive …`, as the image of the bootstrap runs it."""

import sys
from pathlib import Path

from wso2_provisioning.switch.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], artifacts_dir=Path("wso2")))
