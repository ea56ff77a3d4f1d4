"""The one door to the outside: fetches readings through the gateway, with care for its limits.

The only module that knows tokens and the gateway's answers. Everything it can meet comes back as a reading or as
CallFailed with one word of trouble.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import ValidationError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

from charging_agent.answers import refusal_of, wait_until
from charging_agent.apis import Api
from charging_agent.bodies import read_at_most
from charging_agent.budget import CallBudget
from charging_agent.readings import R, Trouble
from charging_agent.tokens import Token, TokenCache, TokenFailed
from ev_service.clock import Clock
from ev_service.logs import correlation_id
from ev_service.observation import CORRELATION_HEADER

_logger = logging.getLogger(__name__)

_LARGEST_READING = 64 * 1024
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_OUTAGES = frozenset({Trouble.TIMEOUT, Trouble.GATEWAY_DOWN, Trouble.BACKEND_FAILED})


class CallFailed(Exception):
    """A call brought no reading."""

    def __init__(self, trouble: Trouble, *, is_retryable: bool = False, code: str | None = None) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble
        self.is_retryable = is_retryable
        self.code = code


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """How often and how long one call is tried, in real time.

    attempts: at the most; a call that follows a failed one gets a single attempt.
    deadline_s [s]: no new attempt after it. attempt_timeout_s [s]: for one attempt.
    """

    attempts: int = 2
    deadline_s: float = 4.0
    attempt_timeout_s: float = 2.5


class Breaker:
    """Keeps a failing API from being asked for a while: longer each time, until an answer comes."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._pause_s = 0.0
        self._open_until_s = 0.0
        self._trouble = Trouble.GATEWAY_DOWN

    @property
    def is_half_open(self) -> bool:
        """Whether the last call failed: the next one is a trial, not worth repeating."""
        return self._pause_s > 0

    def check(self) -> None:
        """Let a call pass.

        Raises:
            CallFailed: the breaker is open, with the trouble that opened it.
        """
        if self._monotonic_s() < self._open_until_s:
            raise CallFailed(self._trouble)

    def failed(self, trouble: Trouble) -> None:
        """Every attempt of a call failed: open."""
        # Drawn, so that several agents do not come back in step.
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or _FIRST_PAUSE_S)
        self._open_until_s = self._monotonic_s() + self._pause_s * random.uniform(0.8, 1.2)  # noqa: S311
        self._trouble = trouble

    def answered(self) -> None:
        """The API answered: close."""
        self._pause_s = self._open_until_s = 0.0


class GatewayClient:
    """Fetches readings.

    Args:
        http: client with the gateway's base URL and CA.
        tokens: the token of this process.
        budget_of: the call budget of each API, by name.
        clock: the run's clock.
        plan: retries.
        on_call: told the API's name and the outcome of every attempt, for metrics.
        monotonic_s: real time [s] for the breaker.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        tokens: TokenCache,
        *,
        budget_of: Callable[[str], CallBudget],
        clock: Clock,
        plan: RetryPlan,
        on_call: Callable[[str, str], None] = lambda _api, _outcome: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._budget_of = budget_of
        self._clock = clock
        self._plan = plan
        self._on_call = on_call
        self._monotonic_s = monotonic_s
        self._breakers: dict[str, Breaker] = {}

    async def fetch(self, api: Api[R]) -> R:
        """One reading, fetched now.

        Raises:
            CallFailed: no reading could be had, and why.
        """
        breaker = self._breakers.setdefault(api.name, Breaker(self._monotonic_s))
        breaker.check()
        try:
            reading = await self._with_retries(api, 1 if breaker.is_half_open else self._plan.attempts)
        except CallFailed as failure:
            # Also where repeating at once is useless: a suspended backend must not eat the budget of a minute.
            if failure.trouble in _OUTAGES:
                breaker.failed(failure.trouble)
            fields = {"api": api.name, "error": failure.trouble.value, "code": failure.code}
            _logger.warning("reading not fetched", extra=fields)
            raise
        breaker.answered()
        return reading

    async def _with_retries(self, api: Api[R], attempts: int) -> R:
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, CallFailed) and error.is_retryable),
            stop=stop_after_attempt(attempts) | stop_after_delay(self._plan.deadline_s),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            reraise=True,
        )
        return await retrying(self._attempt, api)

    async def _attempt(self, api: Api[R]) -> R:
        try:
            token = await self._tokens.usable()
            status, headers, body = await self._get(api, token)
            if status == 401 and refusal_of(status, body).renews_token:
                newer = await self._tokens.after_refusal(token)
                if newer is not None:
                    status, headers, body = await self._get(api, newer)
        except TokenFailed as failure:
            raise CallFailed(failure.trouble) from failure
        return self._reading(api, status, headers, body)

    async def _get(self, api: Api[Any], token: Token) -> tuple[int, httpx.Headers, bytes]:
        if not self._budget_of(api.name).take(self._clock.now()):
            raise CallFailed(Trouble.THROTTLED)
        headers = {"Authorization": f"Bearer {token.value}", "Accept": "application/json"}
        if (current := correlation_id.get()) is not None:
            headers[CORRELATION_HEADER] = current
        outcome = "failed"
        try:
            # The HTTP library bounds each read, not the whole: a backend that trickles would never end.
            async with (
                asyncio.timeout(self._plan.attempt_timeout_s),
                self._http.stream("GET", api.path, headers=headers) as answer,
            ):
                outcome = str(answer.status_code)
                return answer.status_code, answer.headers, await read_at_most(answer, _LARGEST_READING)
        except (httpx.TimeoutException, TimeoutError) as error:
            outcome = Trouble.TIMEOUT.value
            raise CallFailed(Trouble.TIMEOUT, is_retryable=True) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            outcome = Trouble.GATEWAY_DOWN.value
            raise CallFailed(Trouble.GATEWAY_DOWN, is_retryable=True) from error
        finally:
            self._on_call(api.name, outcome)

    def _reading(self, api: Api[R], status: int, headers: httpx.Headers, body: bytes) -> R:
        if status == 200:
            if len(body) > _LARGEST_READING:
                raise CallFailed(Trouble.INVALID_READING)
            try:
                return api.model.model_validate_json(body)
            except ValidationError as error:
                raise CallFailed(Trouble.INVALID_READING) from error
        refusal = refusal_of(status, body)
        if refusal.trouble is Trouble.THROTTLED:
            now, budget = self._clock.now(), self._budget_of(api.name)
            budget.close_until(wait_until(headers, body, now, budget.window_end(now)), now)
        raise CallFailed(refusal.trouble, is_retryable=refusal.is_retryable, code=refusal.code)
