"""Lets the agent's application go on at the gateway; see --help."""

import sys

from kill import run

if __name__ == "__main__":
    sys.exit(run("revive"))
