"""`make run`: the stack at real speed until Ctrl-C, and its addresses in `.state` for the commands that act on it."""

import json
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console

from ev_service.errors import ConfigurationError, EvError
from ev_service.settings import load
from local_stack.environment import PortSettings, load_passwords, select_settings
from local_stack.stack import ROOT, Stack, StackPlan, running

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
    variables: dict[str, str] = json.loads(addresses.read_text(encoding="utf-8"))
    owners = {name: value for name, value in asdict(load_passwords(passwords)).items() if name != "admin"}
    variables["WSO2_ADMIN_PASSWORD"] = load_passwords(passwords).admin
    return variables | {f"{name.upper()}_PASSWORD": value for name, value in owners.items()}


def fill_variables(environment: MutableMapping[str, str]) -> None:
    """Add the variables of the run in `.state`, unless the caller names a gateway by variables.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    if not environment.get("WSO2_ADMIN_PASSWORD") and not environment.get("WSO2_ADMIN_PASSWORD_FILE"):
        environment.update(read_run_variables())


def run_command_on_stack(command: Callable[[], int], failed: str) -> int:
    """Run a command on the stack of `make run`, or on the one that the variables name; return the exit code.

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


def run(state: Path, console: Console) -> int:
    """Start the stack, show the first decision, and stay until Ctrl-C.

    Args:
        state: folder where passwords, keys, the gateway's state and logs are kept.
        console: where to print.
    """
    started = time.monotonic()
    state = state.resolve()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = load(PortSettings).ports()
    settings = select_settings(os.environ)
    # A configured charger file means real devices; the twin is not started then.

    has_twin = "CHARGERS_FILE" not in settings
    plan = StackPlan(ports, load_passwords(state / PASSWORDS_FILE), state, settings, has_twin)
    write_addresses(plan)
    with running(plan, lambda step: console.print(f"  starting: {step}")) as stack:
        _show_first_decision(stack, console)
        console.print(f"first governed decision after {time.monotonic() - started:.1f} s")
        console.print(f"agent     {plan.agent_url.replace('127.0.0.1', 'localhost')}/")
        console.print(f"gateway   {plan.gateway_url}   (CA: {state / 'certificates' / 'ca.pem'})", soft_wrap=True)
        console.print(f"logs      {state / 'logs'}   credentials {state / 'credentials'}", soft_wrap=True)
        if plan.has_twin:
            console.print(f"site      {plan.twin_url.replace('127.0.0.1', 'localhost')}/site   (simulated devices)")
        console.print(f"chargers  ws://localhost:{ports.ocpp}/CHARGER   (OCPP)")
        console.print(
            'cut off   make kill REASON="…"   (the agent, at the gateway; make revive REASON="…" lets it go on)'
        )
        console.print('operate   make operate ARGS="chargers"   (stop, limit and more: make operate ARGS=--help)')
        console.print("Ctrl-C stops everything")
        while True:
            time.sleep(1)
            stack.check()


def _show_first_decision(stack: Stack, console: Console) -> None:
    url = f"{stack.plan.agent_url}/optimize-charging"
    answer = httpx.get(url, verify=stack.plan.tls_context(), timeout=10, trust_env=False)
    decision = answer.raise_for_status().json()
    at = datetime.now(UTC).astimezone()
    console.print(f"{at:%H:%M:%S}  [bold]{decision['charging_power_kw']:g} kW[/]  {decision['reason']}", soft_wrap=True)
    if decision["readings"]["grid"].get("error") == "blocked":
        console.print('the agent is stopped at the gateway: make revive REASON="…" lets it go on', soft_wrap=True)
