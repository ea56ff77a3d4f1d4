"""The twin's routes, and that the services' own client can read them."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ev_sensors.connection_meter import why_implausible as why_implausible_load
from ev_sensors.twin import TwinSource
from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus
from site_twin.app import AllSettings, create_app
from site_twin.devices.device_types import DEVICES
from site_twin.devices.mqtt import broker_from_settings
from site_twin.settings import TwinSettings
from solar_service.sources import why_implausible as why_implausible_sun

URL = "http://twin"


SETTINGS = AllSettings(TwinSettings(), SiteSettings(), RunSettings())


@pytest.fixture
def app(clock: SteppedClock, offering: Any) -> FastAPI:
    offering.fault_kinds = {"reboots": "it restarts"}
    return create_app(SETTINGS, clock, offering)


@pytest.fixture
async def http(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client,
    ):
        yield client


@pytest.mark.anyio
async def test_the_simulated_sources_read_the_twin(app: FastAPI, clock: SteppedClock) -> None:
    transport = httpx.ASGITransport(app)
    solar = TwinSource(SolarStatus, f"{URL}/solar-status", transport)
    battery = TwinSource(BatteryStatus, f"{URL}/battery-status", transport)
    grid = TwinSource(GridLoad, f"{URL}/grid-load", transport)
    async with solar.running(), battery.running(), grid.running():
        clock.advance(300)

        sun, charge, load_now = [await source.read(clock.now()) for source in (solar, battery, grid)]

    assert isinstance(sun, SolarStatus)
    assert isinstance(charge, BatteryStatus)
    assert isinstance(load_now, GridLoad)
    assert {sun.timestamp, charge.timestamp, load_now.timestamp} == {clock.now()}
    assert {sun.source, charge.source, load_now.source} == {"simulated"}
    assert load_now.includes_charging
    assert why_implausible_sun(sun) is None
    assert why_implausible_load(load_now, 230.0) is None


@pytest.mark.anyio
async def test_the_load_includes_charging(http: httpx.AsyncClient, offering: Any, clock: SteppedClock) -> None:
    clock.advance(300)
    charging = (await http.get("/site")).json()
    offering.plan = [(offering.plan[0][0], 0.0)]
    paused = (await http.get("/grid-load")).json()

    assert charging["charging_kw"] > 10
    assert paused["load_kw"] - paused["export_kw"] < charging["load_kw"] - charging["export_kw"]


@pytest.mark.anyio
async def test_the_site_tells_powers_cars_and_chargers_of_one_moment(
    http: httpx.AsyncClient, clock: SteppedClock
) -> None:
    clock.advance(900)

    site = (await http.get("/site")).json()

    assert site["timestamp"] == "2026-06-25T14:15:00Z"
    assert sum(car["power_kw"] for car in site["cars"]) == pytest.approx(site["charging_kw"], abs=0.01)
    assert [charger["charger_id"] for charger in site["chargers"]] == [f"CP-{number}" for number in range(1, 7)]
    assert [charger["is_connected"] for charger in site["chargers"]] == [False, True, True, True, True, True]
    taken_kw = site["building_kw"] + site["battery_power_kw"] + site["charging_kw"] - site["generation_kw"]
    assert site["load_kw"] - site["export_kw"] == pytest.approx(taken_kw, abs=0.01)
    assert site["highest_load_kw"] >= site["load_kw"]
    assert sum(site["connection_current_a"]) * 0.23 == pytest.approx(taken_kw, abs=0.02)
    assert [site["limit_a"]] * 3 > site["highest_current_a"] >= site["connection_current_a"]
    registers_kwh = {
        (charger["charger_id"], evse["evse_id"]): evse["register_kwh"]
        for charger in site["chargers"]
        for evse in charger["evses"]
    }
    for car in site["cars"]:
        assert car["limit_a"] == 16.0
        assert car["energy_got_kwh"] <= registers_kwh[car["charger_id"], car["evse_id"]] + 0.002


@pytest.mark.anyio
async def test_a_fault_is_ordered_told_and_lifted(http: httpx.AsyncClient) -> None:
    ordered = await http.put("/faults/CP-1", json={"kind": "reboots", "minutes": 5})
    told = (await http.get("/site")).json()["faults"]
    listed = (await http.get("/faults")).json()
    lifted = await http.delete("/faults/CP-1")

    fault = {"device": "CP-1", "kind": "reboots", "until": "2026-06-25T14:05:00Z"}
    assert (ordered.status_code, ordered.json()) == (200, fault)
    assert told == listed["in_force"] == [fault]
    assert set(listed["kinds"]["CP-1"]) == {"reboots", "draws_more"}
    assert lifted.status_code == 204
    assert (await http.get("/faults")).json()["in_force"] == []


@pytest.mark.anyio
async def test_a_fault_that_can_not_be_is_a_problem(http: httpx.AsyncClient) -> None:
    nobody = await http.put("/faults/pv-1", json={"kind": "silent"})
    nothing = await http.put("/faults/CP-1", json={"kind": "silent"})
    never = await http.put("/faults/CP-1", json={"kind": "reboots", "minutes": 0})

    assert (nobody.status_code, nobody.json()["code"]) == (404, "unknown_device")
    assert (nothing.status_code, nothing.json()["code"]) == (422, "unknown_fault")
    assert (never.status_code, never.json()["code"]) == (422, "invalid_request")


@pytest.mark.anyio
async def test_without_charge_points_there_are_no_cars_and_it_is_well(clock: SteppedClock) -> None:
    app = create_app(SETTINGS, clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
        site = (await client.get("/site")).json()
        health = await client.get("/health")

    assert (site["cars"], site["chargers"], site["charging_kw"]) == ([], [], 0)
    assert health.status_code == 200


def test_charge_points_without_a_file_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_OCPP_URL", "ws://127.0.0.1:9000")

    with pytest.raises(ConfigurationError, match="TWIN_CHARGE_POINTS_FILE must name"):
        load(TwinSettings)


def test_every_device_has_a_password_or_the_twin_does_not_start(tmp_path: Path) -> None:
    settings = TwinSettings(mqtt_url="mqtt://127.0.0.1:1883", mqtt_passwords_dir=tmp_path)
    (tmp_path / "pv-1.password").write_text("secret-of-pv\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"bess-1\.password in TWIN_MQTT_PASSWORDS_DIR cannot be read"):
        broker_from_settings(settings)
    for device, content in (("bess-1", "secret-of-bess"), ("meter-1", "\n")):
        (tmp_path / f"{device}.password").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"meter-1\.password in TWIN_MQTT_PASSWORDS_DIR is empty"):
        broker_from_settings(settings)


def test_passwords_stay_secret_and_end_with_their_line(tmp_path: Path) -> None:
    for device in DEVICES:
        (tmp_path / f"{device}.password").write_text(f"secret-of-{device}\n", encoding="utf-8")

    broker = broker_from_settings(TwinSettings(mqtt_url="mqtt://127.0.0.1", mqtt_passwords_dir=tmp_path))

    assert broker is not None
    assert broker.port == 1883
    assert "secret-of" not in repr(broker)
    assert broker.passwords["pv-1"].get_secret_value() == "secret-of-pv-1"


def test_passwords_go_to_another_machine_only_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_MQTT_URL", "mqtt://broker.example")

    with pytest.raises(ConfigurationError, match="TWIN_MQTT_URL"):
        load(TwinSettings)
