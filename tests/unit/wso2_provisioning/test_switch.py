"""What a kill remembers of itself, and what it makes of steps that fail."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from charger_service.kill_audit import RecordedAct
from ev_service.errors import ConfigurationError
from wso2_provisioning.applications import ASSISTANT, EVAPP
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.errors import NotReadyError
from wso2_provisioning.switch.kill_audit import (
    EventJournal,
    GatewayChange,
    KillEvent,
    KillScope,
    StepResult,
    StepRunner,
    collect_changes,
    compute_key_id,
    parse_reason,
    parse_scope,
    to_one_line,
)
from wso2_provisioning.switch.kill_switch import build_scope_sets
from wso2_provisioning.switch.polling import is_refusal
from wso2_provisioning.tokens import ClientCredentials
from wso2_terms.artifacts import load_artifacts

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


def act_of(kind: str, *changed: str) -> dict[str, Any]:
    return {"kind": kind, "changes": [{"kind": "subscription", "id": one, "name": one} for one in changed]}


@pytest.fixture
def journal(tmp_path: Path) -> EventJournal:
    return EventJournal(tmp_path / "operator", lambda _: None)


@pytest.fixture
def course(journal: EventJournal) -> StepRunner:
    return StepRunner(KillEvent("kill", "sensor fault", "ops", NOON), journal, lambda _: None, time.monotonic())


def test_what_kills_made_and_no_revive_undid_is_known() -> None:
    newest_first = [act_of("kill", "c"), act_of("revive", "a"), act_of("kill"), act_of("kill", "a", "b")]

    assert collect_changes(newest_first).unreverted.keys() == {"b", "c"}


def test_what_was_made_again_after_a_revive_counts_again() -> None:
    assert collect_changes([act_of("kill", "a"), act_of("revive", "a"), act_of("kill", "a")]).unreverted.keys() == {"a"}


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 501, "two\nlines", "\x1b[31mred"])
def test_a_reason_is_one_line_that_says_something(reason: str | None) -> None:
    with pytest.raises(ConfigurationError, match="REASON"):
        parse_reason(reason, "kill")


def test_an_odd_reason_is_taken_as_it_is() -> None:
    assert parse_reason('  "it\'s" $5; `rm` — été ', "kill") == '"it\'s" $5; `rm` — été'


@pytest.mark.parametrize("text", [None, "", "all"])
def test_nothing_said_is_everything(text: str | None) -> None:
    assert parse_scope(text) == "all"


@pytest.mark.parametrize("text", ["reading", "CONTROL", "all control"])
def test_a_scope_is_all_or_control(text: str) -> None:
    with pytest.raises(ConfigurationError, match="SCOPE"):
        parse_scope(text)


@pytest.mark.parametrize("scope", ["all", "control"])
def test_the_service_that_records_takes_an_act_as_it_is_told(scope: KillScope) -> None:
    act = KillEvent("kill", "charger fault", "ops", NOON, scope)

    kept = RecordedAct.model_validate(act.to_json() | {"number": 1, "recorded_at": NOON, "proved": None})

    assert (kept.kind, kept.scope, kept.reason) == ("kill", scope, "charger fault")


def test_an_act_of_before_that_says_no_scope_was_about_everything() -> None:
    told = KillEvent("kill", "sensor fault", "ops", NOON).to_json()
    del told["scope"]

    assert RecordedAct.model_validate(told | {"number": 1, "recorded_at": NOON, "proved": None}).scope == "all"


def test_the_token_of_every_kind_of_agent_is_revoked() -> None:
    artifacts = load_artifacts(ROOT / "wso2", DEFAULT_BACKENDS)
    readings, tools = ({f"{word}:{what}" for word in ("solar", "battery", "grid")} for what in ("read", "tools"))
    chargers = {"chargers:read", "chargers:control"}

    agents = build_scope_sets(EVAPP, artifacts, None)
    assert list(agents.values()) == [readings | chargers, tools | chargers, readings, tools]
    assert all("device_a" in scopes for scopes in build_scope_sets(EVAPP, artifacts, "a").values())
    assert list(build_scope_sets(ASSISTANT, artifacts, None).values()) == [{"agent:read", "agent:tools"}]


def test_a_key_is_told_from_another_by_id_and_secret_and_its_secret_stays_one() -> None:
    keys = [ClientCredentials(*one) for one in (("a", SecretStr("x")), ("a", SecretStr("y")), ("b", SecretStr("x")))]

    assert len({compute_key_id(key) for key in keys}) == 3
    assert compute_key_id(keys[0]).startswith("a:")


def test_what_is_recorded_fits_on_a_line() -> None:
    assert to_one_line("a\nb\x07" + "c" * 600) == "a b " + "c" * 496


def test_a_step_that_fails_does_not_stop_the_next(course: StepRunner) -> None:
    def fail() -> StepResult:
        raise NotReadyError("nobody answers", is_final=False)

    assert course.run_step("first", fail) is False
    assert course.run_step("second", lambda: ("done", "well")) is True
    assert [(step.name, step.outcome, step.detail) for step in course.event.steps] == [
        ("first", "failed", "nobody answers"),
        ("second", "done", "well"),
    ]


def test_after_ctrl_c_only_the_record_is_still_made(course: StepRunner) -> None:
    def interrupted() -> StepResult:
        raise KeyboardInterrupt

    course.run_step("first", interrupted)
    course.run_step("second", lambda: ("done", "never"))

    assert course.run_step("record", lambda: ("done", "number 1"), is_last=True) is True
    assert [step.outcome for step in course.event.steps] == ["failed", "skipped", "done"]


def test_what_was_begun_is_known_though_the_process_ended(journal: EventJournal, course: StepRunner) -> None:
    course.event.changes.append(GatewayChange("subscription", "an-id", "SolarAPI"))
    course.run_step("block SolarAPI", lambda: ("done", "subscription blocked"))

    assert collect_changes(journal.list_unrecorded()).unreverted.keys() == {"an-id"}
    journal.remove(course.event.event_id)
    assert journal.list_unrecorded() == []


def test_a_folder_that_can_not_be_written_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []
    journal = EventJournal(tmp_path / "file", said.append)
    act = KillEvent("kill", "sensor fault", "ops", NOON)

    journal.save(act)
    journal.save(act)

    assert len(said) == 1
    assert not journal.contains(act)


@pytest.mark.parametrize(
    ("answer", "expected"), [("403 900805", True), ("401 900907", True), ("200", False), ("429 900804", False)]
)
def test_only_the_answers_to_a_stopped_application_count_as_refusals(answer: str, expected: bool) -> None:
    assert is_refusal(answer) is expected
