"""The chain's head, signed and kept where the agent's disk is not: without it a cut tail leaves no trace.

Told in the background, never waited for by a decision; a failure is logged, counted and tried again.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import httpx

from charging_agent.ledger.canonical import canonicalize
from charging_agent.ledger.keys import SigningKey
from charging_agent.ledger.record_signing import ChainHead
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.units import utc_text

_logger = logging.getLogger(__name__)

_PAUSE_S = 5.0
_LAST_S = 3.0
_MEDIA_TYPE = "application/json"


class Anchor(Protocol):
    """A place that keeps heads."""

    async def put(self, line: bytes) -> None:
        """Keep one signed head.

        Raises:
            OSError: the file cannot be written.
            httpx.HTTPError: the address cannot be reached or refuses.
        """
        ...


class FileAnchor:
    """Appends each head as a line to a file, best on another disk or in a write-once folder."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def put(self, line: bytes) -> None:
        await asyncio.to_thread(self._append, line)

    def _append(self, line: bytes) -> None:
        with self._file.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())


class UrlAnchor:
    """Posts each head to an address."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def put(self, line: bytes) -> None:
        answer = await self._http.post(self._url, content=line, headers={"Content-Type": _MEDIA_TYPE})
        answer.raise_for_status()


def create_anchor(place: str, state_dir: Path | None, http: httpx.AsyncClient) -> Anchor:
    """The anchor that AGENT_LEDGER_ANCHOR names.

    Raises:
        ConfigurationError: it stands in the folder whose loss it is to show, or its own folder is not there.
    """
    if "://" in place:
        return UrlAnchor(http, place)
    file = Path(place).resolve()
    if state_dir is not None and file.is_relative_to(state_dir.resolve()):
        raise ConfigurationError("AGENT_LEDGER_ANCHOR must stand outside AGENT_STATE_DIR, or one hand cuts both")
    if not file.parent.is_dir():
        raise ConfigurationError(f"AGENT_LEDGER_ANCHOR {place}: its folder is not there")
    return FileAnchor(file)


def build_signed_head(head: ChainHead, at: str, key: SigningKey) -> bytes:
    """A head as canonical JSON with its signature: Ed25519 over SHA-256 of the canonical JSON of the rest."""
    content = {"format": 1, "kind": "head", "sequence": head.sequence, "sha256": head.sha256, "at": at}
    content["key_id"] = key.key_id
    return canonicalize({**content, "signature": key.sign(hashlib.sha256(canonicalize(content)).hexdigest())})


class AnchorPublisher:
    """Tells an anchor the newest head, at most every few seconds and once more in the end.

    Args:
        anchor: where heads are kept; None keeps none.
        clock: the run's clock.
        on_failed: told each failure.
        pause_s: between two heads [s of real time].
    """

    def __init__(
        self,
        anchor: Anchor | None,
        clock: Clock,
        on_failed: Callable[[], None] = lambda: None,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._anchor = anchor
        self._key: SigningKey | None = None
        self._clock = clock
        self._on_failed = on_failed
        self._pause_s = pause_s
        self._head: ChainHead | None = None
        self._published: ChainHead | None = None
        self._waits_since: float | None = None
        self._is_new = asyncio.Event()

    @property
    def age_s(self) -> float:
        """How long the oldest record that no anchor holds has been waiting [s of the run's clock]; 0 when none is."""
        if self._anchor is None or self._waits_since is None:
            return 0.0
        return max(0.0, self._clock.now().timestamp() - self._waits_since)

    def update_head(self, head: ChainHead, key: SigningKey) -> None:
        """Take note of a new head and of the key that signs it."""
        self._head, self._key = head, key
        if self._waits_since is None:
            self._waits_since = self._clock.now().timestamp()
        self._is_new.set()

    async def run(self) -> None:
        """Tell new heads until cancelled."""
        if self._anchor is None:
            return
        while True:
            await self._is_new.wait()
            await self._publish()
            await asyncio.sleep(self._pause_s)

    async def stop(self) -> None:
        """Tell the last head, if nobody knows it yet."""
        if self._anchor is not None and self._head != self._published:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self._publish()

    async def _publish(self) -> None:
        head, key, anchor = self._head, self._key, self._anchor
        assert head is not None
        assert key is not None
        assert anchor is not None
        try:
            await anchor.put(build_signed_head(head, utc_text(self._clock.now()), key))
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            self._on_failed()
            _logger.warning("head not anchored", extra={"sequence": head.sequence, "reason": type(error).__name__})
            return
        self._published = head
        if self._head == head:
            self._waits_since = None
            self._is_new.clear()
        else:
            self._waits_since = self._clock.now().timestamp()
