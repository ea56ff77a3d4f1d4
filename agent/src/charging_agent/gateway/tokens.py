"""Access tokens: credentials of EVApp, requests to the token endpoint, and the cache of the one token.

OAuth 2.0 client credentials with HTTP Basic. One request at a time, however many wait. A token is renewed in the
background before it expires, so nobody waits for a renewal while it is valid; a failing token endpoint has no effect
until then. A refused token is renewed once.
Source: WSO2 API Manager 4.6.0 (a new token for the same client and scopes revokes the former one).
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
from pydantic import SecretStr

from charging_agent.gateway.calls import FailureReason
from charging_agent.gateway.http_client import BoundedResponse, RequestRunner
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.settings import secret_from
from ev_service.tasks import Backoff, SingleFlight
from wso2_terms.basic_credentials import encode_client
from wso2_terms.windows import parse_retry_after

_logger = logging.getLogger(__name__)

YOUNG_S = 10.0
"""A token younger than this [s] is not renewed after a 401: the refusal has another cause."""
_AHEAD_SHARE = 0.2
_AHEAD_MOST = timedelta(minutes=5)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_MAX_RESPONSE_BYTES = 64 * 1024
_TIMEOUT_S = 5.0
# One request at a time is waited for; the others are former ones whose callers have given up.
_MAX_REQUESTS = 4
# A wrong Retry-After must not stop the agent.
_MAX_WAIT_S = 3600.0
# A token with a shorter lifetime would be requested again at every call.
_SHORTEST_LIFE_S, _LONGEST_LIFE_S = 1.0, timedelta(days=1).total_seconds()
_DEFAULT_LIFETIME_S = 300.0


class TokenError(Exception):
    """There is no token: the endpoint refused, or did not answer as a token endpoint does.

    Args:
        reason: kind of failure.
        message: explanation for the log.
        wait_s: time that the endpoint asks to wait [s].
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


@dataclass(frozen=True, slots=True)
class Credentials:
    """Consumer key and secret of EVApp."""

    client_id: str
    """Consumer key."""
    client_secret: SecretStr
    """Consumer secret."""


class CredentialSource(Protocol):
    """Where the credentials come from; read again when the token endpoint refuses them."""

    def read(self) -> Credentials: ...


@dataclass(frozen=True, slots=True)
class EnvironmentOrFileCredentials:
    """Variables win over files."""

    client_id: SecretStr | None
    client_secret: SecretStr | None
    client_id_file: Path | None
    client_secret_file: Path | None

    def read(self) -> Credentials:
        """Read the credentials as they are now.

        Raises:
            ConfigurationError: a file is missing, unreadable or empty, or nothing is set.
        """
        id_file, secret_file = _resolve_together(self.client_id_file, self.client_secret_file)
        client_id = secret_from(self.client_id, id_file, "WSO2_CLIENT_ID")
        client_secret = secret_from(self.client_secret, secret_file, "WSO2_CLIENT_SECRET")
        if client_id is None or client_secret is None:
            raise ConfigurationError(
                "set WSO2_CLIENT_ID and WSO2_CLIENT_SECRET, or the same with _FILE; scripts/bootstrap.py writes them"
            )
        return Credentials(client_id.get_secret_value(), client_secret)


def _resolve_together(*files: Path | None) -> list[Path | None]:
    # The bootstrap's files are links through one folder that is switched as a whole, and so are those of a mounted
    # Kubernetes secret: the link is followed once, or key and secret could come from two sides of a switch.
    real: dict[Path, Path] = {}
    for file in files:
        if file is not None:
            real.setdefault(file.parent, file.resolve().parent)
    in_folder = [None if file is None else real[file.parent] / file.name for file in files]
    return [
        there if there is not None and there.exists() else file for there, file in zip(in_folder, files, strict=True)
    ]


