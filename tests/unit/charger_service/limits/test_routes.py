"""The three APIs over HTTP: what each answers, and to whom."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.unit.charger_service.limits.conftest import fill

from charger_service.app import create_app
from charger_service.settings import ChargerSettings, OcppSettings, ServiceSettings
from ev_service.assertion import APPLICATION_CLAIM, CONTEXT_CLAIM, HEADER, ISSUER, USER_CLAIM
from ev_service.clock import SteppedClock
from ev_service.settings import RunSettings, SiteSettings

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
CHARGERS = {
    "feeders": [{"feeder_id": "main", "limit_a": 125}],
    "chargers": [
        {
            "charger_id": "CP-1",
            "feeder_id": "main",
            "password_sha256": "a" * 64,
            "evses": [{"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32}],
        }
    ],
}
LIMIT = {"charger_id": "CP-1", "evse_id": 1, "limit_a": 16, "valid_until": "2026-06-21T12:01:00Z"}
STOP = {"kind": "stop", "minutes": 5, "reason": "test"}


@asynccontextmanager
async def serving(
    folder: Path, certificate: Path | None = None, state: Path | None = None
) -> AsyncGenerator[httpx.AsyncClient]:
    file = folder / "chargers.json"
    file.write_text(json.dumps(CHARGERS), encoding="utf-8")
    settings = ServiceSettings(
        ChargerSettings(file=file, state_dir=state),
        RunSettings(gateway_cert_file=certificate),
        SiteSettings(),
        OcppSettings(ocpp_port=0),
    )
    app = create_app(settings, SteppedClock(NOON))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chargers") as client,
    ):
        yield client


async def test_chargers_are_listed_with_the_limits_under_which_they_share(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        told = (await client.get("/chargers")).json()
        one = (await client.get("/chargers/CP-1")).json()
        unknown = await client.get("/chargers/CP-9")

    assert (told["site_limit_kw"], told["feeders"]) == (100.0, [{"feeder_id": "main", "limit_a": 125.0}])
    assert told["chargers"] == [one]
    assert one["is_connected"] is False
    assert one["evses"][0]["state"] == "unknown"
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_charger")


async def test_a_limit_for_a_charger_that_is_away_is_answered_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        answer = await client.put("/limits", json=[LIMIT], params={"commander": "agent-1", "decision_id": "d1"})

    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert (result["outcome"], result["limited_by"]) == ("rejected", "not_connected")
    assert answer.json()["lease"] == {"commander": "agent-1", "until": "2026-06-21T12:01:00Z"}


async def test_a_second_commander_is_told_who_commands(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.put("/limits", json=[LIMIT], params={"commander": "agent-1"})
        refused = await client.put("/limits", json=[LIMIT], params={"commander": "agent-2"})

    assert (refused.status_code, refused.json()["code"]) == (409, "leased")
    assert "agent-1 commands until 2026-06-21T12:01:00Z" in refused.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        [LIMIT] * 1001,
        [LIMIT | {"limit_a": -1}],
        [LIMIT | {"limit_a": "NaN"}],
        [LIMIT | {"valid_until": "2026-06-21T12:01:00"}],
        [LIMIT | {"charger_id": "a b"}],
        {"limits": [LIMIT]},
    ],
)
async def test_what_is_no_list_of_limits_is_refused_whole(tmp_path: Path, body: Any) -> None:
    async with serving(tmp_path) as client:
        assert (await client.put("/limits", json=body)).status_code == 422


async def test_a_thousand_limits_fit_in_one_call_and_no_endless_body_does(tmp_path: Path) -> None:
    longest = LIMIT | {"charger_id": "C" * 48, "valid_until": "2026-06-21T12:01:00.000000+00:00", "phases": 3}
    async with serving(tmp_path) as client:
        taken = await client.put("/limits", json=[longest] * 1000)
        refused = await client.put("/limits", json=[longest | {"more": "x" * 1000}] * 1000)

    assert taken.status_code == 200
    assert {one["limited_by"] for one in taken.json()["results"]} == {"unknown_charger"}
    assert refused.status_code == 413


async def test_an_operators_orders_are_carried_out_and_read_back(tmp_path: Path) -> None:
    async with serving(tmp_path, state=tmp_path / "state") as client:
        stopped = await client.put("/override", json=STOP)
        limited = await client.put("/site/limit", json={"limit_kw": 60, "reason": "works"})
        refused = await client.put("/site/limit", json={"limit_kw": 600, "reason": "more"})
        missing = await client.put("/site/limit", json={"reason": "misspelt"})
        nobody = await client.put("/sessions/none/departure", json={"departure": "2026-06-21T18:00:00Z"})
        answers = (await client.put("/limits", json=[LIMIT])).json()["results"]
        read = (await client.get("/override")).json()
        orders = (await client.get("/orders")).json()

    assert stopped.json()["override"] == {
        "kind": "stop",
        "charging_power_kw": None,
        "until": "2026-06-21T12:05:00Z",
    }
    assert stopped.json()["is_kept_on_disk"] is True
    assert read == stopped.json()
    assert (limited.json()["site_limit_kw"], limited.json()["configured_kw"]) == (60, 100)
    assert (refused.status_code, refused.json()["code"], missing.status_code) == (422, "order_refused", 422)
    assert (nobody.status_code, nobody.json()["code"]) == (404, "unknown_session")
    assert answers[0]["limited_by"] == "override"
    assert [one["kind"] for one in orders["orders"]] == ["site_limit", "override"]


async def test_each_api_is_answered_to_calls_made_for_it_alone_and_its_caller_is_recorded(
    tmp_path: Path, signing_key: RSAKey, certificate_pem: bytes
) -> None:
    certificate = tmp_path / "gateway.pem"
    certificate.write_bytes(certificate_pem)

    def through(context: str) -> dict[str, str]:
        claims = {
            "iss": ISSUER,
            "exp": int(NOON.timestamp()) + 60,
            CONTEXT_CLAIM: context,
            APPLICATION_CLAIM: "EVApp",
            USER_CLAIM: "evapp@carbon.super",
        }
        return {HEADER: jwt.encode({"alg": "RS256"}, claims, signing_key)}

    calls: list[tuple[str, str, Any, str]] = [
        ("GET", "/chargers", None, "/chargers/1.0.0"),
        ("GET", "/chargers/CP-1", None, "/chargers/1.0.0"),
        ("GET", "/sessions", None, "/chargers/1.0.0"),
        ("PUT", "/limits", [LIMIT], "/charger-control/1.0.0"),
        ("PUT", "/override", STOP, "/site/1.0.0"),
        ("GET", "/override", None, "/site/1.0.0"),
        ("PUT", "/site/limit", {"limit_kw": 60, "reason": "works"}, "/site/1.0.0"),
        ("GET", "/orders", None, "/site/1.0.0"),
    ]
    contexts = {context for *_, context in calls}
    async with serving(tmp_path, certificate) as client:
        for method, path, body, context in calls:
            for other in contexts:
                answer = await client.request(method, path, json=body, headers=through(other))
                assert answer.status_code == (200 if other == context else 401), (path, other)
            assert (await client.request(method, path, json=body)).status_code == 401
        orders = (await client.get("/orders", headers=through("/site/1.0.0"))).json()["orders"]
        lease = (await client.put("/limits", json=[LIMIT], headers=through("/charger-control/1.0.0"))).json()["lease"]

    assert {one["proved"]["user"] for one in orders} == {"evapp@carbon.super"}
    assert lease["commander"] == "EVApp"


async def test_a_disk_that_takes_nothing_is_said_and_orders_are_carried_out(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with serving(tmp_path, state=state) as client:
        fill(state)
        stopped = await client.put("/override", json=STOP)
        health = await client.get("/health")

    assert stopped.json()["override"]["kind"] == "stop"
    assert stopped.json()["is_kept_on_disk"] is False
    assert health.status_code == 503
    assert "database or disk is full" in health.json()["failing"]["state"]


async def test_health_is_well_and_metrics_name_no_charger(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.put("/limits", json=[LIMIT])
        health = await client.get("/health")
        metrics = (await client.get("/metrics")).text

    assert health.status_code == 200
    assert 'charger_limits_total{limited_by="not_connected",outcome="rejected"} 1.0' in metrics
    assert "chargers_known 1.0" in metrics
    assert "CP-1" not in metrics
