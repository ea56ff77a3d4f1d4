import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ev_sensors.checks import Past, validate
from ev_sensors.connection_meter import connection_meter
from ev_sensors.measurement import Measurement
from ev_sensors.settings import MqttDeviceSettings
from ev_sensors.shapes import Shape as Understood
from ev_sensors.shapes import meters, native, sunspec
from ev_sensors.source_factory import shape_of
from ev_service.settings import SiteSettings
from site_twin.devices.shapes import DeviceMessage, Shape, own_shape, shelly_shape, sunspec_shape, tasmota_shape

NOON = datetime(2026, 6, 25, 16, 0, 0, 250_000, tzinfo=UTC)
LOAD: dict[str, Any] = {
    "load_percent": 61.0,
    "load_kw": 61.0,
    "limit_kw": 100.0,
    "export_kw": 0.0,
    "includes_charging": True,
    "current_a": (200.0, 80.0, -14.78),
}


def test_our_own_shape_carries_the_fields_of_the_reading_with_time_and_number() -> None:
    shape = own_shape("greensboro", "grid", "meter-1")

    assert shape.telemetry_topic == "site/greensboro/grid/meter-1/telemetry"
    assert shape.telemetry(DeviceMessage(LOAD, NOON, 7)) == {
        "timestamp": "2026-06-25T16:00:00.250000Z",
        "sequence": 7,
        **LOAD,
    }
    assert shape.status_topic == "site/greensboro/grid/meter-1/status"
    assert shape.status(True, NOON) == {"status": "online", "timestamp": "2026-06-25T16:00:00.250000Z"}
    assert shape.status(False, NOON) == {"status": "offline", "timestamp": "2026-06-25T16:00:00.250000Z"}


def test_a_tasmota_meter_tells_watts_at_local_time() -> None:
    shape = tasmota_shape("meter-1", ZoneInfo("America/New_York"), 230.0)

    assert shape.telemetry_topic == "tele/meter-1/SENSOR"
    assert shape.telemetry(DeviceMessage(LOAD, NOON, 7)) == {
        "Time": "2026-06-25T12:00:00",
        "ENERGY": {"Power": [46_000.0, 18_400.0, -3399.4], "Voltage": 230.0, "Current": [200.0, 80.0, 14.78]},
    }
    assert (shape.status_topic, shape.status(True, NOON), shape.status(False, NOON)) == (
        "tele/meter-1/LWT",
        "Online",
        "Offline",
    )


def test_a_shelly_meter_tells_export_as_negative_watts() -> None:
    shape = shelly_shape("meter-1", 230.0)

    message = shape.telemetry(
        DeviceMessage(LOAD | {"load_kw": 0.0, "export_kw": 12.5, "current_a": (-54.35,)}, NOON, 7)
    )

    assert shape.telemetry_topic == "meter-1/events/rpc"
    assert message["method"] == "NotifyStatus"
    assert message["params"] == {
        "ts": 1_782_403_200.25,
        "em:0": {
            "id": 0,
            "total_act_power": -12_500.0,
            "a_act_power": -12_500.5,
            "a_voltage": 230.0,
            "a_current": 54.35,
        },
    }
    assert (shape.status_topic, shape.status(True, NOON), shape.status(False, NOON)) == (
        "meter-1/online",
        "true",
        "false",
    )


def test_a_sunspec_inverter_tells_whole_numbers_with_a_scale_factor() -> None:
    shape = sunspec_shape("pv-1")

    message = shape.telemetry(DeviceMessage({"generation_kw": 41.253, "capacity_kwp": 100.0}, NOON, 7))

    assert shape.telemetry_topic == "sunspec/pv-1/models"
    assert message["models"] == {"103": {"W": 4125, "W_SF": 1}}
    assert shape.status_topic == "sunspec/pv-1/status"


NEW_YORK = ZoneInfo("America/New_York")
SUN = {"generation_kw": 41.25, "capacity_kwp": 100.0}
CHARGE = {"soc_percent": 83.0, "capacity_kwh": 100.0, "active_power_kw": -4.5}
DRAWN = {"load_kw": 61.0, "export_kw": 0.0}


@pytest.mark.parametrize(
    ("spoken", "understood", "said", "told"),
    [
        (own_shape("s", "solar", "pv-1"), native.own_shape("solar", "site/s/solar/pv-1"), SUN, SUN),
        (own_shape("s", "battery", "bess-1"), native.own_shape("battery", "site/s/battery/bess-1"), CHARGE, CHARGE),
        (own_shape("s", "grid", "meter-1"), native.own_shape("grid", "site/s/grid/meter-1"), LOAD, DRAWN),
        (
            tasmota_shape("meter-1", NEW_YORK, 230.0),
            meters.tasmota_shape("grid", "tele/meter-1", factor=1.0, zone=NEW_YORK),
            LOAD,
            DRAWN,
        ),
        (shelly_shape("meter-1", 230.0), meters.shelly_shape("grid", "meter-1", factor=1.0), LOAD, DRAWN),
        (
            sunspec_shape("pv-1"),
            sunspec.sunspec_shape("solar", "sunspec/pv-1", factor=1.0),
            SUN,
            {"generation_kw": 41.25},
        ),
    ],
    ids=["own sun", "own battery", "own meter", "tasmota", "shelly", "sunspec"],
)
def test_the_services_understand_what_the_devices_say(
    spoken: Shape, understood: Understood, said: dict[str, Any], told: dict[str, float]
) -> None:
    message = json.dumps(spoken.telemetry(DeviceMessage(said, NOON, 7))).encode()
    birth, will = (_on_the_wire(spoken, is_online) for is_online in (True, False))

    measurement = understood.parse(message, NOON)

    assert (spoken.telemetry_topic, spoken.status_topic) == (understood.telemetry, understood.status)
    assert isinstance(measurement, Measurement)
    assert {name: measurement.values[name] for name in told} == pytest.approx(told, abs=0.001)
    assert abs((measurement.timestamp - NOON).total_seconds()) < 1
    assert [understood.parse_status(birth), understood.parse_status(will)] == ["online", "offline"]


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("own", own_shape("greensboro", "grid", "meter-1")),
        ("tasmota", tasmota_shape("meter-1", NEW_YORK, 230.0)),
        ("shelly", shelly_shape("meter-1", 230.0)),
    ],
)
def test_the_services_understand_the_phases_of_the_meter(name: str, spoken: Shape) -> None:
    settings = MqttDeviceSettings.model_validate({"shape": name, "device_id": "meter-1"})

    measurement = shape_of("grid", settings, SiteSettings()).parse(
        json.dumps(spoken.telemetry(DeviceMessage(LOAD, NOON, 7))).encode(), NOON
    )

    assert isinstance(measurement, Measurement)
    device = connection_meter(SiteSettings())
    assert validate(measurement, Past(), NOON, device.rules)[1] is None
    assert device.reading(measurement, "mqtt").current_a == pytest.approx((200.0, 80.0, -14.78), abs=0.01)


def _on_the_wire(shape: Shape, is_online: bool) -> bytes:
    said = shape.status(is_online, NOON)
    return said.encode() if isinstance(said, str) else json.dumps(said).encode()
