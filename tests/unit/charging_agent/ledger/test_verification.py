"""Whatever is changed, removed, moved, doubled or cut off is found, and the first broken record is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.ledger.conftest import call, chain

from charging_agent.ledger.anchor import build_signed_head
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.ledger_reader import LedgerReadError, parse_lines, read_records
from charging_agent.ledger.record_signing import ChainHead
from charging_agent.ledger.records import SignedRecord
from charging_agent.ledger.store import Store
from charging_agent.ledger.verification import ChainFault, VerificationResult, read_heads, verify

LENGTH = 5
KEY = generate_key()
TRUSTED = {KEY.key_id: KEY.public}
CHAIN = chain(KEY, LENGTH, calls=lambda number: [call(correlation_id=f"round-{number}")])
LINES = [sealed.line + b"\n" for sealed in CHAIN]
COLUMNS = ("record", "sha256", "signature", "decision_id")

tampering = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
positions = st.integers(0, LENGTH - 1)


def verified_lines(folder: Path, lines: Sequence[bytes]) -> VerificationResult:
    file = folder / "ledger.jsonl"
    file.write_bytes(b"".join(lines))
    return verify(read_records(file), TRUSTED)


def names(broken: ChainFault | None, number: int) -> bool:
    return broken is not None and broken.place.startswith(f"record {number} ")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    store = Store.open(tmp_path)
    for number, sealed in enumerate(CHAIN, 1):
        store.append(number, str(sealed.entry.record.decision_id), sealed)
    store.close()
    return tmp_path / "ledger.sqlite"


def test_an_untouched_ledger_is_whole_as_database_and_as_export(database: Path, tmp_path: Path) -> None:
    for verified in (verify(read_records(database), TRUSTED), verified_lines(tmp_path, LINES)):
        assert verified.broken is None
        assert [record["sequence"] for record in verified.records] == list(range(1, LENGTH + 1))
        assert verified.key_ids == (KEY.key_id,)


@tampering
@given(position=positions, at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_changed_byte_of_an_export_is_found_and_named(tmp_path: Path, position: int, at: int, flip: int) -> None:
    lines = [bytearray(line) for line in LINES]
    lines[position][at % len(lines[position])] ^= flip

    assert names(verified_lines(tmp_path, [bytes(line) for line in lines]).broken, position + 1)


@tampering
@given(position=positions, column=st.sampled_from(COLUMNS), at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_row_is_found_and_named(
    database: Path, position: int, column: str, at: int, flip: int
) -> None:
    with sqlite3.connect(database, isolation_level=None) as opened:
        opened.execute("BEGIN")
        where = f"WHERE sequence = {position + 1}"
        [text] = opened.execute(f"SELECT CAST({column} AS BLOB) FROM records {where}").fetchone()
        changed = bytearray(text)
        changed[at % len(changed)] ^= flip
        opened.execute(f"UPDATE records SET {column} = CAST(? AS TEXT) {where}", (bytes(changed),))
        opened.execute("COMMIT")
        verified = verify(read_records(database), TRUSTED)
        opened.execute(f"UPDATE records SET {column} = CAST(? AS TEXT) {where}", (text,))
    opened.close()

    assert names(verified.broken, position + 1)


@tampering
@given(position=st.integers(0, LENGTH - 2))
def test_a_removed_record_is_found_where_it_is_missing(tmp_path: Path, position: int) -> None:
    lines = LINES[:position] + LINES[position + 1 :]

    assert names(verified_lines(tmp_path, lines).broken, position + 1)


@tampering
@given(order=st.permutations(range(LENGTH)).filter(lambda order: order != list(range(LENGTH))))
def test_another_order_is_found_at_the_first_record_that_is_out_of_it(tmp_path: Path, order: list[int]) -> None:
    first = next(place for place, number in enumerate(order) if place != number)

    assert names(verified_lines(tmp_path, [LINES[number] for number in order]).broken, first + 1)


@tampering
@given(position=positions, to=st.integers(0, LENGTH))
def test_a_doubled_record_is_found(tmp_path: Path, position: int, to: int) -> None:
    lines = [*LINES[:to], LINES[position], *LINES[to:]]

    broken = verified_lines(tmp_path, lines).broken
    assert broken is not None


@tampering
@given(kept=st.integers(0, LENGTH - 1))
def test_a_tail_cut_off_shows_against_the_anchor_alone(tmp_path: Path, kept: int) -> None:
    heads = read_heads(build_signed_head(ChainHead(LENGTH, CHAIN[-1].sha256), "2026-06-21T12:00:00Z", KEY), TRUSTED)
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(b"".join(LINES[:kept]))

    assert verify(read_records(file), TRUSTED).broken is None
    assert str(verify(read_records(file), TRUSTED, heads).broken).startswith(f"record {kept + 1}: cut off")


def test_a_chain_written_anew_with_the_same_key_shows_against_the_anchor() -> None:
    heads = read_heads(build_signed_head(ChainHead(2, CHAIN[1].sha256), "2026-06-21T12:00:00Z", KEY), TRUSTED)
    anew = [sealed.line + b"\n" for sealed in chain(KEY, LENGTH)]

    broken = verify(parse_lines(anew), TRUSTED, heads).broken

    assert broken is not None
    assert broken.place == "record 2"


def test_a_chain_signed_by_another_key_is_not_trusted() -> None:
    broken = verify(parse_lines([sealed.line + b"\n" for sealed in chain(generate_key(), 1)]), TRUSTED).broken

    assert broken is not None
    assert "not trusted" in broken.what


@tampering
@given(at=st.integers(0, 1000), flip=st.integers(1, 255))
def test_any_changed_byte_of_an_anchored_head_is_found(at: int, flip: int) -> None:
    line = bytearray(build_signed_head(ChainHead(LENGTH, CHAIN[-1].sha256), "2026-06-21T12:00:00Z", KEY))
    line[at % len(line)] ^= flip

    with pytest.raises(ValueError, match="anchor"):
        read_heads(bytes(line), TRUSTED)


def test_a_row_moved_to_another_number_is_found(database: Path) -> None:
    with sqlite3.connect(database) as opened:
        opened.execute("UPDATE records SET sequence = 9 WHERE sequence = 5")
    opened.close()

    assert names(verify(read_records(database), TRUSTED).broken, 5)


def test_text_stored_as_something_else_is_found(database: Path) -> None:
    with sqlite3.connect(database) as opened:
        opened.execute("UPDATE records SET record = CAST(record AS BLOB) WHERE sequence = 2")
    opened.close()

    assert names(verify(read_records(database), TRUSTED).broken, 2)


@given(st.binary(max_size=400))
def test_no_file_makes_it_fail_otherwise_than_with_a_verdict(content: bytes) -> None:
    verify(parse_lines(content.splitlines(keepends=True)), TRUSTED)


def test_a_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(LedgerReadError):
        list(read_records(tmp_path / "none"))


def test_a_sealed_record_is_read_back_as_it_was_made() -> None:
    assert SignedRecord(CHAIN[0].record, CHAIN[0].sha256, CHAIN[0].signature).entry.record.sequence == 1
