"""How the agent is put together from its settings, and what it refuses to start with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from openapi_spec_validator import validate

from charging_agent.app import create_app
from charging_agent.readings.apis import GRID
from charging_agent.settings import GatewaySettings
from ev_service.errors import ConfigurationError
from ev_service.openapi import build_published_definition

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


def set_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSO2_CLIENT_ID", "evapp-id")
    monkeypatch.setenv("WSO2_CLIENT_SECRET", "evapp-secret")


def test_it_does_not_start_without_credentials() -> None:
    with pytest.raises(ConfigurationError, match="set WSO2_CLIENT_ID and WSO2_CLIENT_SECRET"):
        create_app()


def test_it_does_not_start_with_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)
    monkeypatch.setenv("WSO2_CLIENT_SECRET", "change-me-in-production")

    with pytest.raises(ConfigurationError, match="WSO2_CLIENT_SECRET is still the placeholder") as refused:
        create_app()

    assert "production" not in refused.value.message


def test_it_starts_before_the_bootstrap_has_written_the_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WSO2_CLIENT_ID_FILE", str(tmp_path / "client_id"))
    monkeypatch.setenv("WSO2_CLIENT_SECRET_FILE", str(tmp_path / "client_secret"))

    assert create_app().title == "AgentAPI"


async def test_credentials_that_the_bootstrap_replaced_are_used_without_a_restart(
    served: AgentApplication, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("client_id", "client_secret")}
    served.gateway_settings = GatewaySettings(
        gateway_url=served.gateway_settings.gateway_url,
        token_url=served.gateway_settings.token_url,
        client_id_file=files["client_id"],
        client_secret_file=files["client_secret"],
    )
    good = httpx.BasicAuth("id-2", "secret-2")

    async def answer(request: httpx.Request) -> httpx.Response:
        signed = next(good.auth_flow(httpx.Request("POST", "https://gateway.test")))
        if request.headers["authorization"] != signed.headers["authorization"]:
            return httpx.Response(401, json={"error": "invalid_client"})
        return await served.gateway.issue(request)

    served.gateway.does("/oauth2/token", answer)
    for name, file in files.items():
        file.write_text(f"{name.removeprefix('client_')}-1", encoding="utf-8")
    async with served.client() as client:
        refused = (await client.get("/optimize-charging")).json()
        for name, file in files.items():
            file.write_text(f"{name.removeprefix('client_')}-2", encoding="utf-8")
        await asyncio.sleep(0.02)
        accepted = (await client.get("/optimize-charging")).json()

    assert refused["readings"]["grid"] == {"status": "missing", "error": "token_refused"}
    assert accepted["action"] == "fast"


def test_it_does_not_start_with_credential_files_that_hold_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("client_id", "client_secret"):
        (tmp_path / name).touch()
        monkeypatch.setenv(f"WSO2_{name.upper()}_FILE", str(tmp_path / name))

    with pytest.raises(ConfigurationError, match="is empty"):
        create_app()


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_ca_file_that_can_not_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    set_credentials(monkeypatch)
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    monkeypatch.setenv("WSO2_CA_FILE", str(ca_file))

    with pytest.raises(ConfigurationError, match=r"WSO2_CA_FILE .* cannot be used"):
        create_app()


async def test_a_replica_asks_for_a_scope_of_its_own(served: AgentApplication) -> None:
    served.settings["device"] = "east1"
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.extend(parse_qs(request.content.decode())["scope"])
        return await served.gateway.issue(request)

    served.gateway.does("/oauth2/token", answer)
    async with served.client() as client:
        await client.get("/optimize-charging")

    assert asked == ["solar:read battery:read grid:read device_east1"]


async def test_it_plans_with_the_limits_that_the_bootstrap_found(served: AgentApplication, tmp_path: Path) -> None:
    limits_file = tmp_path / "limits.json"
    limits_file.write_text('{"GridAPI": {"requests": 0, "per_s": 60}}', encoding="utf-8")
    served.settings["limits_file"] = limits_file

    async with served.client() as client:
        decision = (await client.get("/optimize-charging")).json()

    assert decision["readings"]["grid"] == {"status": "missing", "error": "throttled"}
    assert served.gateway.calls_to(GRID.path) == 0


async def test_thresholds_and_powers_are_those_of_the_settings(served: AgentApplication) -> None:
    served.settings.update(grid_overload_percent=60, fast_kw=150)
    async with served.client() as client:
        decision = (await client.get("/optimize-charging")).json()

    assert decision["rule"] == "grid_overload"


def test_demanding_the_assertion_needs_the_gateways_certificate(
    served: AgentApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_credentials(monkeypatch)
    monkeypatch.setenv("AGENT_REQUIRE_ASSERTION", "true")

    with pytest.raises(ConfigurationError, match="AGENT_REQUIRE_ASSERTION needs GATEWAY_CERT_FILE"):
        create_app()


async def test_only_the_routes_of_the_published_api_demand_the_assertion(
    served: AgentApplication, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "signing.pem").write_bytes(certificate_pem())
    monkeypatch.setenv("GATEWAY_CERT_FILE", str(tmp_path / "signing.pem"))
    served.settings["require_assertion"] = True

    async with served.client() as client:
        statuses = {path: (await client.get(path)).status_code for path in ("/optimize-charging", "/", "/livez")}

    assert statuses == {"/optimize-charging": 401, "/": 200, "/livez": 200}


def test_its_published_definition_is_valid_and_describes_every_route(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)

    definition = build_published_definition(create_app())

    validate(definition)
    assert definition["openapi"] == "3.0.3"
    operations = {path: item["get"] for path, item in definition["paths"].items()}
    assert {path: operation["operationId"] for path, operation in operations.items()} == {
        "/optimize-charging": "optimize_charging",
        "/site-status": "site_status",
        "/plan": "get_plan",
        "/decisions": "list_decisions",
        "/decisions/{decision_id}": "get_decision",
        "/decisions/{decision_id}/explain": "explain_decision",
    }
    assert all(operation["summary"] and operation["description"] for operation in operations.values())
    assert all(set(item) == {"get"} for item in definition["paths"].values())


def certificate_pem() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = built.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return dated.sign(key, SHA256()).public_bytes(Encoding.PEM)
