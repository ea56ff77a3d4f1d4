"""`python -m wso2_provisioning.verification`."""

import sys

from wso2_provisioning.verification.cli import main

if __name__ == "__main__":
    sys.exit(main())
