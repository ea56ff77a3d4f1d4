"""Gateway client: sends requests with tokens, call budgets, retries and a circuit breaker.

The protocol (REST or MCP) is up to a `ProtocolAdapter`. A call returns its result or raises `GatewayCallError`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

from charging_agent.gateway.budget import CallBudget
from charging_agent.gateway.calls import (
    OK,
    ApiRequest,
    Call,
    CallListener,
    EmbeddedError,
    FailureReason,
    GatewayCallError,
    ProtocolAdapter,
    R,
    ReadingApi,
    RestAdapter,
    T,
)
from charging_agent.gateway.error_mapping import map_error, parse_retry_at
from charging_agent.gateway.http_client import BoundedResponse, RequestRunner
from charging_agent.gateway.tokens import Token, TokenCache, TokenError
from ev_service.clock import Clock
from ev_service.logs import correlation_id
from ev_service.middleware import CORRELATION_HEADER
from ev_service.tasks import Backoff

_logger = logging.getLogger(__name__)

_LONGEST_ID = 64
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_LAST_ATTEMPT = "the last attempt returns or raises"
_OUTAGES = frozenset({FailureReason.TIMEOUT, FailureReason.GATEWAY_DOWN, FailureReason.BACKEND_FAILED})


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """Retries and timeouts of calls, in real time, and how many run at once."""

    attempts: int = 2
    """Maximum number of attempts; after a failed call the next one gets a single attempt."""
    deadline_s: float = 4.0
    """No new attempt after this time [s]."""
    attempt_timeout_s: float = 2.5
    """Timeout of one attempt [s]."""
    max_requests: int = 20
    """Attempts that may run at the same time, those that their caller no longer waits for included."""


class CircuitBreaker:
    """Stops calls to a failing API for a while: longer each time, until it responds."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        # Spread, so that several agents do not come back in step.
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, spread=(0.8, 1.2))
        self._open_until_s = 0.0
        self._reason: FailureReason | None = None

    @property
    def is_half_open(self) -> bool:
        """Whether the last call failed; the next one is then a trial without retries."""
        return self._reason is not None

    def raise_if_open(self) -> None:
        """Raise while the breaker is open.

        Raises:
            GatewayCallError: the breaker is open, with the failure that opened it.
        """
        if self._reason is not None and self._monotonic_s() < self._open_until_s:
            raise GatewayCallError(self._reason)

    def record_failure(self, reason: FailureReason) -> None:
        """Open the breaker after all attempts of a call have failed."""
        self._reason = reason
        self._open_until_s = self._monotonic_s() + self._backoff.next_s()

    def record_success(self) -> None:
        """Close the breaker after a successful call."""
        self._reason = None
        self._backoff.reset()


class _TokenRejectedError(GatewayCallError):
    """A 401 that a newer token may help."""


@dataclass(slots=True)
class _AttemptState:
    """State of one attempt: what is known of its response so far."""

    correlation_id: str | None
    status: int | None = None
    # For any error that is not mapped below.
    outcome: str = FailureReason.INVALID_READING.value
    code: str | None = None

    def record_headers(self, response: httpx.Response) -> None:
        """Record status and correlation id once the headers have arrived."""
        self.status = response.status_code
        if (came_back := response.headers.get(CORRELATION_HEADER)) is not None:
            self.correlation_id = came_back[:_LONGEST_ID]


