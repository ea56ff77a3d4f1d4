"""The record of kills: added to alone, on disk before it is acknowledged, and known by whom."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.unit.charger_service.limits.conftest import fill, free

from charger_service import audit_log
from charger_service.app import create_app
from charger_service.settings import ChargerSettings, ServiceSettings
from ev_service.assertion import APPLICATION_CLAIM, CONTEXT_CLAIM, HEADER, ISSUER, USER_CLAIM
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.settings import RunSettings

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


def act(**changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "act_id": str(uuid4()),
        "kind": "kill",
        "application": "EVApp",
        "reason": "sensor fault",
        "operator": "ops",
        "started_at": "2026-06-21T11:59:59Z",
        "steps": [{"name": "deny policy", "outcome": "done", "detail": "denied", "took_s": 0.1}],
    }
    return said | changes


@asynccontextmanager
async def service(state: Path | None = None, certificate: Path | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    settings = ServiceSettings(ChargerSettings(state_dir=state), RunSettings(gateway_cert_file=certificate))
    app = create_app(settings, SteppedClock(NOON))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chargers") as client:
        yield client


async def test_an_act_is_kept_with_its_moment_and_outlives_the_process(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        recorded = await client.post("/kills", json=act())

    async with service(tmp_path) as client:
        page = (await client.get("/kills")).json()

    assert recorded.status_code == 201
    assert (recorded.json()["number"], recorded.json()["recorded_at"]) == (1, "2026-06-21T12:00:00Z")
    assert page["kills"] == [recorded.json()]
    assert page["is_kept_on_disk"] is True


async def test_the_same_act_sent_again_is_recorded_once(tmp_path: Path) -> None:
    said = act()
    async with service(tmp_path) as client:
        first = await client.post("/kills", json=said)
        second = await client.post("/kills", json=said)

        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json() == second.json()
        assert len((await client.get("/kills")).json()["kills"]) == 1


async def test_acts_are_read_page_by_page_the_newest_first(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        for _ in range(5):
            await client.post("/kills", json=act())

        first = (await client.get("/kills", params={"limit": 2})).json()
        second = (await client.get("/kills", params={"limit": 3, "before": first["next_before"]})).json()

    assert [one["number"] for one in first["kills"]] == [5, 4]
    assert [one["number"] for one in second["kills"]] == [3, 2, 1]
    assert second["next_before"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": ""},
        {"reason": "   "},
        {"reason": "x" * 501},
        {"reason": "two\nlines"},
        {"reason": "a bell \x07 rings"},
        {"reason": "a line\u2028apart"},
        {"kind": "pause"},
        {"steps": [{"name": "x", "outcome": "done", "took_s": 0}] * 33},
        {"steps": [{"name": "x", "outcome": "done", "took_s": -1}]},
        {"started_at": "2026-06-21T11:59:59"},
        {"operator": ""},
    ],
)
async def test_what_is_no_act_is_refused_and_not_kept(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with service(tmp_path) as client:
        refused = await client.post("/kills", json=act(**changes))

        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await client.get("/kills")).json()["kills"] == []


async def test_a_body_longer_than_any_act_is_refused(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        refused = await client.post("/kills", json=act(operator="x" * 200_000))

    assert refused.status_code == 413


async def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        await client.post("/kills", json=act(reason="kept"))

        fill(tmp_path)
        refused = await client.post("/kills", json=act(reason="lost"))
        health = await client.get("/health")
        assert [one["reason"] for one in (await client.get("/kills")).json()["kills"]] == ["kept"]

        free(tmp_path)
        assert (await client.post("/kills", json=act(reason="kept again"))).status_code == 201
        assert (await client.get("/health")).status_code == 200
        assert [one["reason"] for one in (await client.get("/kills")).json()["kills"]] == ["kept again", "kept"]

    assert (refused.status_code, refused.json()["code"]) == (507, "record_not_kept")
    assert "database or disk is full" in refused.json()["detail"]
    assert "database or disk is full" in health.json()["failing"]["record"]


async def test_a_log_that_has_reached_its_size_takes_no_more_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service(tmp_path) as client:
        assert (await client.get("/health")).status_code == 200
        monkeypatch.setattr(audit_log, "MAX_BYTES", 10)
        assert (await client.post("/kills", json=act())).status_code == 507
        monkeypatch.setattr(audit_log, "MAX_BYTES", 0)

        health = await client.get("/health")

    assert health.status_code == 503
    assert "kill_audit has reached" in health.json()["failing"]["record"]


def nearly_full(_: object) -> SimpleNamespace:
    return SimpleNamespace(free=1000)


async def test_health_reports_a_disk_without_room_before_an_act_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service(tmp_path) as client:
        monkeypatch.setattr(shutil, "disk_usage", nearly_full)
        health = await client.get("/health")

    assert health.status_code == 503
    assert "is full" in health.json()["failing"]["record"]


async def test_without_a_folder_acts_are_kept_in_memory_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with service() as client:
        await client.post("/kills", json=act())
        page = (await client.get("/kills")).json()

    assert (len(page["kills"]), page["is_kept_on_disk"]) == (1, False)
    assert "CHARGERS_STATE_DIR is not set" in caplog.text


def test_a_folder_that_can_not_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigurationError, match="cannot be used"):
        create_app(ServiceSettings(ChargerSettings(state_dir=tmp_path / "file"), RunSettings()), SteppedClock(NOON))


async def test_who_acted_is_the_gateways_word_and_not_the_callers(
    tmp_path: Path, certificate_pem: bytes, signing_key: RSAKey
) -> None:
    (tmp_path / "gateway.pem").write_bytes(certificate_pem)
    claims = {
        "iss": ISSUER,
        "exp": int(NOON.timestamp()) + 900,
        CONTEXT_CLAIM: "/site/1.0.0",
        APPLICATION_CLAIM: "Operator",
        USER_CLAIM: "operator@carbon.super",
    }
    assertion = jwt.encode({"alg": "RS256"}, claims, signing_key)
    forged = act(operator="the director", proved={"application": "Forged", "user": "forged"})

    async with service(tmp_path / "state", tmp_path / "gateway.pem") as client:
        past_it = await client.post("/kills", json=forged)
        recorded = await client.post("/kills", json=forged, headers={HEADER: assertion})

    assert past_it.status_code == 401
    assert recorded.json()["proved"] == {"application": "Operator", "user": "operator@carbon.super"}
    assert recorded.json()["operator"] == "the director"
