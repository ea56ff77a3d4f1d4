"""Verifies a ledger offline: the database itself, chain, hashes, signatures, digests; names the first broken record.

    scripts/verify.py .state/agent/ledger.sqlite
    scripts/verify.py ledger.jsonl --public-key signing-key.pub.pem --anchor /mnt/worm/heads.jsonl
    scripts/verify.py ledger.sqlite --gateway-log apim_metrics.log apim_metrics.log.1 --application EVApp

A live ledger is read without disturbing its agent. Exit code: 0 whole, 1 broken, 2 it could not be verified, 3 empty:
it holds no record, so nothing was verified.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from charging_agent.ledger.keys import PUBLIC_FILES, TrustedKeys, read_trusted_keys
from charging_agent.ledger.ledger_reader import LedgerReadError, StoredRecord, find_database_damage, read_records
from charging_agent.ledger.reconciliation import ReconciliationResult, parse_gateway_log, reconcile
from charging_agent.ledger.records import SignedRecord
from charging_agent.ledger.verification import AnchoredHead, VerificationResult, read_heads, verify
from ev_service.errors import ConfigurationError

WHOLE, BROKEN, UNUSABLE, EMPTY = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class VerificationOutcome:
    """Result of the verification."""

    verified: VerificationResult
    damage: str | None
    """Damage of the database's pages or indexes."""
    heads: tuple[AnchoredHead, ...]
    """Heads of the anchor."""
    reconciled: ReconciliationResult | None

    @property
    def code(self) -> int:
        """Exit code of the command."""
        is_broken = self.damage is not None or self.verified.broken is not None
        if is_broken or (self.reconciled is not None and not self.reconciled.is_whole):
            return BROKEN
        return WHOLE if self.verified.records else EMPTY


def main() -> int:
    """Verify, or export what was verified."""
    arguments = _build_parser().parse_args()
    try:
        damage = find_database_damage(arguments.ledger)
        found = list(read_records(arguments.ledger))
        trusted = _load_trusted_keys(arguments) if found or arguments.anchor else {}
        heads = _load_heads(arguments.anchor, trusted)
        verified = verify(found, trusted, heads)
        outcome = VerificationOutcome(verified, damage, heads, _reconcile(arguments, verified))
    except (LedgerReadError, ConfigurationError, OSError, httpx.HTTPError, ValueError) as error:
        print(f"cannot be verified: {error}", file=sys.stderr)
        return UNUSABLE
    if arguments.export is not None and verified.broken is None:
        _write_export(found, arguments.export)
    (_print_json if arguments.json else _print_text)(outcome)
    return outcome.code


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path, help="ledger.sqlite, or an export of JSON lines")
    parser.add_argument(
        "--public-key", type=Path, nargs="+", metavar="PEM", help="keys to trust; else signing-key*.pub.pem beside it"
    )
    parser.add_argument("--anchor", metavar="FILE_OR_URL", help="the heads that AGENT_LEDGER_ANCHOR keeps")
    parser.add_argument("--gateway-log", type=Path, nargs="+", metavar="LOG", help="apim_metrics.log, rotated ones too")
    parser.add_argument("--application", default="EVApp", help="whose calls the log must share (default EVApp)")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write what is whole as JSON lines")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _load_trusted_keys(arguments: argparse.Namespace) -> TrustedKeys:
    files = arguments.public_key or sorted(arguments.ledger.parent.glob(PUBLIC_FILES))
    if not files:
        raise ValueError(f"no {PUBLIC_FILES} next to {arguments.ledger}; give --public-key")
    if not arguments.public_key:
        names = ", ".join(file.name for file in files)
        print(
            f"trusting {names} because it lies next to the ledger; --public-key takes one from elsewhere",
            file=sys.stderr,
        )
    return read_trusted_keys(files)


def _load_heads(anchor: str | None, trusted: TrustedKeys) -> tuple[AnchoredHead, ...]:
    if anchor is None:
        return ()
    if "://" in anchor:
        return read_heads(httpx.get(anchor, timeout=10).raise_for_status().content, trusted)
    return read_heads(Path(anchor).read_bytes(), trusted)


def _reconcile(arguments: argparse.Namespace, verified: VerificationResult) -> ReconciliationResult | None:
    if not arguments.gateway_log or verified.broken is not None or not verified.records:
        return None
    lines = [
        line for log in arguments.gateway_log for line in parse_gateway_log(log.read_text(encoding="utf-8"), log.name)
    ]
    return reconcile(verified.records, lines, arguments.application)


def _write_export(found: list[StoredRecord], file: Path) -> None:
    with file.open("wb") as exported:
        exported.writelines(SignedRecord(one.record, one.sha256, one.signature).line + b"\n" for one in found)


def _print_text(outcome: VerificationOutcome) -> None:
    verified, heads = outcome.verified, outcome.heads
    if outcome.code == EMPTY:
        print(
            "empty: there is no record, so nothing was verified; without an anchor nobody knows whether there was one"
        )
        return
    print(f"{len(verified.records)} records whole, signed by {', '.join(verified.key_ids) or 'nobody'}")
    if outcome.damage is not None:
        print(f"BROKEN database: {outcome.damage}")
    if verified.broken is not None:
        print(f"BROKEN {verified.broken}")
    if outcome.damage is not None or verified.broken is not None:
        return
    print(f"anchor: {len(heads)} heads agree" if heads else "without an anchor a cut tail would not show")
    if outcome.reconciled is not None:
        _print_reconciliation(outcome.reconciled)


def _print_reconciliation(reconciled: ReconciliationResult) -> None:
    both = f"{reconciled.joined} calls in both by id, {reconciled.joined_by_time} by time where the id is absent"
    print(f"gateway log: {both}, {reconciled.without_answer} without an answer, {reconciled.inner} behind MCP servers")
    outside = (reconciled.before_the_ledger, reconciled.after_the_ledger, reconciled.outside_the_log)
    if any(outside):
        print("not judged: {} before the ledger began, {} after its last record, {} outside the log".format(*outside))
    for line in reconciled.between_runs:
        print(f"not judged, after the last record of a run that was cut off: {line}")
    for line in reconciled.omitted:
        print(f"OMITTED, in no record: {line}")
    for call in reconciled.invented:
        print(f"INVENTED, not in the log: {call}")


def _print_json(outcome: VerificationOutcome) -> None:
    verified, reconciled = outcome.verified, outcome.reconciled
    report: dict[str, Any] = {
        "state": {WHOLE: "whole", BROKEN: "broken", EMPTY: "empty"}[outcome.code],
        "records": len(verified.records),
        "key_ids": verified.key_ids,
        "database": outcome.damage,
        "broken": None if verified.broken is None else asdict(verified.broken),
        "anchored_heads": len(outcome.heads),
        "gateway_log": None if reconciled is None else asdict(reconciled),
    }
    print(json.dumps(report, indent=2, default=str))


if __name__ == "__main__":
    sys.exit(main())
