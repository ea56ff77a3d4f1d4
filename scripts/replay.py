"""Decides again from a ledger's recorded readings and policies: the same outcome, or what differs and why.

    scripts/replay.py .state/agent/ledger.sqlite

Whether the ledger itself is whole is for scripts/verify.py. Exit code: 0 the same, 1 a difference, 2 unreadable.
"""

import argparse
import sys
from pathlib import Path

from charging_agent.ledger.ledger_reader import LedgerReadError, read_records
from charging_agent.ledger.replay import replay_record


def main() -> int:
    """Replay every record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path, help="ledger.sqlite, or an export of JSON lines")
    try:
        found = list(read_records(parser.parse_args().ledger))
    except LedgerReadError as error:
        print(f"cannot be replayed: {error}", file=sys.stderr)
        return 2
    differences = [difference for one in found if (difference := replay_record(one.record)) is not None]
    for difference in differences:
        print(difference)
    print(f"{len(found) - len(differences)} of {len(found)} decisions come out the same")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