class TokenEndpoint:
    """Requests tokens from the token endpoint."""

    def __init__(
        self, http: httpx.AsyncClient, *, url: str, scopes: str, source: CredentialSource, clock: Clock
    ) -> None:
        self._http = http
        self._requests = RequestRunner(http, _MAX_REQUESTS)
        self._url = url
        self._scopes = scopes
        self._source = source
        self._clock = clock
        self._credentials: Credentials | None = None

    async def request_token(self) -> Token:
        """Request a token; try once more if the credentials have changed since they were read.

        Raises:
            TokenError: refused (4xx but 429), or the endpoint did not answer as a token endpoint does.
        """
        credentials = self._credentials or self._read_credentials()
        try:
            return await self._request_with(credentials)
        except TokenError as refused:
            if (
                refused.reason is not FailureReason.TOKEN_REFUSED
                or (current := self._read_credentials(refused)) == credentials
            ):
                raise
            return await self._request_with(current)

    async def stop(self) -> None:
        """End the requests that still run; the HTTP client must not be used afterwards."""
        await self._requests.stop()

    def _read_credentials(self, refused: TokenError | None = None) -> Credentials:
        try:
            self._credentials = self._source.read()
        except ConfigurationError as error:
            # Credentials that were refused and cannot be read again are still refused.
            raise refused or TokenError(FailureReason.TOKEN_UNAVAILABLE, error.message) from error
        return self._credentials

    async def _request_with(self, credentials: Credentials) -> Token:
        asked_at = self._clock.now()
        try:
            answer = await self._post(credentials)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise TokenError(FailureReason.TOKEN_UNAVAILABLE, f"token endpoint: {type(error).__name__}") from error
        if answer.status != 200 or len(answer.body) > _MAX_RESPONSE_BYTES:
            raise self._token_error(answer)
        value, life_s = _parse_response(answer.body)
        return Token(value, asked_at, asked_at + timedelta(seconds=life_s))

    async def _post(self, credentials: Credentials) -> BoundedResponse:
        form = {"grant_type": "client_credentials", "scope": self._scopes}
        basic = encode_client(credentials.client_id, credentials.client_secret.get_secret_value())
        request = self._http.build_request(
            "POST", self._url, data=form, headers={"Authorization": basic}, timeout=_TIMEOUT_S
        )
        return await self._requests.run(request, deadline_s=_TIMEOUT_S, max_bytes=_MAX_RESPONSE_BYTES)

    def _token_error(self, answer: BoundedResponse) -> TokenError:
        message = f"token endpoint answered {answer.status}"
        if 400 <= answer.status < 500 and answer.status != 429:
            return TokenError(FailureReason.TOKEN_REFUSED, message)
        now = self._clock.now()
        until = parse_retry_after(answer.headers.get("retry-after", ""), now)
        is_a_wait = until is not None and (answer.status == 429 or answer.status >= 500)
        wait_s = (until - now).total_seconds() if until is not None and is_a_wait else 0.0
        return TokenError(FailureReason.TOKEN_UNAVAILABLE, message, wait_s=min(max(0.0, wait_s), _MAX_WAIT_S))


def _parse_response(body: bytes) -> tuple[str, float]:
    try:
        content = cast(dict[str, Any], json.loads(body))
        value, life = content["access_token"], content.get("expires_in")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TokenError(FailureReason.TOKEN_UNAVAILABLE, "token endpoint answered no token") from error
    # A value that cannot stand in a header would fail every call with an error of the HTTP library.
    is_usable = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value and value
    if not is_usable:
        raise TokenError(FailureReason.TOKEN_UNAVAILABLE, "token endpoint answered no usable token")
    return value, _parse_lifetime_s(life)


def _parse_lifetime_s(value: object) -> float:
    """Parse the lifetime of a token [s]: at most a day, and a short one if the endpoint returns none that is usable.

    RFC 6749 section 5.1 only recommends `expires_in`. A life that is shorter in truth costs one call, which is
    repeated with a new token.
    """
    try:
        life_s = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        life_s = math.nan
    return min(life_s, _LONGEST_LIFE_S) if _SHORTEST_LIFE_S <= life_s < math.inf else _DEFAULT_LIFETIME_S


class TokenIssuer(Protocol):
    """Issues access tokens."""

    async def request_token(self) -> Token:
        """Request a token.

        Raises:
            TokenError: there is none.
        """
        ...


class TokenCache:
    """Caches the one token of this process."""

    def __init__(self, issuer: TokenIssuer, clock: Clock, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._token: Token | None = None
        self._renewal = SingleFlight(self._renew)
        self._failure: TokenError | None = None
        # Spread, so that several agents do not ask in step.
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, spread=(0.8, 1.0))
        self._paused_until_s = 0.0

    async def get_token(self) -> Token:
        """Return a valid token; start its renewal in the background when that is due.

        Raises:
            TokenError: there is no valid token and none could be requested.
        """
        token, now = self._token, self._clock.now()
        if token is None or token.expires_at <= now:
            return await self._join_renewal()
        # If now is before the request, the clock was set back, and the remaining lifetime is unknown.
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
        # If the clock was set back the token's age is negative; treating that as young would block renewal.
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
            self._token = await self._issuer.request_token()
        except TokenError as failure:
            # An endpoint that is down or refuses is asked ever less often.
            pause_s = max(self._backoff.next_s(), failure.wait_s)
            self._paused_until_s = self._monotonic_s() + pause_s
            self._failure = failure
            fields = {"error": failure.reason.value, "reason": str(failure), "pause_s": pause_s}
            _logger.warning("token not renewed", extra=fields)
            raise
        self._failure, self._paused_until_s = None, 0.0
        self._backoff.reset()
        life_s = (self._token.expires_at - self._token.requested_at).total_seconds()
        _logger.info("token renewed", extra={"life_s": life_s})
        return self._token
