"""One request to the token endpoint: OAuth2 client credentials with HTTP Basic.

Knows the endpoint's answers, not when to ask: that is `charging_agent.tokens`.
"""

import asyncio
import json
import math
from datetime import timedelta
from typing import Any, cast

import httpx

from charging_agent.bodies import read_at_most
from charging_agent.credentials import Credentials, CredentialSource
from charging_agent.readings import Trouble
from charging_agent.tokens import Token, TokenFailed
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError

_LARGEST_ANSWER = 64 * 1024
# The HTTP library bounds each read, not the whole: an endpoint that trickles would hold every caller.
_WHOLE_S = 5.0


class TokenEndpoint:
    """Asks for tokens.

    Args:
        http: client that trusts the endpoint's certificate.
        url: the token endpoint, whole.
        scopes: what the token must hold, space separated.
        source: credentials, read again when they are refused.
        clock: the run's clock.
    """

    def __init__(
        self, http: httpx.AsyncClient, *, url: str, scopes: str, source: CredentialSource, clock: Clock
    ) -> None:
        self._http = http
        self._url = url
        self._scopes = scopes
        self._source = source
        self._clock = clock
        self._credentials: Credentials | None = None

    async def request(self) -> Token:
        """Ask once, and once more when the credentials have changed since they were read.

        Raises:
            TokenFailed: refused (4xx), or the endpoint did not answer as a token endpoint does.
        """
        used = self._credentials or self._read()
        try:
            return await self._ask(used)
        except TokenFailed as refused:
            if refused.trouble is not Trouble.TOKEN_REFUSED or (now_there := self._read(refused)) == used:
                raise
            return await self._ask(now_there)

    def _read(self, refused: TokenFailed | None = None) -> Credentials:
        try:
            self._credentials = self._source.read()
        except ConfigurationError as error:
            # Credentials that were refused and can not be read again are still refused.
            raise refused or TokenFailed(Trouble.TOKEN_UNAVAILABLE, error.message) from error
        return self._credentials

    async def _ask(self, credentials: Credentials) -> Token:
        asked_at = self._clock.now()
        try:
            async with asyncio.timeout(_WHOLE_S):
                status, body = await self._post(credentials)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise TokenFailed(Trouble.TOKEN_UNAVAILABLE, f"token endpoint: {type(error).__name__}") from error
        if 400 <= status < 500:
            raise TokenFailed(Trouble.TOKEN_REFUSED, f"token endpoint answered {status}")
        if status != 200 or len(body) > _LARGEST_ANSWER:
            raise TokenFailed(Trouble.TOKEN_UNAVAILABLE, f"token endpoint answered {status}")
        value, life_s = _read_answer(body)
        return Token(value, asked_at, asked_at + timedelta(seconds=life_s))

    async def _post(self, credentials: Credentials) -> tuple[int, bytes]:
        form = {"grant_type": "client_credentials", "scope": self._scopes}
        basic = httpx.BasicAuth(credentials.client_id, credentials.client_secret.get_secret_value())
        async with self._http.stream("POST", self._url, data=form, auth=basic) as answer:
            return answer.status_code, await read_at_most(answer, _LARGEST_ANSWER)


def _read_answer(body: bytes) -> tuple[str, float]:
    try:
        content = cast(dict[str, Any], json.loads(body))
        value, life_s = content["access_token"], float(content["expires_in"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TokenFailed(Trouble.TOKEN_UNAVAILABLE, "token endpoint answered no token") from error
    # A value that can not stand in a header would fail every call with an error of the HTTP library.
    is_usable = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value and value
    if not is_usable or not 0 < life_s < math.inf:
        raise TokenFailed(Trouble.TOKEN_UNAVAILABLE, "token endpoint answered no usable token")
    return value, min(life_s, timedelta(days=1).total_seconds())
