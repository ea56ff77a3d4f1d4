"""Addresses and passwords of a run in `.state`, as variables."""

import json
import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import asdict
from pathlib import Path

from ev_service.errors import ConfigurationError, EvError
from local_stack.secrets_file import load_passwords
from local_stack.stack import ROOT, StackPlan

STATE = ROOT / ".state"
PASSWORDS_FILE = "passwords.json"
_ADDRESSES_FILE = "addresses.json"


def write_addresses(plan: StackPlan) -> None:
    """Write the addresses of this run, for the commands that act on it."""
    addresses = plan.client_environment() | {
        "AGENT_URL": plan.agent_url,
        "OPERATOR_STATE_DIR": str(plan.state / "operator"),
    }
    (plan.state / _ADDRESSES_FILE).write_text(json.dumps(addresses, indent=1), encoding="utf-8")


def read_run_variables(state: Path = STATE) -> dict[str, str]:
    """Return addresses and passwords of the run that keeps its state in a folder.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    addresses, passwords = state / _ADDRESSES_FILE, state / PASSWORDS_FILE
    if not addresses.exists() or not passwords.exists():
        raise ConfigurationError(
            f"{state} holds no run: start one with make run, take STACK=compose for the one of make up, "
            "or name another one by WSO2_ADMIN_PASSWORD and the other variables of .env.example"
        )
    known: dict[str, str] = json.loads(addresses.read_text(encoding="utf-8"))
    owners = {name: value for name, value in asdict(load_passwords(passwords)).items() if name != "admin"}
    known["WSO2_ADMIN_PASSWORD"] = load_passwords(passwords).admin
    return known | {f"{name.upper()}_PASSWORD": value for name, value in owners.items()}


def fill_variables(environment: MutableMapping[str, str]) -> None:
    """Add the variables of the run in `.state`, unless the caller names a gateway by variables.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    if not environment.get("WSO2_ADMIN_PASSWORD") and not environment.get("WSO2_ADMIN_PASSWORD_FILE"):
        environment.update(read_run_variables())


def run_on_kept_stack(command: Callable[[], int], failed: str) -> int:
    """Run a command on the stack of `make run`, or on the one that the variables name; returns the exit code.

    Args:
        command: reads its arguments and variables from the process. Help needs no stack.
        failed: printed in front of the reason if there is no stack.
    """
    try:
        if not {"-h", "--help"} & set(sys.argv[1:]):
            fill_variables(os.environ)
    except EvError as error:
        sys.stderr.write(f"{failed}: {error}\n")
        return 1
    return command()
