"""Sites whose chargers are the twin's."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.integration.chargers.charging_site import ChargingSite, OpenSite


@pytest.fixture
async def open_site(tmp_path: Path, anyio_backend: str) -> AsyncGenerator[OpenSite]:
    async with AsyncExitStack() as stack:

        async def opened(charger_ids: list[str] | None = None, **settings: Any) -> ChargingSite:
            site = ChargingSite(tmp_path, charger_ids or ["CP-1"], **settings)
            await site.start()
            stack.push_async_callback(site.stop)
            stack.push_async_callback(site.disconnect)
            return site

        yield opened


@pytest.fixture
async def site(open_site: OpenSite) -> ChargingSite:
    return await open_site()
