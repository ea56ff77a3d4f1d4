"""What a run of attacks tells: what differs, what could not be tried, and where a secret was seen."""

import json
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import pytest
from tests.attacks import report
from tests.attacks.attack_run import AttackRun
from tests.attacks.rows import Group, Observation, Result, Row, RowSkippedError, RowState, carry_out, select_rows
from tests.attacks.traffic import Traffic

from wso2_provisioning.verification.rows import format_summary, is_green

RUN = cast("AttackRun", None)


def row(*expected: str, observed: str | Exception) -> Row:
    def attack(_: AttackRun) -> Observation:
        if isinstance(observed, Exception):
            raise observed
        return Observation(observed)

    return Row("tokens-a", Group.TOKENS, "a token", expected, attack)


@pytest.mark.parametrize(
    ("tried", "state"),
    [
        (row("401", observed="401"), RowState.HOLDS),
        (row("401", "403", observed="403"), RowState.HOLDS),
        (row("401", observed="200"), RowState.DIFFERS),
        (row("401", observed=RowSkippedError("needs a key")), RowState.NOT_TRIED),
        (row("401", observed=KeyError("x")), RowState.DIFFERS),
    ],
    ids=["expected", "either", "unexpected", "not tried", "failed"],
)
def test_a_row_holds_only_where_what_was_seen_is_what_must_be(tried: Row, state: RowState) -> None:
    assert carry_out(tried, RUN).state is state


def test_a_failure_tells_its_kind_and_not_what_it_says() -> None:
    result = carry_out(row("401", observed=ValueError("eyJhbGciOi")), RUN)

    assert result.observed == "failed: ValueError"


def test_a_run_in_which_nothing_could_be_tried_is_not_green() -> None:
    not_tried = carry_out(row("401", observed=RowSkippedError("needs a key")), RUN)

    assert not is_green([not_tried])
    assert is_green([not_tried, carry_out(row("401", observed="401"), RUN)])
    assert "1 not tried" in format_summary([not_tried])


def test_rows_are_chosen_by_id_and_by_group() -> None:
    rows = [row("401", observed="401")]

    assert (
        list(select_rows(rows, ["tokens"]))
        == list(select_rows(rows, ["tokens-a"]))
        == list(select_rows(rows, []))
        == rows
    )
    with pytest.raises(ValueError, match="nothing"):
        list(select_rows(rows, ["nothing"]))


def test_reports_say_what_was_attacked_and_count_what_was_not_tried(tmp_path: Path) -> None:
    results: list[Result] = [
        carry_out(row("401", observed=seen), RUN) for seen in ("401", "200", RowSkippedError("needs a key"))
    ]

    report.write_json(tmp_path / "a.json", "attacked: a stack", results)
    report.write_junit(tmp_path / "a.xml", "attacked: a stack", results)

    told = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    suite = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert (told["label"], [one["state"] for one in told["rows"]]) == (
        "attacked: a stack",
        ["holds", "differs", "not tried"],
    )
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["3", "1", "1"]


def test_a_secret_is_found_wherever_it_stands_and_told_by_its_name() -> None:
    traffic = Traffic()
    traffic.keep_secret("password of somebody", "a-password-of-theirs")
    traffic.keep_secret("a token", "head.claims.signature-of-the-token")
    traffic.keep_client("an application", "client", "secret-of-client")
    traffic.record("GET /a", b"nothing")
    assert traffic.leaks() == []

    traffic.record("GET /b", b"... signature-of-the-token ...")
    found = traffic.leaks([("gateway.log", b"Basic Y2xpZW50OnNlY3JldC1vZi1jbGllbnQ=")])

    assert found == ["a token in GET /b", "secret of an application in gateway.log"]


def test_a_secret_that_chance_would_find_is_not_looked_for() -> None:
    traffic = Traffic()
    traffic.keep_secret("password", "admin")
    traffic.record("GET /a", b"the admin")

    assert traffic.leaks() == []
    assert traffic.secrets == 0
