"""The one door to the outside: takes readings and sets limits through the gateway, with care for its own.

The only module that knows tokens and the gateway's answers; which protocol is spoken is a dialect's business.
Everything it can meet comes back as a result or as CallFailed with one word of trouble.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

from charging_agent.gateway.budget import CallBudget
from charging_agent.gateway.call_log import OK, Call, Trouble
from charging_agent.gateway.error_mapping import refusal_of, wait_until
from charging_agent.gateway.http_client import Answer, RequestRunner
from charging_agent.gateway.protocol import Api, CallFailed, Dialect, Exchange, R, Refused
from charging_agent.gateway.rest import Rest
from charging_agent.gateway.tokens import Token, TokenCache, TokenFailed
from ev_service.clock import Clock
from ev_service.logs import correlation_id
from ev_service.observation import CORRELATION_HEADER

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_ID = 64
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_OUTAGES = frozenset({Trouble.TIMEOUT, Trouble.GATEWAY_DOWN, Trouble.BACKEND_FAILED})


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


class _TokenRefused(CallFailed):
    """A 401 that a newer token may help."""


@dataclass(slots=True)
class _Seen:
    """What one attempt has seen of its answer so far."""

    correlation_id: str | None
    status: int | None = None
    # For what nobody thought of; every other end sets its own.
    outcome: str = Trouble.INVALID_READING.value
    code: str | None = None

    def note(self, answer: httpx.Response) -> None:
        """Its headers have come."""
        self.status = answer.status_code
        if (came_back := answer.headers.get(CORRELATION_HEADER)) is not None:
            self.correlation_id = came_back[:_LONGEST_ID]


class GatewayClient:
    """Fetches readings, and makes any other exchange with the same care.

    Args:
        http: client with the gateway's base URL and CA.
        tokens: the token of this process.
        budget_of: the call budget of each API, by name.
        clock: the run's clock.
        plan: retries.
        dialect: the protocol that is spoken.
        on_call: told every attempt with its outcome.
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
        dialect: Dialect | None = None,
        on_call: Callable[[Call], None] = lambda _call: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._requests = RequestRunner(http)
        self._tokens = tokens
        self._budget_of = budget_of
        self._clock = clock
        self._plan = plan
        self._dialect = dialect or Rest()
        self._on_call = on_call
        self._monotonic_s = monotonic_s
        self._breakers: dict[str, Breaker] = {}

    async def fetch(self, api: Api[R]) -> R:
        """One reading, fetched now.

        Raises:
            CallFailed: no reading could be had, and why.
        """
        send = partial(self._send, self._budget_of(api.name))
        return await self._governed(api.name, partial(self._dialect.read, api, send), failed="reading not fetched")

    async def ask(self, exchange: Exchange[T]) -> T:
        """One exchange over REST, made now; it may be made twice.

        Raises:
            CallFailed: it brought no result, and why.
        """
        send = partial(self._send, self._budget_of(exchange.name), exchange)
        return await self._governed(exchange.name, send, failed="call failed")

    async def stop(self) -> None:
        """End the requests that still run; the HTTP client must not be used afterwards."""
        await self._requests.stop()

    async def _governed(self, name: str, work: Callable[[], Awaitable[T]], *, failed: str) -> T:
        breaker = self._breakers.setdefault(name, Breaker(self._monotonic_s))
        breaker.check()
        try:
            result = await self._with_retries(work, 1 if breaker.is_half_open else self._plan.attempts)
        except CallFailed as failure:
            # Also where repeating at once is useless: a suspended backend must not eat the budget of a minute.
            if failure.trouble in _OUTAGES:
                breaker.failed(failure.trouble)
            _logger.warning(failed, extra={"api": name, "error": failure.trouble.value, "code": failure.code})
            raise
        breaker.answered()
        return result

    async def _with_retries(self, work: Callable[[], Awaitable[T]], attempts: int) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, CallFailed) and error.is_retryable),
            stop=stop_after_attempt(attempts) | stop_after_delay(self._plan.deadline_s),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            reraise=True,
        )
        return await retrying(work)

    async def _send(self, budget: CallBudget, exchange: Exchange[T]) -> T:
        try:
            token = await self._tokens.usable()
            try:
                return await self._attempt(budget, exchange, token)
            except _TokenRefused:
                newer = await self._tokens.after_refusal(token)
                if newer is None:
                    raise
                return await self._attempt(budget, exchange, newer)
        except TokenFailed as failure:
            raise CallFailed(failure.trouble) from failure

    async def _attempt(self, budget: CallBudget, exchange: Exchange[T], token: Token) -> T:
        if not budget.take(self._clock.now()):
            raise CallFailed(Trouble.THROTTLED)
        with self._told(exchange) as seen:
            return self._read(budget, exchange, await self._answer(exchange, token, seen))

    @contextmanager
    def _told(self, exchange: Exchange[Any]) -> Generator[_Seen]:
        """Tell the attempt that is made within, however it ends."""
        seen, at = _Seen(correlation_id.get()), self._clock.now()
        try:
            yield seen
            seen.outcome = OK
        except CallFailed as failure:
            seen.outcome, seen.code = failure.trouble.value, failure.code
            raise
        except asyncio.CancelledError:
            seen.outcome = Trouble.TIMEOUT.value
            raise
        finally:
            self._on_call(
                Call(
                    api=exchange.name,
                    protocol=exchange.protocol,
                    resource=exchange.resource,
                    at=at,
                    status=seen.status,
                    outcome=seen.outcome,
                    code=seen.code,
                    correlation_id=seen.correlation_id,
                )
            )

    async def _answer(self, exchange: Exchange[Any], token: Token, seen: _Seen) -> Answer:
        headers = {**exchange.headers, "Authorization": f"Bearer {token.value}"}
        if seen.correlation_id is not None:
            headers[CORRELATION_HEADER] = seen.correlation_id
        deadline_s = exchange.timeout_s or self._plan.attempt_timeout_s
        request = self._http.build_request(
            exchange.method,
            exchange.path,
            params=exchange.query or None,
            headers=headers,
            content=exchange.content,
            timeout=deadline_s,
        )
        most_bytes = exchange.most_bytes
        try:
            return await self._requests.run(request, deadline_s=deadline_s, most_bytes=most_bytes, on_headers=seen.note)
        except httpx.TimeoutException as error:
            raise CallFailed(Trouble.TIMEOUT, is_retryable=True) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise CallFailed(Trouble.GATEWAY_DOWN, is_retryable=True) from error

    def _read(self, budget: CallBudget, exchange: Exchange[T], answer: Answer) -> T:
        headers, body = answer.headers, answer.body
        if answer.status != 200:
            raise self._failure(budget, answer.status, headers, body, is_the_gateways=True)
        try:
            if len(body) > exchange.most_bytes:
                raise ValueError("longer than any answer")
            return exchange.read(body)
        except Refused as refused:
            raise self._failure(budget, refused.status, headers, refused.body, is_the_gateways=False) from refused
        except (ValueError, RecursionError) as error:
            raise CallFailed(Trouble.INVALID_READING) from error

    def _failure(
        self, budget: CallBudget, status: int, headers: Mapping[str, str], body: bytes, *, is_the_gateways: bool
    ) -> CallFailed:
        refusal = refusal_of(status, body)
        if refusal.trouble is Trouble.THROTTLED:
            now = self._clock.now()
            budget.close_until(wait_until(headers, body, now, budget.window_end(now)), now, refusal.code)
        # What a tool says about tokens is not about this one: the gateway has just taken it.
        if status == 401 and refusal.renews_token and is_the_gateways:
            return _TokenRefused(refusal.trouble, code=refusal.code)
        return CallFailed(refusal.trouble, is_retryable=refusal.is_retryable, code=refusal.code, detail=refusal.detail)
