"""A site whose charge points offer what a test says, when it says so."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest

from ev_service.clock import SteppedClock
from ev_service.settings import SiteSettings
from site_model.parameters import Building, Panels, SiteParameters, Storage, Weather
from site_model.yield_table import create_tabled_sun
from site_twin.charging import DRAWS_MORE, DRAWS_MORE_MEANS
from site_twin.faults import FaultBoard
from site_twin.ports import Cars, EvseKey, EvsePlace, Offer
from site_twin.site import TwinSite

MORNING = datetime(2026, 6, 25, 14, tzinfo=UTC)
"""10 o'clock at the site: five cars are there with seed 7."""


class Offering:
    """Charge points that offer by a plan: from each moment on a limit, the same for all."""

    def __init__(self, limit_a: float) -> None:
        self.plan: list[tuple[datetime, float]] = [(datetime(1970, 1, 1, tzinfo=UTC), limit_a)]
        self.phases: int | None = None
        self.places: tuple[EvsePlace, ...] = (
            *(EvsePlace(EvseKey(f"CP-{number}", 1), (1, 2, 3), 32.0) for number in (1, 2, 3, 4)),
            EvsePlace(EvseKey("CP-5", 1), (1, 2, 3), 16.0),
            EvsePlace(EvseKey("CP-6", 1), (2,), 32.0),
        )
        self.fault_kinds: Mapping[str, str] = {}

    def compute_offer(self, charger_id: str, evse_id: int, moment: datetime) -> Offer:
        del charger_id, evse_id
        return Offer([limit_a for since, limit_a in self.plan if since <= moment][-1], self.phases)

    def next_change(self, charger_id: str, evse_id: int, after: datetime) -> datetime | None:
        del charger_id, evse_id
        return min((since for since, _ in self.plan if since > after), default=None)

    def state(self, charger_id: str) -> Mapping[str, Any]:
        return {"is_connected": charger_id != "CP-1"}

    def running(self, cars: Cars) -> AbstractAsyncContextManager[None]:
        del cars
        return nullcontext()


@pytest.fixture(scope="session")
def parameters() -> SiteParameters:
    return SiteParameters(SiteSettings(), Weather(), Panels(), Storage(), Building(), seed=7)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(MORNING)


@pytest.fixture
def offering() -> Offering:
    return Offering(16.0)


MakeSite = Callable[..., TwinSite]


@pytest.fixture
def make_site(parameters: SiteParameters) -> MakeSite:
    def make(clock: SteppedClock, offering: Offering | None, cars_per_day: float = 24.0) -> TwinSite:
        places: Sequence[EvsePlace] = () if offering is None else offering.places
        kinds = {place.key.charger_id: {DRAWS_MORE: DRAWS_MORE_MEANS} for place in places}
        return TwinSite(
            parameters,
            create_tabled_sun(parameters),
            site=SiteSettings(),
            clock=clock,
            cars_per_day=cars_per_day,
            building_shares=(0.45, 0.33, 0.22),
            charge_points=offering,
            faults=FaultBoard(kinds),
        )

    return make


@pytest.fixture
def site(make_site: MakeSite, clock: SteppedClock, offering: Offering) -> TwinSite:
    return make_site(clock, offering)