class GatewayClient:
    """Fetches readings and sends other requests through the gateway."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        tokens: TokenCache,
        *,
        budgets: Mapping[str, CallBudget],
        clock: Clock,
        plan: RetryPlan,
        adapter: ProtocolAdapter | None = None,
        listeners: Sequence[CallListener] = (),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._requests = RequestRunner(http, plan.max_requests)
        self._tokens = tokens
        self._budgets = budgets
        self._clock = clock
        self._plan = plan
        self._adapter = adapter or RestAdapter()
        self._listeners = listeners
        self._breakers = {name: CircuitBreaker(monotonic_s) for name in budgets}

    async def fetch(self, api: ReadingApi[R]) -> R:
        """Fetch one reading now.

        Raises:
            GatewayCallError: no reading could be had, and why.
        """
        with self._open_attempts(api.name, "reading not fetched") as attempts:
            async for attempt in attempts:
                with attempt:
                    return await self._adapter.fetch(api, self)
        raise AssertionError(_LAST_ATTEMPT)

    async def fetch_once(self, api: ReadingApi[R]) -> R:
        """Fetch what is asked for seldom: without retries, and its failures keep no reading of the same API back.

        Raises:
            GatewayCallError: it could not be had, and why.
        """
        return await self._adapter.fetch(api, self)

    async def send(self, request: ApiRequest[T]) -> T:
        """Send one REST request now; it may be sent twice.

        Raises:
            GatewayCallError: it brought no result, and why.
        """
        with self._open_attempts(request.name, "call failed") as attempts:
            async for attempt in attempts:
                with attempt:
                    return await self.send_request(request)
        raise AssertionError(_LAST_ATTEMPT)

    async def send_request(self, request: ApiRequest[T]) -> T:
        """Send one request with token and call budget, without retries; once more if a newer token may help.

        Raises:
            GatewayCallError: it brought no result, and why.
        """
        try:
            token = await self._tokens.get_token()
            try:
                return await self._attempt(request, token)
            except _TokenRejectedError:
                newer = await self._tokens.get_token_after_refusal(token)
                if newer is None:
                    raise
                return await self._attempt(request, newer)
        except TokenError as failure:
            raise GatewayCallError(failure.reason) from failure

    async def stop(self) -> None:
        """End the requests that still run; the HTTP client must not be used afterwards."""
        await self._requests.stop()

    @contextmanager
    def _open_attempts(self, name: str, failure_event: str) -> Generator[AsyncRetrying]:
        """Yield the attempts of one call, unless its breaker is open, and tell the breaker the result."""
        breaker = self._breakers[name]
        breaker.raise_if_open()
        attempts = 1 if breaker.is_half_open else self._plan.attempts
        try:
            yield AsyncRetrying(
                retry=retry_if_exception(lambda error: isinstance(error, GatewayCallError) and error.is_retryable),
                stop=stop_after_attempt(attempts) | stop_after_delay(self._plan.deadline_s),
                wait=wait_random_exponential(multiplier=0.1, max=1.0),
                reraise=True,
            )
        except GatewayCallError as failure:
            # Also where repeating at once is useless: a suspended backend must not eat the budget of a minute.
            if failure.reason in _OUTAGES:
                breaker.record_failure(failure.reason)
            fields = {"api": name, "error": failure.reason.value, "code": failure.code}
            _logger.warning(failure_event, extra=fields)
            raise
        breaker.record_success()

    async def _attempt(self, request: ApiRequest[T], token: Token) -> T:
        budget, at = self._budgets[request.budget_name or request.name], self._clock.now()
        if not budget.take(at):
            raise GatewayCallError(FailureReason.THROTTLED)
        state = _AttemptState(correlation_id.get())
        try:
            result = self._parse(budget, request, await self._receive(request, token, state))
            state.outcome = OK
        except GatewayCallError as failure:
            state.outcome, state.code = failure.reason.value, failure.code
            raise
        except asyncio.CancelledError:
            state.outcome = FailureReason.TIMEOUT.value
            raise
        finally:
            call = Call(
                api=request.name,
                protocol=request.protocol,
                resource=request.resource,
                at=at,
                status=state.status,
                outcome=state.outcome,
                code=state.code,
                correlation_id=state.correlation_id,
            )
            for listener in self._listeners:
                listener.report_call(call)
        return result

    async def _receive(self, request: ApiRequest[Any], token: Token, state: _AttemptState) -> BoundedResponse:
        headers = {**request.headers, "Authorization": f"Bearer {token.value}"}
        if state.correlation_id is not None:
            headers[CORRELATION_HEADER] = state.correlation_id
        deadline_s = request.timeout_s or self._plan.attempt_timeout_s
        http_request = self._http.build_request(
            request.method,
            request.path,
            params=request.query or None,
            headers=headers,
            content=request.content,
            timeout=deadline_s,
        )
        try:
            return await self._requests.run(
                http_request, deadline_s=deadline_s, max_bytes=request.max_bytes, listener=state
            )
        except httpx.TimeoutException as error:
            raise GatewayCallError(FailureReason.TIMEOUT, is_retryable=True) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise GatewayCallError(FailureReason.GATEWAY_DOWN, is_retryable=True) from error

    def _parse(self, budget: CallBudget, request: ApiRequest[T], answer: BoundedResponse) -> T:
        headers, body = answer.headers, answer.body
        if answer.status != 200:
            raise self._call_error(budget, answer.status, headers, body, is_the_gateways=True)
        try:
            if len(body) > request.max_bytes:
                raise ValueError("response too long")
            return request.parse_response(body)
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
