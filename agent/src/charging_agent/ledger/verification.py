"""Is a ledger whole? Chain, hashes, signatures, digests and numbers, without the agent that wrote it.

Works on the records found, the keys that are trusted and the heads that an anchor kept.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from charging_agent.ledger.canonical import canonicalize, sha256_hex
from charging_agent.ledger.keys import TrustedKeys, is_signed_by
from charging_agent.ledger.ledger_reader import StoredRecord
from charging_agent.ledger.records import NO_RECORD_SHA256, members_since_format_1

_MEMBERS = ("sequence", "previous_sha256", "decision_id", "key_id", "inputs", "inputs_sha256", "policy", "calls")


@dataclass(frozen=True, slots=True)
class ChainFault:
    """The first thing that is wrong, and where."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """Result of a verification."""

    records: tuple[dict[str, Any], ...]
    """Valid records in their order."""
    key_ids: tuple[str, ...]
    """Keys that signed them, in the order of their appearance."""
    broken: ChainFault | None
    """The first fault; None: there is none."""


@dataclass(frozen=True, slots=True)
class AnchoredHead:
    """A head that an anchor kept."""

    sequence: int
    sha256: str
    at: str


class _RecordError(Exception):
    """What is wrong with one record."""


def verify(
    found: Iterable[StoredRecord], trusted: TrustedKeys, heads: Iterable[AnchoredHead] = ()
) -> VerificationResult:
    """Verify records in their order, up to the first that is broken.

    Args:
        found: rows or lines.
        trusted: public keys whose signatures count.
        heads: what the anchor kept; each must stand in the chain.
    """
    records: list[dict[str, Any]] = []
    key_ids: dict[str, None] = {}
    hashes, decision_ids = [NO_RECORD_SHA256], set[str]()
    broken: ChainFault | None = None
    for one in found:
        try:
            record = _parse_record(one)
            _check_chain(record, len(records) + 1, hashes[-1])
            _check_signature(record, one, trusted)
            if (wrong := find_wrong_digest(record)) is not None:
                raise _RecordError(wrong)
            if record["decision_id"] in decision_ids:
                raise _RecordError("its decision_id stands in an earlier record too")
        except _RecordError as wrong:
            broken = ChainFault(f"record {len(records) + 1} ({one.place})", str(wrong))
            break
        decision_ids.add(record["decision_id"])
        records.append(record)
        hashes.append(one.sha256)
        key_ids[record["key_id"]] = None
    return VerificationResult(tuple(records), tuple(key_ids), broken or _check_heads(heads, hashes))


def read_heads(text: bytes, trusted: TrustedKeys) -> tuple[AnchoredHead, ...]:
    """The heads that an anchor kept, one signed line each.

    Raises:
        ValueError: names the first line that is no head signed by a trusted key.
    """
    heads: list[AnchoredHead] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            content = cast(dict[str, Any], json.loads(line))
            signature, public = content.pop("signature"), trusted[content["key_id"]]
            digest = hashlib.sha256(canonicalize(content)).hexdigest()
            head = AnchoredHead(int(content["sequence"]), str(content["sha256"]), str(content["at"]))
            is_head = content["kind"] == "head" and is_signed_by(public, digest, signature)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"anchor, line {number}: no head signed by a trusted key") from error
        if not is_head:
            raise ValueError(f"anchor, line {number}: its signature is not that of its head")
        heads.append(head)
    if not heads:
        raise ValueError("anchor: holds no head")
    return tuple(heads)


def _parse_record(one: StoredRecord) -> dict[str, Any]:
    if one.error is not None:
        raise _RecordError(one.error)
    try:
        value: Any = json.loads(one.record)
        is_canonical = isinstance(value, dict) and canonicalize(value) == one.record.encode()
    except (ValueError, RecursionError) as error:
        raise _RecordError("its text is no JSON that can be hashed") from error
    if not is_canonical:
        raise _RecordError("its text is not canonical JSON")
    record = cast(dict[str, Any], value)
    for name in (*_MEMBERS, *members_since_format_1(record.get("format"))):
        if name not in record:
            raise _RecordError(f"it has no {name}")
    if not isinstance(record["decision_id"], str) or not isinstance(record["key_id"], str):
        raise _RecordError("its decision_id or key_id is no text")
    if one.is_row and (one.sequence, one.decision_id) != (record["sequence"], record["decision_id"]):
        raise _RecordError("its row stands under another sequence or decision_id than the record itself")
    return record


def _check_chain(record: dict[str, Any], sequence: int, previous: str) -> None:
    if record["sequence"] != sequence:
        raise _RecordError(f"expected sequence {sequence}, found {record['sequence']}: removed, repeated or moved")
    if record["previous_sha256"] != previous:
        raise _RecordError("it is not chained to the record before")


def _check_signature(record: dict[str, Any], one: StoredRecord, trusted: TrustedKeys) -> None:
    if hashlib.sha256(one.record.encode()).hexdigest() != one.sha256:
        raise _RecordError("its content does not match its hash")
    public = trusted.get(record["key_id"])
    if public is None:
        raise _RecordError(f"it is signed by key {record['key_id']}, which is not trusted here")
    # The library would read capitals too; nothing but what was written counts.
    if one.signature != one.signature.lower() or not is_signed_by(public, one.sha256, one.signature):
        raise _RecordError("its signature does not match")


def find_wrong_digest(record: dict[str, Any]) -> str | None:
    """Which digest does not match what it is taken over, or None.

    Args:
        record: as it was written: a model would add the fields that came later.
    """
    if sha256_hex(record["inputs"]) != record["inputs_sha256"]:
        return "its inputs do not match their digest"
    policy = record["policy"]
    content = {name: value for name, value in policy.items() if name != "sha256"}
    return None if sha256_hex(content) == policy.get("sha256") else "its policy does not match its digest"


def _check_heads(heads: Iterable[AnchoredHead], hashes: list[str]) -> ChainFault | None:
    return next(_find_contradictions(heads, hashes), None)


def _find_contradictions(heads: Iterable[AnchoredHead], hashes: list[str]) -> Iterator[ChainFault]:
    last = len(hashes) - 1
    for head in sorted(heads, key=lambda head: head.sequence):
        if not 1 <= head.sequence <= last:
            lost = f"cut off: the anchor holds record {head.sequence} ({head.at}), the ledger ends with {last}"
            yield ChainFault(f"record {last + 1}", lost)
        elif hashes[head.sequence] != head.sha256:
            yield ChainFault(
                f"record {head.sequence}", "the anchor holds another hash of it: the chain was written anew"
            )
