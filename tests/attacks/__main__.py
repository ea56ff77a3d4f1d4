"""`make prove`."""

import sys

from tests.attacks.cli import main

if __name__ == "__main__":
    sys.exit(main())
