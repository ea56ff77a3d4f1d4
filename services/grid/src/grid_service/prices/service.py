"""GET /grid-prices: the route, and what it reads."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query

from ev_service.clock import Clock
from ev_service.errors import EvError
from ev_service.prices import MAX_HOURS, GridPrices
from ev_service.settings import SiteSettings
from ev_service.web import through_gateway
from grid_service import APICONTEXT
from grid_service.prices.assembly import PriceInputs, build_prices
from grid_service.prices.settings import PriceSettings, create_co2_feed, create_feed, open_tariff


class PricesNotConfiguredError(EvError):
    """The site has no prices."""

    code = "prices_not_configured"
    http_status = 404


class PriceService:
    """Prices and carbon of one site.

    Args:
        settings: where they come from.
        site: the site.
        clock: the run's clock.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """

    def __init__(self, settings: PriceSettings, site: SiteSettings, clock: Clock) -> None:
        self._settings, self._site, self._clock = settings, site, clock
        self._read_tariff = open_tariff(settings, site)
        self._feed, self._co2 = create_feed(settings, site, clock), create_co2_feed(settings, clock)

    def read(self, hours: int) -> GridPrices:
        """Prices from now on.

        Args:
            hours: how far to look ahead [h].

        Raises:
            PricesNotConfiguredError: no source is set.
            SourceUnavailableError: no price is known.
        """
        if self._settings.source == "off":
            raise PricesNotConfiguredError("this site has no prices: GRID_PRICES_SOURCE is off")
        return build_prices(self._inputs(), self._clock.now(), hours)

    def warnings(self) -> Mapping[str, str | None]:
        """What keeps prices from being complete or new; no reason to take the grid reading for failed."""
        return {"prices": None if self._settings.source == "off" else "; ".join(self._inputs().errors) or None}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the feeds running."""
        async with AsyncExitStack() as stack:
            for feed in (self._feed, self._co2):
                if feed is not None:
                    await stack.enter_async_context(feed.running())
            yield

    def create_routes(self) -> APIRouter:
        """Create the route."""
        router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["grid"])

        @router.get(
            "/grid-prices",
            operation_id="getGridPrices",
            summary="What does energy from and to the grid cost?",
            response_model_exclude_none=True,
        )
        async def get_grid_prices(
            hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="How far to look ahead [h].")] = MAX_HOURS,
        ) -> GridPrices:
            """Import and export price of each interval from now on, as a sum of named parts, and CO2 of the grid.

            An interval whose price is not known is absent, and `known_until` says how far prices reach: day-ahead
            prices of the next day are published around noon. `error` says what keeps prices from being complete or
            new. 404 with code `prices_not_configured` where the site has no prices, 503 with code
            `source_unavailable` where none is known now.
            """
            return self.read(hours)

        return router

    def _inputs(self) -> PriceInputs:
        tariff, tariff_error = self._read_tariff()
        market = None if self._feed is None else self._feed.read()
        co2 = None if self._co2 is None else self._co2.read()
        errors = (tariff_error, market and market.error, co2 and co2.error)
        return PriceInputs(
            site_id=self._site.id,
            source=self._settings.source_name,
            tariff=tariff,
            needs_market=market is not None,
            market=market and market.table,
            fetched_at=market and market.fetched_at,
            co2=co2 and co2.table,
            errors=tuple(error for error in errors if error),
        )
