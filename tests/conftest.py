"""What every test shares: the event loop's kind, and no setting from outside."""

import os

import pytest

from local_stack.surroundings import forget_settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(os.environ)
    forget_settings(given)
    for name in os.environ.keys() - given.keys():
        monkeypatch.delenv(name)
