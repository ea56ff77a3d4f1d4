"""Each published operation of the charger service accepts only assertions for the API that publishes it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import RSAKey
from tests.attacks.forging import assertion

from charger_service.app import create_app
from ev_service.assertion import HEADER
from ev_service.clock import SystemClock
from local_gateway.keys import KeyFiles, prepare_key_files
from local_gateway.settings import LocalGatewaySettings
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.policy_cases import PolicyEndpoint, list_endpoints
from wso2_terms.artifacts import load_artifacts

pytestmark = pytest.mark.anyio

ARTIFACTS = load_artifacts(Path(__file__).parents[2] / "wso2", DEFAULT_BACKENDS)
CONTEXTS = {
    name: ARTIFACTS.find_api(name).api.versioned_context for name in ("ChargerAPI", "ChargerControlAPI", "SiteAPI")
}
OPERATIONS = [endpoint for endpoint in list_endpoints(ARTIFACTS) if endpoint.product in CONTEXTS]
MOST_LIMITS = 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> KeyFiles:
    return prepare_key_files(tmp_path_factory.mktemp("keys"), SystemClock().now())


@pytest.fixture
async def service(files: KeyFiles, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("GATEWAY_CERT_FILE", str(files.signing))
    transport = httpx.ASGITransport(create_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://chargers") as client:
        yield client


@pytest.mark.parametrize("endpoint", OPERATIONS, ids=lambda endpoint: endpoint.name)
async def test_an_operation_takes_the_assertion_of_its_own_api_alone(
    service: httpx.AsyncClient, files: KeyFiles, endpoint: PolicyEndpoint
) -> None:
    key, now = RSAKey.import_key(files.signing_key.read_bytes()), datetime.now(UTC)
    path = endpoint.path.removeprefix(CONTEXTS[endpoint.product])

    async def status(context: str) -> int:
        return (await service.request(endpoint.verb, path, headers={HEADER: assertion(context, now, key)})).status_code

    others = [context for name, context in CONTEXTS.items() if name != endpoint.product]
    assert [await status(context) for context in others] == [401, 401]
    assert await status(CONTEXTS[endpoint.product]) != 401
    assert (await service.request(endpoint.verb, path)).status_code == 401


def test_the_longest_call_that_sets_limits_fits_through_the_local_gateway() -> None:
    limit = {
        "charger_id": "C" * 48,
        "evse_id": 64,
        "limit_a": 123.4567890123,
        "phases": 3,
        "valid_until": "2026-06-21T16:00:45.123456Z",
    }

    assert len(json.dumps([limit] * MOST_LIMITS)) < LocalGatewaySettings.model_fields["max_request_bytes"].default
