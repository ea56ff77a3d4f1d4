"""Gateway client: sends requests with tokens, call budgets, retries and a circuit breaker.

The protocol (REST or MCP) is up to a `ProtocolAdapter`. A call returns its result or raises `GatewayCallError`.
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
from charging_agent.gateway.calls import (
    OK,
    ApiRequest,
    Call,
    EmbeddedError,
    FailureReason,
    GatewayCallError,
    ProtocolAdapter,
    R,
    ReadingApi,
    RestAdapter,
)
from charging_agent.gateway.error_mapping import map_error, parse_retry_at
from charging_agent.gateway.http_client import BoundedResponse, RequestRunner
from charging_agent.gateway.tokens import Token, TokenCache, TokenError
from ev_service.clock import Clock
from ev_service.logs import correlation_id
from ev_service.middleware import CORRELATION_HEADER

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_ID = 64
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_OUTAGES = frozenset({FailureReason.TIMEOUT, FailureReason.GATEWAY_DOWN, FailureReason.BACKEND_FAILED})


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """Retries and timeouts of one call, in real time."""

    attempts: int = 2
    """Maximum number of attempts; after a failed call the next one gets a single attempt."""
    deadline_s: float = 4.0
    """No new attempt after this time [s]."""
    attempt_timeout_s: float = 2.5
    """Timeout of one attempt [s]."""


class CircuitBreaker:
    """Stops calls to a failing API for a while: longer each time, until it responds."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._pause_s = 0.0
        self._open_until_s = 0.0
        self._reason = FailureReason.GATEWAY_DOWN

    @property
    def is_half_open(self) -> bool:
        """Whether the last call failed; the next one is then a trial without retries."""
        return self._pause_s > 0

    def raise_if_open(self) -> None:
        """Raise while the breaker is open.

        Raises:
            GatewayCallError: the breaker is open, with the trouble that opened it.
        """
        if self._monotonic_s() < self._open_until_s:
            raise GatewayCallError(self._reason)

    def record_failure(self, reason: FailureReason) -> None:
        """Open the breaker after all attempts of a call have failed."""
        # Drawn, so that several agents do not come back in step.
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or _FIRST_PAUSE_S)
        self._open_until_s = self._monotonic_s() + self._pause_s * random.uniform(0.8, 1.2)  # noqa: S311
        self._reason = reason

    def record_success(self) -> None:
        """Close the breaker after a successful call."""
        self._pause_s = self._open_until_s = 0.0


class _TokenRejectedError(GatewayCallError):
    """A 401 that a newer token may help."""


@dataclass(slots=True)
class _AttemptState:
    """State of one attempt: what is known of its response so far."""

    correlation_id: str | None
    status: int | None = None
    # For what nobody thought of; every other end sets its own.
    outcome: str = FailureReason.INVALID_READING.value
    code: str | None = None

    def record_headers(self, answer: httpx.Response) -> None:
        """Record status and correlation id once the headers have arrived."""
        self.status = answer.status_code
        if (came_back := answer.headers.get(CORRELATION_HEADER)) is not None:
            self.correlation_id = came_back[:_LONGEST_ID]


