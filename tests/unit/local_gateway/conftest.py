"""Fixtures: a state with one API, two applications and their keys, without a network."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ev_service.clock import SteppedClock, SystemClock
from local_gateway.gateway.assertion import AssertionIssuer
from local_gateway.gateway.backend import BackendClient
from local_gateway.gateway.handler import Gateway
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.keys import KeyFiles, SigningKey, prepare_key_files
from local_gateway.management.rest import ManagementContext
from local_gateway.state import (
    ApiRecord,
    Application,
    GatewayState,
    OAuthClient,
    PolicyRecord,
    Revision,
    Store,
    Subscription,
    create_default_policies,
)
from local_gateway.tokens import TokenService
from local_gateway.users import UserStore
from wso2_terms.api_project import Api, ApiProject, Deployment
from wso2_terms.deployment import BackendJwt, DeploymentSettings

NOON = datetime(2026, 6, 21, 12, 0, 30, tzinfo=UTC)
Describe = Callable[..., dict[str, Any]]


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOON)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> KeyFiles:
    return prepare_key_files(tmp_path_factory.mktemp("keys"), SystemClock().now())


@pytest.fixture(scope="session")
def key(files: KeyFiles) -> SigningKey:
    return SigningKey.read(files)


@pytest.fixture
def describe() -> Describe:
    """Return a function that builds the `data` of an api.yaml."""

    def build(name: str = "SolarAPI", **changes: Any) -> dict[str, Any]:
        operation = {"target": "/solar-status", "verb": "GET", "scopes": ["solar:read"]}
        return {
            "name": name,
            "context": "/solar",
            "version": "1.0.0",
            "provider": "admin",
            "lifeCycleStatus": "PUBLISHED",
            "policies": ["Ten", "Gold"],
            "securityScheme": ["oauth2"],
            "endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": "http://solar:8001"}},
            "scopes": [{"scope": {"name": "solar:read", "bindings": ["Internal/reader"]}}],
            "operations": [operation],
        } | changes

    return build


def quota(name: str, count: int, **more: Any) -> PolicyRecord:
    limit = {"timeUnit": "min", "unitTime": 1, "requestCount": count}
    data = {"policyName": name, "defaultLimit": {"type": "REQUESTCOUNTLIMIT", "requestCount": limit}, **more}
    return PolicyRecord(policy_id=name, kind="subscription policy", data=data)


def build_deployed(api_id: str, data: dict[str, Any], **more: Any) -> ApiRecord:
    revision = Revision(
        revision_id=f"{api_id}-1",
        number=1,
        description="",
        created_at_ms=0,
        data=data,
        definition={},
        environments=[{"name": "Default"}],
    )
    api = ApiRecord(
        api_id=api_id,
        provider="admin",
        lifecycle="PUBLISHED",
        data=data,
        definition={},
        created_at_ms=0,
        updated_at_ms=0,
        revisions=[revision],
    )
    return api.model_copy(update=more)


@pytest.fixture
def state(describe: Describe) -> GatewayState:
    """EVApp of user evapp, subscribed to SolarAPI with ten calls per minute, and Stranger without subscriptions."""
    policies = {policy.policy_id: policy for policy in create_default_policies()}
    policies["Ten"] = quota("Ten", 10, stopOnQuotaReach=True)
    applications = {
        name: Application(
            application_id=name,
            number=number,
            name=name,
            owner=owner,
            throttling_policy="Unlimited",
            created_at_ms=0,
            updated_at_ms=0,
        )
        for number, (name, owner) in enumerate((("EVApp", "evapp"), ("Stranger", "admin")), 1)
    }
    clients = {
        f"key-{name}": OAuthClient(
            client_id=f"key-{name}",
            client_secret=f"secret-of-{name}",
            name=name,
            owner=application.owner,
            grant_types=["client_credentials"],
            application_id=name,
            key_mapping_id=f"map-{name}",
        )
        for name, application in applications.items()
    }
    subscription = Subscription(
        subscription_id="sub-1", application_id="EVApp", api_id="api-1", throttling_policy="Ten"
    )
    return GatewayState(
        issuer="https://localhost:9443/oauth2/token",
        roles={"Internal/reader"},
        policies=policies,
        applications=applications,
        clients=clients,
        apis={"api-1": build_deployed("api-1", describe())},
        subscriptions={"sub-1": subscription},
    )


@pytest.fixture
def store(state: GatewayState) -> Store:
    return Store(state, None)


@pytest.fixture
def tokens(store: Store, key: SigningKey, clock: SteppedClock) -> TokenService:
    return TokenService(store, key, clock)


@pytest.fixture
def context(store: Store, tokens: TokenService, clock: SteppedClock) -> ManagementContext:
    deployment = DeploymentSettings(
        hostname="localhost", admin_username="admin", admin_password=SecretStr("admin-password")
    )
    return ManagementContext(store, UserStore(store.state, "admin", "admin-password"), tokens, clock, deployment)


@pytest.fixture
def project(describe: Describe) -> Callable[..., ApiProject]:
    """Return a function that builds a project as it is uploaded."""

    def build(*, is_deployed: bool = True, definition: dict[str, object] | None = None, **changes: Any) -> ApiProject:
        data = Api.model_validate_json(json.dumps(describe(**changes)))
        answers = {"responses": {"200": {"description": "status"}}}
        usual: dict[str, object] = {
            "openapi": "3.0.3",
            "info": {"title": data.name, "version": data.version},
            "paths": {operation.target: {"get": answers} for operation in data.operations},
        }
        deployments = (Deployment.model_validate({"deploymentEnvironment": "Default"}),) if is_deployed else ()
        return ApiProject(data, deployments, usual if definition is None else definition)

    return build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made-when-needed"


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsLog:
    return MetricsLog(tmp_path / "apim_metrics.log")


@pytest.fixture
def open_gateway(
    tokens: TokenService, clock: SteppedClock, key: SigningKey, metrics: MetricsLog
) -> Callable[[Store, int], AbstractAsyncContextManager[Gateway]]:
    """Return a context manager that runs a gateway over a state, with the largest accepted body [byte]."""

    @asynccontextmanager
    async def gateway(store: Store, max_request_bytes: int) -> AsyncGenerator[Gateway]:
        backend_client = BackendClient(connect_timeout_s=0.5)
        await backend_client.open()
        yield Gateway(
            store=store,
            tokens=tokens,
            clock=clock,
            assertions=AssertionIssuer(key, BackendJwt(enable=True, encoding="base64url")),
            backend_client=backend_client,
            metrics=metrics,
            max_request_bytes=max_request_bytes,
        )
        await backend_client.close()

    return gateway
