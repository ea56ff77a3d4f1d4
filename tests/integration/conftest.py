"""A broker for whoever speaks MQTT."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.broker import Mosquitto, Secrets, program


@pytest.fixture(scope="session")
def broker_secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """Certificate and passwords; skips where there is no Mosquitto, unless EV_BROKER_REQUIRED is set."""
    if program() is None:
        assert not os.environ.get("EV_BROKER_REQUIRED"), "EV_BROKER_REQUIRED is set and there is no Mosquitto"
        pytest.skip("there is no Mosquitto on the PATH")
    return Secrets(tmp_path_factory.mktemp("broker"))


@pytest.fixture
def stopped_broker(tmp_path: Path, broker_secrets: Secrets) -> Generator[Mosquitto]:
    """A broker that a test starts when it wants to."""
    broker = Mosquitto(tmp_path, broker_secrets)
    yield broker
    broker.stop()


@pytest.fixture
def broker(stopped_broker: Mosquitto) -> Mosquitto:
    """A broker that runs."""
    stopped_broker.start()
    return stopped_broker