class GatewayClient:
    """Fetches readings and sends other requests through the gateway."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        tokens: TokenCache,
        *,
        budget_of: Callable[[str], CallBudget],
        clock: Clock,
        plan: RetryPlan,
        dialect: ProtocolAdapter | None = None,
        on_call: Callable[[Call], None] = lambda _call: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._requests = RequestRunner(http)
        self._tokens = tokens
        self._budget_of = budget_of
        self._clock = clock
        self._plan = plan
        self._dialect = dialect or RestAdapter()
        self._on_call = on_call
        self._monotonic_s = monotonic_s
        self._breakers: dict[str, CircuitBreaker] = {}

    async def fetch(self, api: ReadingApi[R]) -> R:
        """Fetch one reading now.

        Raises:
            GatewayCallError: no reading could be had, and why.
        """
        send = partial(self._send_with_token, self._budget_of(api.name))
        return await self._call_with_breaker(
            api.name, partial(self._dialect.fetch, api, send), failed="reading not fetched"
        )

    async def send(self, exchange: ApiRequest[T]) -> T:
        """Send one REST request now; it may be sent twice.

        Raises:
            GatewayCallError: it brought no result, and why.
        """
        send = partial(self._send_with_token, self._budget_of(exchange.name), exchange)
        return await self._call_with_breaker(exchange.name, send, failed="call failed")

    async def stop(self) -> None:
        """End the requests that still run; the HTTP client must not be used afterwards."""
        await self._requests.stop()

    async def _call_with_breaker(self, name: str, work: Callable[[], Awaitable[T]], *, failed: str) -> T:
        breaker = self._breakers.setdefault(name, CircuitBreaker(self._monotonic_s))
        breaker.raise_if_open()
        try:
            result = await self._retry(work, 1 if breaker.is_half_open else self._plan.attempts)
        except GatewayCallError as failure:
            # Also where repeating at once is useless: a suspended backend must not eat the budget of a minute.
            if failure.reason in _OUTAGES:
                breaker.record_failure(failure.reason)
            _logger.warning(failed, extra={"api": name, "error": failure.reason.value, "code": failure.code})
            raise
        breaker.record_success()
        return result

    async def _retry(self, work: Callable[[], Awaitable[T]], attempts: int) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, GatewayCallError) and error.is_retryable),
            stop=stop_after_attempt(attempts) | stop_after_delay(self._plan.deadline_s),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            reraise=True,
        )
        return await retrying(work)

    async def _send_with_token(self, budget: CallBudget, exchange: ApiRequest[T]) -> T:
        try:
            token = await self._tokens.get_token()
            try:
                return await self._attempt(budget, exchange, token)
            except _TokenRejectedError:
                newer = await self._tokens.get_token_after_refusal(token)
                if newer is None:
                    raise
                return await self._attempt(budget, exchange, newer)
        except TokenError as failure:
            raise GatewayCallError(failure.reason) from failure

    async def _attempt(self, budget: CallBudget, exchange: ApiRequest[T], token: Token) -> T:
        if not budget.take(self._clock.now()):
            raise GatewayCallError(FailureReason.THROTTLED)
        with self._report_attempt(exchange) as seen:
            return self._parse(budget, exchange, await self._receive(exchange, token, seen))

    @contextmanager
    def _report_attempt(self, exchange: ApiRequest[Any]) -> Generator[_AttemptState]:
        """Report the attempt made within this context, however it ends."""
        seen, at = _AttemptState(correlation_id.get()), self._clock.now()
        try:
            yield seen
            seen.outcome = OK
        except GatewayCallError as failure:
            seen.outcome, seen.code = failure.reason.value, failure.code
            raise
        except asyncio.CancelledError:
            seen.outcome = FailureReason.TIMEOUT.value
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

    async def _receive(self, exchange: ApiRequest[Any], token: Token, seen: _AttemptState) -> BoundedResponse:
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
        most_bytes = exchange.max_bytes
        try:
            return await self._requests.run(
                request, deadline_s=deadline_s, max_bytes=most_bytes, on_headers=seen.record_headers
            )
        except httpx.TimeoutException as error:
            raise GatewayCallError(FailureReason.TIMEOUT, is_retryable=True) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise GatewayCallError(FailureReason.GATEWAY_DOWN, is_retryable=True) from error

    def _parse(self, budget: CallBudget, exchange: ApiRequest[T], answer: BoundedResponse) -> T:
        headers, body = answer.headers, answer.body
        if answer.status != 200:
            raise self._call_error(budget, answer.status, headers, body, is_the_gateways=True)
        try:
            if len(body) > exchange.max_bytes:
                raise ValueError("longer than any answer")
            return exchange.parse(body)
        except EmbeddedError as refused:
            raise self._call_error(budget, refused.status, headers, refused.body, is_the_gateways=False) from refused
        except (ValueError, RecursionError) as error:
            raise GatewayCallError(FailureReason.INVALID_READING) from error

    def _call_error(
        self, budget: CallBudget, status: int, headers: Mapping[str, str], body: bytes, *, is_the_gateways: bool
    ) -> GatewayCallError:
        refusal = map_error(status, body)
        if refusal.reason is FailureReason.THROTTLED:
            now = self._clock.now()
            budget.close_until(parse_retry_at(headers, body, now, budget.window_end(now)), now, refusal.code)
        # What a tool says about tokens is not about this one: the gateway has just taken it.
        if status == 401 and refusal.renews_token and is_the_gateways:
            return _TokenRejectedError(refusal.reason, code=refusal.code)
        return GatewayCallError(
            refusal.reason, is_retryable=refusal.is_retryable, code=refusal.code, detail=refusal.detail
        )
