"""The gateway's signing key changes, tried on a solar service of this checkout: the gateway's calls pass at every step,
those of a key that is accepted no longer do not. No key and no service of the stack is touched.
"""

import asyncio
import logging
import tempfile
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from joserfc.jwk import RSAKey
from tests.attacks import forging
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import format_status, table
from tests.attacks.rows import Group, Observation, Row

from ev_service.assertion import HEADER
from ev_service.certificates import Pair, make_signing
from ev_service.clock import SystemClock
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem
from ev_service.settings import RunSettings, SiteSettings
from ev_service.sources import ServiceSettings
from solar_service.app import create_app
from solar_service.sources import SolarSourceSettings

_CONTEXT, _PATH = "/solar/1.0.0", "/solar-status"
_EXPECTED = "the gateway 200 at each step; the former key 401 assertion_refused"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    title = "gateway's former key, certificate removed while running"
    return table(Group.ASSERTIONS, ("key-rotation", title, _EXPECTED, _rotation))


def _rotation(_: AttackRun) -> Observation:
    # What the service says of refusals in its log is not what is looked at.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="ev-prove-keys-") as folder:
            return asyncio.run(_try_rotation(Path(folder) / "gateway-signing.pem"))
    finally:
        logging.disable(before)


async def _try_rotation(file: Path) -> Observation:
    now = SystemClock().now()
    former, current = (make_signing(f"own key {number}", now) for number in (1, 2))
    both = pem(former.certificate, current.certificate)
    replace_file(file, pem(former.certificate), PUBLIC)
    settings = RunSettings(gateway_cert_file=file, sim_clock_file=None)
    site = SiteSettings(twin_url=None)
    source = SolarSourceSettings(source="simulated", replay_file=None)
    app = create_app(ServiceSettings(source, site, settings), SystemClock())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as service:
        told: list[str] = []
        for content, signer in ((b"", former), (both, former), (both, current), (pem(current.certificate), current)):
            if content:
                replace_file(file, content, PUBLIC)
            told.append(await _answer(service, signer))
        retired = await _answer(service, former)
    passed = "200 at each step" if all(one.startswith("200") for one in told) else "; ".join(told)
    return Observation(f"the gateway {passed}; the former key {retired}", f"{len(told)} steps")


async def _answer(service: httpx.AsyncClient, signer: Pair) -> str:
    assert isinstance(signer.key, RSAPrivateKey)
    key = RSAKey.import_key(signer.key)
    # The same for each call of a key, so that one that was verified before is tried, too.
    headers = {HEADER: forging.assertion(_CONTEXT, SystemClock().now(), key)}
    return format_status(await service.get(_PATH, headers=headers))
