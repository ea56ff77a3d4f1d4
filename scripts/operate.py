"""Shows the chargers and carries out a person's orders; see --help."""

import os
import sys
from pathlib import Path

from ev_service.errors import EvError
from local_stack.kept_run import take_variables
from wso2_provisioning.operating.cli import main

if __name__ == "__main__":
    try:
        if not {"-h", "--help"} & set(sys.argv[1:]):
            take_variables(os.environ)
    except EvError as error:
        sys.exit(f"not done: {error}")
    sys.exit(main(artifacts_dir=Path(__file__).resolve().parents[1] / "wso2"))
