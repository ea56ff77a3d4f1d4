"""A run keeps its passwords, and an older one is given those that it lacks."""

import json
import stat
from pathlib import Path

import pytest

from ev_service.errors import ConfigurationError
from local_stack.environment import free_ports, load_passwords
from local_stack.run import fill_variables, read_run_variables, write_addresses
from local_stack.stack import StackPlan


def test_passwords_are_kept_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"

    first, second = load_passwords(path), load_passwords(path)

    assert first == second
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({first.admin, first.evapp, first.assistant, first.operator}) == 4


def test_the_file_of_an_older_run_is_completed_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    path.write_text(json.dumps({"admin": "a-Passw0rd", "evapp": "b-Passw0rd"}), encoding="utf-8")

    passwords = load_passwords(path)

    assert (passwords.admin, passwords.evapp) == ("a-Passw0rd", "b-Passw0rd")
    assert passwords.operator == load_passwords(path).operator
    assert len(passwords.assistant) == 24


def test_a_command_beside_a_run_finds_its_addresses_and_passwords(tmp_path: Path) -> None:
    plan = StackPlan(free_ports(), load_passwords(tmp_path / "passwords.json"), tmp_path)
    write_addresses(plan)

    known = read_run_variables(tmp_path)

    assert known["WSO2_MANAGEMENT_URL"] == plan.management_url
    assert known["AGENT_URL"] == plan.agent_url
    assert known["WSO2_ADMIN_PASSWORD"] == plan.passwords.admin
    assert known["OPERATOR_PASSWORD"] == plan.passwords.operator
    assert plan.passwords.operator not in (tmp_path / "addresses.json").read_text(encoding="utf-8")


def test_without_a_run_it_says_how_to_name_a_stack(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="STACK=compose"):
        read_run_variables(tmp_path)


def test_a_stack_that_is_named_by_variables_is_the_one_that_is_meant() -> None:
    named = {"WSO2_ADMIN_PASSWORD": "x"}

    fill_variables(named)

    assert named == {"WSO2_ADMIN_PASSWORD": "x"}
