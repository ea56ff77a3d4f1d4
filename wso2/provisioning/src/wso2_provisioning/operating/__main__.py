"""`python -m wso2_provisioning.operating …`, as the image of the bootstrap runs it."""

import sys
from pathlib import Path

from wso2_provisioning.operating.cli import main

if __name__ == "__main__":
    sys.exit(main(artifacts_dir=Path("wso2")))
