"""Switches for controls that no setting turns off: a server that accepts everything replaces the real one.

The stack itself is not changed.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from ssl import TLSVersion
from typing import Any
from unittest.mock import patch

from tests.attacks import transport_rows
from tests.attacks.attack_run import AttackRun
from tests.attacks.gateway_access import Addresses, GatewayAccess
from tests.attacks.impostor import Impostor

from local_stack.stack import Stack as RunningStack


@dataclass(frozen=True, slots=True)
class SwitchTarget:
    """The run and the stack whose control is switched off."""

    run: AttackRun
    """The run of the attacks."""

    running: RunningStack
    """Processes of the stack."""

    folder: Path
    """Folder for files of a switch."""


Switch = Callable[[SwitchTarget], AbstractContextManager[object]]


@contextmanager
def open_gateway(target: SwitchTarget, **impostor: Any) -> Generator[None]:
    """Whoever asks at the gateway is answered."""
    with Impostor(**impostor) as careless:
        yield from _at(target, careless, gateway_url=careless.url)


@contextmanager
def open_management(target: SwitchTarget) -> Generator[None]:
    """Whoever asks for a token or calls a REST API is answered."""
    with Impostor() as careless:
        yield from _at(target, careless, management_url=careless.url, token_url=f"{careless.url}/oauth2/token")


@contextmanager
def old_tls(target: SwitchTarget) -> Generator[None]:
    """TLS 1.0 is spoken."""
    with open_gateway(target, oldest_tls=TLSVersion.TLSv1):
        yield


@contextmanager
def plain_port(target: SwitchTarget) -> Generator[None]:
    """Plain HTTP is spoken where TLS should be."""
    port = target.running.plan.ports.gateway_http
    with _replace_access(target, gateway_url=f"https://localhost:{port}"):
        yield


@contextmanager
def trust_impostor(target: SwitchTarget) -> Generator[None]:
    """The impostor's authority is trusted."""
    ca_file = target.folder / "impostor.pem"
    believed = replace(target.run.stack, ca_file=ca_file)
    with (
        patch.object(transport_rows, "Impostor", partial(Impostor, ca_file=ca_file)),
        patch.object(target.run, "stack", believed),
    ):
        yield


def near_address(target: SwitchTarget) -> AbstractContextManager[object]:
    """The address is one that plain HTTP is allowed to, as every address would be without the rule."""
    return patch.object(transport_rows, "FAR", "http://127.0.0.1:9")


def obey_text(target: SwitchTarget) -> AbstractContextManager[object]:
    """The reading with instructions has its way."""
    return patch.dict(transport_rows.INJECTED, {"load_percent": 10.0, "load_kw": 10.0})


def _at(target: SwitchTarget, careless: Impostor, **addresses: str) -> Generator[None]:
    # The rows talk to the real one beside it: both authorities are trusted.
    both = target.folder / "both.pem"
    both.write_bytes(careless.ca_file.read_bytes() + target.running.plan.ca_file.read_bytes())
    with _replace_access(target, ca_file=both, **addresses):
        yield


@contextmanager
def _replace_access(target: SwitchTarget, **addresses: Any) -> Generator[None]:
    # What the rows need is made beforehand: it comes from the real one.
    run = target.run
    _ = run.good_token, run.token(run.stranger, run.scope), run.evapp
    door = GatewayAccess(replace(Addresses.of(run.stack), **addresses), run.traffic)
    try:
        with patch.object(run, "access", door):
            yield
    finally:
        door.close()
        run.forget_tokens()
