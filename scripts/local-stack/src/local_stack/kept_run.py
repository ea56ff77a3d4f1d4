"""What a run in `.state` is reached with: its addresses and passwords, as variables."""

import json
import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import asdict
from pathlib import Path

from ev_service.errors import ConfigurationError, EvError
from local_stack.secrets_file import kept_passwords
from local_stack.stack import ROOT, StackPlan

STATE = ROOT / ".state"
PASSWORDS_FILE = "passwords.json"
_ADDRESSES_FILE = "addresses.json"


def write_addresses(plan: StackPlan) -> None:
    """Say where this run is, for commands that are given beside it."""
    addresses = plan.client_environment() | {
        "AGENT_URL": plan.agent_url,
        "OPERATOR_STATE_DIR": str(plan.state / "operator"),
    }
    (plan.state / _ADDRESSES_FILE).write_text(json.dumps(addresses, indent=1), encoding="utf-8")


def variables_of(state: Path = STATE) -> dict[str, str]:
    """Addresses and passwords of the run that keeps its state in a folder.

    Raises:
        ConfigurationError: nothing runs there, nor did.
    """
    addresses, passwords = state / _ADDRESSES_FILE, state / PASSWORDS_FILE
    if not addresses.exists() or not passwords.exists():
        raise ConfigurationError(
            f"{state} holds no run: start one with make run, take STACK=compose for the one of make up, "
            "or name another one by WSO2_ADMIN_PASSWORD and the other variables of .env.example"
        )
    known: dict[str, str] = json.loads(addresses.read_text(encoding="utf-8"))
    owners = {name: value for name, value in asdict(kept_passwords(passwords)).items() if name != "admin"}
    known["WSO2_ADMIN_PASSWORD"] = kept_passwords(passwords).admin
    return known | {f"{name.upper()}_PASSWORD": value for name, value in owners.items()}


def take_variables(environment: MutableMapping[str, str]) -> None:
    """Fill in what the run in `.state` says, unless the caller names a gateway by variables.

    Raises:
        ConfigurationError: nothing runs there, nor did.
    """
    if not environment.get("WSO2_ADMIN_PASSWORD") and not environment.get("WSO2_ADMIN_PASSWORD_FILE"):
        environment.update(variables_of())


def beside_the_kept_run(command: Callable[[], int], failed: str) -> int:
    """Run a command on the stack of `make run`, or on the one that the variables name; returns the exit code.

    Args:
        command: reads its arguments and variables from the process. Asked for help, it needs no stack.
        failed: what is said before the reason where there is no stack.
    """
    try:
        if not {"-h", "--help"} & set(sys.argv[1:]):
            take_variables(os.environ)
    except EvError as error:
        sys.stderr.write(f"{failed}: {error}\n")
        return 1
    return command()
