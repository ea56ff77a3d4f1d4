"""The same readings and policy give the same decision again, or the difference is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.charging_agent.ledger.conftest import made_from, maker, observation, unknown

from charging_agent.gateway.calls import FailureReason
from charging_agent.ledger.canonical import canonicalize, sha256_hex
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.record_signing import ChainHead, DecisionDraft, sign_record
from charging_agent.ledger.replay import replay_record

KEY, BY = generate_key(), maker()


def record_of(made: DecisionDraft) -> dict[str, Any]:
    return json.loads(sign_record(made, [], ChainHead(), BY, KEY).record)


@given(generation_kw=st.floats(0, 80), load_percent=st.floats(0, 200))
def test_every_decision_comes_out_the_same(generation_kw: float, load_percent: float) -> None:
    made = made_from(observation(generation_kw=generation_kw, load_percent=load_percent))

    assert replay_record(sign_record(made, [], ChainHead(), BY, KEY).record) is None


@pytest.mark.parametrize("error", list(FailureReason))
def test_a_decision_without_readings_comes_out_the_same(error: FailureReason) -> None:
    assert replay_record(sign_record(made_from(unknown(error=error)), [], ChainHead(), BY, KEY).record) is None


def test_a_record_from_before_a_field_was_added_comes_out_the_same() -> None:
    record = record_of(made_from(observation()))
    del record["inputs"]["grid"]["reading"]["current_a"]
    record["inputs_sha256"] = sha256_hex(record["inputs"])

    assert replay_record(canonicalize(record)) is None


def _power(record: dict[str, Any]) -> None:
    record["charging_power_kw"] = 11


def _version(record: dict[str, Any]) -> None:
    record["charging_power_kw"], policy = 11, record["policy"]
    policy["version"] = "0"
    policy["sha256"] = sha256_hex({name: value for name, value in policy.items() if name != "sha256"})


def _reading(record: dict[str, Any]) -> None:
    record["inputs"]["grid"]["reading"]["load_percent"] = 99


def _threshold(record: dict[str, Any]) -> None:
    record["policy"]["parameters"]["grid_overload_percent"] = 50


def _age(record: dict[str, Any]) -> None:
    record["inputs"]["grid"]["age_s"] = 3
    record["inputs_sha256"] = sha256_hex(record["inputs"])


def _field(record: dict[str, Any]) -> None:
    del record["rule"]


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        (_power, "code", "recorded solar_and_battery_high, 11 kW, decided again solar_and_battery_high, 22 kW"),
        (_version, "policy", "rules version 0"),
        (_reading, "data", "its inputs do not match their digest"),
        (_threshold, "data", "its policy does not match its digest"),
        (_age, "data", "its timestamp says fresh at 0.25 s"),
        (_field, "data", "no record of format 1"),
    ],
)
def test_what_differs_is_named(change: Callable[[dict[str, Any]], None], cause: str, words: str) -> None:
    record = record_of(made_from(observation()))
    change(record)

    difference = replay_record(canonicalize(record))

    assert difference is not None
    assert difference.cause == cause
    assert words in difference.what
