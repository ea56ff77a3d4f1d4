"""Compares a running WSO2 with what is said of it; see --help."""

import sys
from pathlib import Path

from wso2_provisioning.verification.cli import main

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.exit(main(artifacts_dir=ROOT / "wso2"))
