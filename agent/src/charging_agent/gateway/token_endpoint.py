"""Requests access tokens: OAuth 2.0 client credentials with HTTP Basic.

`charging_agent.gateway.tokens` decides when to request one.
"""

import json
import math
from datetime import timedelta
from typing import Any, cast

import httpx

from charging_agent.gateway.call_log import FailureReason
from charging_agent.gateway.credentials import Credentials, CredentialSource
from charging_agent.gateway.http_client import BoundedResponse, RequestRunner
from charging_agent.gateway.tokens import Token, TokenError
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from wso2_terms.basic_credentials import encode_client
from wso2_terms.windows import parse_retry_after

_MAX_RESPONSE_BYTES = 64 * 1024
_TIMEOUT_S = 5.0
# One at a time is asked for; the others are former ones that nobody waits for any more.
_MAX_REQUESTS = 4
# A header that was set wrong must not end the agent.
_MAX_WAIT_S = 3600.0
# A token of less would be asked for again at every call.
_SHORTEST_LIFE_S, _LONGEST_LIFE_S = 1.0, timedelta(days=1).total_seconds()
_DEFAULT_LIFETIME_S = 300.0


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
        used = self._credentials or self._read_credentials()
        try:
            return await self._request_with(used)
        except TokenError as refused:
            if (
                refused.reason is not FailureReason.TOKEN_REFUSED
                or (now_there := self._read_credentials(refused)) == used
            ):
                raise
            return await self._request_with(now_there)

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
        said = f"token endpoint answered {answer.status}"
        if 400 <= answer.status < 500 and answer.status != 429:
            return TokenError(FailureReason.TOKEN_REFUSED, said)
        now = self._clock.now()
        until = parse_retry_after(answer.headers.get("retry-after", ""), now)
        is_a_wait = until is not None and (answer.status == 429 or answer.status >= 500)
        wait_s = (until - now).total_seconds() if until is not None and is_a_wait else 0.0
        return TokenError(FailureReason.TOKEN_UNAVAILABLE, said, wait_s=min(max(0.0, wait_s), _MAX_WAIT_S))


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


def _parse_lifetime_s(said: object) -> float:
    """Parse the lifetime of a token [s]: at most a day, and a short one if the endpoint returns none that is usable.

    RFC 6749 section 5.1 only recommends `expires_in`. A life that is shorter in truth costs one call, which is
    repeated with a new token.
    """
    try:
        life_s = float(said) if isinstance(said, int | float | str) and not isinstance(said, bool) else math.nan
    except (ValueError, OverflowError):
        life_s = math.nan
    return min(life_s, _LONGEST_LIFE_S) if _SHORTEST_LIFE_S <= life_s < math.inf else _DEFAULT_LIFETIME_S
