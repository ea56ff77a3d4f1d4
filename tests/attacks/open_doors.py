"""Ways to switch off what is code and has no switch: a server that lets everything through takes the place.

Pure towards the stack: nothing of it is changed.
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
from tests.attacks.door import Addresses, Door
from tests.attacks.ground import Ground
from tests.attacks.impostor import Impostor

from local_stack.stack import Stack as RunningStack


@dataclass(frozen=True, slots=True)
class Scene:
    """A ground and the processes under it. folder: for what a switch writes."""

    ground: Ground
    running: RunningStack
    folder: Path


Switch = Callable[[Scene], AbstractContextManager[object]]


@contextmanager
def open_gateway(scene: Scene, **impostor: Any) -> Generator[None]:
    """Whoever asks at the gateway is answered."""
    with Impostor(**impostor) as careless:
        yield from _at(scene, careless, gateway_url=careless.url)


@contextmanager
def open_management(scene: Scene) -> Generator[None]:
    """Whoever asks for a token or calls a REST API is answered."""
    with Impostor() as careless:
        yield from _at(scene, careless, management_url=careless.url, token_url=f"{careless.url}/oauth2/token")


@contextmanager
def old_tls(scene: Scene) -> Generator[None]:
    """TLS 1.0 is spoken."""
    with open_gateway(scene, oldest_tls=TLSVersion.TLSv1):
        yield


@contextmanager
def plain_port(scene: Scene) -> Generator[None]:
    """Plain HTTP is spoken where TLS should be."""
    port = scene.running.plan.ports.gateway_http
    with _door(scene, gateway_url=f"https://localhost:{port}"):
        yield


@contextmanager
def trusted_impostor(scene: Scene) -> Generator[None]:
    """The impostor's authority is trusted."""
    ca_file = scene.folder / "impostor.pem"
    believed = replace(scene.ground.stack, ca_file=ca_file)
    with (
        patch.object(transport_rows, "Impostor", partial(Impostor, ca_file=ca_file)),
        patch.object(scene.ground, "stack", believed),
    ):
        yield


def near_address(scene: Scene) -> AbstractContextManager[object]:
    """The address is one that plain HTTP is allowed to, as every address would be without the rule."""
    return patch.object(transport_rows, "FAR", "http://127.0.0.1:9")


def obeyed_text(scene: Scene) -> AbstractContextManager[object]:
    """The reading with instructions has its way."""
    return patch.dict(transport_rows.INJECTED, {"load_percent": 10.0, "load_kw": 10.0})


def _at(scene: Scene, careless: Impostor, **addresses: str) -> Generator[None]:
    # The rows talk to the real one beside it: both authorities are trusted.
    both = scene.folder / "both.pem"
    both.write_bytes(careless.ca_file.read_bytes() + scene.running.plan.ca_file.read_bytes())
    with _door(scene, ca_file=both, **addresses):
        yield


@contextmanager
def _door(scene: Scene, **addresses: Any) -> Generator[None]:
    # What the rows need is made beforehand: it comes from the real one.
    ground = scene.ground
    _ = ground.good_token, ground.token(ground.stranger, ground.scope), ground.evapp
    door = Door(replace(Addresses.of(ground.stack), **addresses), ground.traffic)
    try:
        with patch.object(ground, "door", door):
            yield
    finally:
        door.close()
        ground.forget_tokens()
