"""What every test shares: the event loop's kind, and no setting from outside."""

import os

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ("SOLAR_", "BATTERY_", "GRID_", "AGENT_", "SITE_", "SIM_", "WSO2_", "LOCAL_GATEWAY_", "GATEWAY_", "EVAPP_")
    for name in list(os.environ):
        if name.startswith(ours):
            monkeypatch.delenv(name)
