"""Gives WSO2, or the local gateway, everything that stands in wso2/; see --help."""

import sys
from pathlib import Path

from wso2_provisioning.cli import main

if __name__ == "__main__":
    sys.exit(main(artifacts_dir=Path(__file__).resolve().parents[1] / "wso2"))
