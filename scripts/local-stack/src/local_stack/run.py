"""`make run`: the stack at real speed, staying up until Ctrl-C."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console

from ev_service.settings import load
from local_stack.kept_run import PASSWORDS_FILE, STATE, write_addresses
from local_stack.ports import PortSettings
from local_stack.secrets_file import load_passwords
from local_stack.stack import Stack, StackPlan, running
from local_stack.surroundings import select_settings

__all__ = ["STATE", "run"]


def run(state: Path, console: Console) -> int:
    """Start the stack, show the first decision, and stay until Ctrl-C.

    Args:
        state: folder where passwords, keys, the gateway's state and logs are kept.
        console: where it tells.
    """
    started = time.monotonic()
    state = state.resolve()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = load(PortSettings).ports()
    settings = select_settings(os.environ)
    # Whoever names chargers has devices of their own.
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
