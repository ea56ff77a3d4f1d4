"""The market's prices from the web: Energy-Charts, aWATTar, Tibber, ENTSO-E, or any address that answers our JSON.

One request every few minutes, with timeouts, a bound on its size and a few retries; TLS is verified.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ev_service.clock import Clock
from ev_service.tasks import run_in_background
from grid_service.prices.feeds import MAX_BYTES, FeedState, Parse, PriceStore

MIN_REFRESH_S = 300.0
"""Shortest time between two refreshes [s]: public sources ask for few calls, and prices change once a day."""

_ATTEMPTS = 3
_LONGEST_PAUSE_S = 20.0
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVERALL_TIMEOUTS = 3.0
_TIBBER_QUERY = (
    "{ viewer { homes { currentSubscription { priceInfo(resolution: QUARTER_HOURLY) "
    "{ today { total energy tax startsAt currency } tomorrow { total energy tax startsAt currency } } } } } }"
)
_BEFORE, _AFTER = timedelta(days=1), timedelta(days=3)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """One request for prices."""

    url: str
    """Address without a query."""

    method: str = "GET"
    """HTTP method."""

    params: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Query; may hold a token, which ENTSO-E takes there alone: never logged, never in an error."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Headers; may hold a token."""

    json: Any = None
    """Body, if any."""


def energy_charts_request(url: str, zone: str, now: datetime) -> PriceRequest:
    """Ask Energy-Charts for the prices of a bidding zone, such as `DE-LU`."""
    start, end = (moment.date().isoformat() for moment in _span(now))
    return PriceRequest(url, params={"bzn": zone, "start": start, "end": end})


def awattar_request(url: str, now: datetime) -> PriceRequest:
    """Ask aWATTar for all prices that are known from yesterday on; times are in ms."""
    start, end = (str(int(moment.timestamp() * 1000)) for moment in _span(now))
    return PriceRequest(url, params={"start": start, "end": end})


def tibber_request(url: str, token: SecretStr) -> PriceRequest:
    """Ask Tibber for the prices of today and tomorrow, by quarter hours."""
    authorization = {"Authorization": f"Bearer {token.get_secret_value()}"}
    return PriceRequest(url, "POST", headers=authorization, json={"query": _TIBBER_QUERY})


def entsoe_request(url: str, zone: str, token: SecretStr, now: datetime) -> PriceRequest:
    """Ask ENTSO-E for day-ahead prices of a bidding zone, by its EIC code such as `10Y1001A1001A82H`."""
    start, end = (moment.strftime("%Y%m%d0000") for moment in _span(now))
    params = {"securityToken": token.get_secret_value(), "documentType": "A44", "in_Domain": zone, "out_Domain": zone}
    return PriceRequest(url, params=params | {"periodStart": start, "periodEnd": end})


def _span(now: datetime) -> tuple[datetime, datetime]:
    return now - _BEFORE, now + _AFTER


class PriceFetchError(Exception):
    """An attempt that brought no answer; its text says why and holds no address."""


class _TransientError(PriceFetchError):
    pass


@dataclass(frozen=True, slots=True)
class HttpTiming:
    """How quickly things are done, in real time."""

    refresh_s: float = 900.0
    """From one refresh to the next [s]."""

    timeout_s: float = 10.0
    """How long each step of an attempt may take [s]; the whole attempt three times as long."""

    first_pause_s: float = 1.0
    """Longest pause after the first failed attempt of a refresh [s]; it doubles, and a random part is taken off."""


class HttpFeed:
    """Prices that are fetched when the service starts and every few minutes from then on.

    Args:
        build_request: builds the request of each refresh from the present time.
        parse: of each answer.
        clock: the run's clock.
        create_context: gives the TLS context of each connection's client.
        timing: how quickly things are done.
        transport: else the network.
    """

    def __init__(
        self,
        build_request: Callable[[datetime], PriceRequest],
        parse: Parse,
        clock: Clock,
        create_context: Callable[[], ssl.SSLContext],
        timing: HttpTiming | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._build_request, self._clock, self._create_context = build_request, clock, create_context
        self._timing, self._transport = timing or HttpTiming(), transport
        self._store = PriceStore(parse, clock, "the source of prices has not answered yet")

    def read(self) -> FeedState:
        """Return the newest prices that came."""
        return self._store.state

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Refresh in the background: who reads prices never causes a call."""
        async with run_in_background(self._run()):
            yield

    async def _run(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self._timing.refresh_s)

    async def refresh(self) -> None:
        """Fetch once, with retries; a failure is kept as the feed's error."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=self._timing.first_pause_s, max=_LONGEST_PAUSE_S),
            retry=retry_if_exception_type(_TransientError),
            reraise=True,
        )
        try:
            self._store.accept(await retrying(self._fetch))
        except PriceFetchError as error:
            self._store.report(str(error))
        except Exception:
            # Whatever goes wrong with one answer must not end the refreshing for good.
            _logger.exception("prices not fetched")
            self._store.report("prices were not fetched; the service's log has the reason")

    async def _fetch(self) -> bytes:
        request, timeout_s = self._build_request(self._clock.now()), self._timing.timeout_s
        try:
            async with (
                asyncio.timeout(timeout_s * _OVERALL_TIMEOUTS),
                httpx.AsyncClient(
                    timeout=timeout_s, transport=self._transport, verify=self._create_context()
                ) as client,
                client.stream(
                    request.method, request.url, params=request.params, headers=request.headers, json=request.json
                ) as response,
            ):
                return await _read_bounded(response)
        except TimeoutError as error:
            raise _TransientError("the source of prices answers too slowly") from error
        except httpx.HTTPError as error:
            # The error's own text may hold the address, and that a token.
            raise _TransientError(f"the source of prices does not answer: {type(error).__name__}") from None


async def _read_bounded(response: httpx.Response) -> bytes:
    if response.status_code in _RETRYABLE:
        raise _TransientError(f"the source of prices answered {response.status_code}")
    if response.status_code != HTTPStatus.OK:
        raise PriceFetchError(f"the source of prices answered {response.status_code}")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise PriceFetchError(f"the answer is longer than {MAX_BYTES} bytes")
    return bytes(content)
