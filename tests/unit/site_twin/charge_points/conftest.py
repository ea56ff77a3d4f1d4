"""A central system, cars, and charge points connected to it."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.unit.site_twin.charge_points.central_system import (
    HASTE,
    NOON,
    PASSWORD,
    CentralSystem,
    Connect,
    booted,
    serving,
)

from ev_service.clock import SteppedClock
from site_twin.charge_points import ChargePoint, ParkedCars


@pytest.fixture
async def central() -> AsyncGenerator[CentralSystem]:
    async with serving(CentralSystem()) as one:
        yield one


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOON)


@pytest.fixture
def cars(clock: SteppedClock) -> ParkedCars:
    return ParkedCars(clock)


@pytest.fixture
async def connect(central: CentralSystem, cars: ParkedCars) -> AsyncGenerator[Connect]:
    """Makes a charge point that is connected and booted; keywords as `ChargePoint` takes them."""
    async with AsyncExitStack() as stack:

        async def connected(version: Any = "2.0.1", **given: Any) -> ChargePoint:
            settings: dict[str, Any] = {"cars": cars, "timing": HASTE, **given}
            point = ChargePoint("CP-1", central.url, PASSWORD, version=version, **settings)
            return await booted(await stack.enter_async_context(point.running()))

        yield connected
