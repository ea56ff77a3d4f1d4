"""Token cache: decides when a token is requested and which one is used.

One request at a time, however many wait. A token is renewed in the background before it expires, so nobody waits for
a renewal while it is valid; a failing token endpoint has no effect until then. A refused token is renewed once.
Source: WSO2 API Manager 4.6.0 (a new token for the same client and scopes revokes the former one).
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from charging_agent.gateway.call_log import FailureReason
from charging_agent.gateway.single_flight import SingleFlight
from ev_service.clock import Clock

_logger = logging.getLogger(__name__)

YOUNG_S = 10.0
"""A token younger than this [s] is not renewed after a 401: the refusal has another cause."""
_AHEAD_SHARE = 0.2
_AHEAD_MOST = timedelta(minutes=5)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


class TokenError(Exception):
    """No token could be had: refused by the endpoint, or the endpoint did not answer as one.

    wait_s [s]: how long the endpoint wants not to be asked.
    """

    def __init__(self, reason: FailureReason, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Its value is never logged."""

    value: str = field(repr=False)
    """The token."""
    requested_at: datetime
    """Time of the request, from which its lifetime counts."""
    expires_at: datetime
    """End of its lifetime."""

    def renew_at(self) -> datetime:
        """When to ask for the next one: a fifth of its life ahead of its end, at most five minutes."""
        return self.expires_at - min(_AHEAD_MOST, (self.expires_at - self.requested_at) * _AHEAD_SHARE)


class TokenCache:
    """Caches the one token of this process."""

    def __init__(
        self, request: Callable[[], Awaitable[Token]], clock: Clock, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._request = request
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._token: Token | None = None
        self._renewal = SingleFlight(self._renew)
        self._failure: TokenError | None = None
        self._pause_s = 0.0
        self._paused_until_s = 0.0

    async def get_token(self) -> Token:
        """Return a valid token; start its renewal in the background when that is due.

        Raises:
            TokenError: none lives and none could be had.
        """
        token, now = self._token, self._clock.now()
        if token is None or token.expires_at <= now:
            return await self._join_renewal()
        # Before it was asked for: the system's clock was set back, and what is left of its life is unknown.
        if (now >= token.renew_at() or now < token.requested_at) and not self._is_pausing():
            self._renewal.start()
        return token

    async def get_token_after_refusal(self, refused: Token) -> Token | None:
        """Return the token to use after the gateway refused one with 401.

        Returns:
            The current token when another one was refused, a new one when the current one is old enough to be
            renewed, else None.

        Raises:
            TokenError: a renewal was tried and failed.
        """
        if self._token is not None and self._token is not refused:
            return self._token
        # A negative age is that of a clock set back: taken for youth, it would hold the renewal back for as long.
        if 0 <= (self._clock.now() - refused.requested_at).total_seconds() < YOUNG_S:
            return None
        return await self._join_renewal()

    async def stop(self) -> None:
        """Cancel a renewal in progress."""
        await self._renewal.stop()

    async def _join_renewal(self) -> Token:
        if self._failure is not None and self._is_pausing() and not self._renewal.is_running:
            raise TokenError(self._failure.reason, str(self._failure))
        return await self._renewal.join()

    def _is_pausing(self) -> bool:
        return self._monotonic_s() < self._paused_until_s

    async def _renew(self) -> Token:
        try:
            self._token = await self._request()
        except TokenError as failure:
            # Growing pauses keep a dead or refusing endpoint from being stormed.
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or _FIRST_PAUSE_S)
            pause_s = max(self._pause_s, failure.wait_s)
            self._paused_until_s = self._monotonic_s() + pause_s
            self._failure = failure
            fields = {"error": failure.reason.value, "reason": str(failure), "pause_s": pause_s}
            _logger.warning("token not renewed", extra=fields)
            raise
        self._failure, self._pause_s, self._paused_until_s = None, 0.0, 0.0
        life_s = (self._token.expires_at - self._token.requested_at).total_seconds()
        _logger.info("token renewed", extra={"life_s": life_s})
        return self._token
