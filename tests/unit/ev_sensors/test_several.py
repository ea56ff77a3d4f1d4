"""Several devices of one role: what they make up, and which settings of them are refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from battery_service.sources import battery_device
from ev_sensors.connection_meter import connection_meter
from ev_sensors.modbus_source_factory import modbus_source
from ev_sensors.settings import ModbusInverterSettings, ModbusMeterSettings, MqttDeviceSettings, MqttSettings
from ev_sensors.several_devices import CombinedSource
from ev_sensors.source_factory import mqtt_source
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus
from solar_service.sources import solar_device

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
LATER = NOON + timedelta(seconds=5)


def _meter(power_kw: float, current_a: tuple[float, ...] | None, timestamp: datetime = NOON) -> GridLoad:
    load_kw, export_kw = max(power_kw, 0.0), max(-power_kw, 0.0)
    return GridLoad(
        site_id="x",
        timestamp=timestamp,
        source="mqtt",
        load_percent=load_kw,
        load_kw=load_kw,
        limit_kw=100.0,
        export_kw=export_kw,
        current_a=current_a,
    )


def _battery(soc_percent: float, capacity_kwh: float, active_power_kw: float | None) -> BatteryStatus:
    return BatteryStatus(
        site_id="x",
        timestamp=NOON,
        source="mqtt",
        soc_percent=soc_percent,
        capacity_kwh=capacity_kwh,
        active_power_kw=active_power_kw,
    )


def test_meters_are_balanced_in_all_and_on_each_phase_and_are_as_old_as_the_oldest() -> None:
    combine = connection_meter(SiteSettings(id="x")).combine
    assert combine is not None

    both = combine([_meter(20.0, (30.0, 30.0, 27.0), LATER), _meter(-5.0, (-7.0, -7.0, -8.0))])
    without = combine([_meter(20.0, (30.0, 30.0, 27.0)), _meter(-25.0, None)])

    assert (both.load_kw, both.export_kw, both.load_percent, both.timestamp) == (15.0, 0.0, 15.0, NOON)
    assert both.current_a == (23.0, 23.0, 19.0)
    assert (without.load_kw, without.export_kw, without.current_a) == (0.0, 5.0, None)


def test_batteries_are_weighted_by_capacity() -> None:
    combine = battery_device("x", 100.0).combine
    assert combine is not None

    both = combine([_battery(90.0, 30.0, 4.0), _battery(40.0, 70.0, -1.0)])

    assert (both.soc_percent, both.capacity_kwh, both.active_power_kw) == (55.0, 100.0, 3.0)
    assert combine([_battery(90.0, 30.0, 4.0), _battery(40.0, 70.0, None)]).active_power_kw is None


def test_inverters_are_summed() -> None:
    combine = solar_device("x", 100.0).combine
    assert combine is not None
    readings = [
        SolarStatus(site_id="x", timestamp=at, source="mqtt", generation_kw=kw, capacity_kwp=kwp)
        for at, kw, kwp in ((NOON, 10.0, 30.0), (LATER, 20.5, 70.0))
    ]

    assert combine(readings) == SolarStatus(
        site_id="x", timestamp=NOON, source="mqtt", generation_kw=30.5, capacity_kwp=100.0
    )


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("{}", "must be a JSON list of devices"),
        ("[", "must be a JSON list of devices"),
        ([], "must name at least one device"),
        ([{"device_id": "a", "capacity": 30}] * 2, "and each once"),
        ([{"device_id": "a", "capacity": 30}, {"device_id": "b"}], "write the capacity of b"),
        (
            [{"device_id": "a", "capacity": 30}, {"device_id": "b", "capacity": 20}],
            "make up 50, and 100 is set for all",
        ),
        ([{"device_id": "a", "power": 30}], "0.power: Extra inputs are not permitted"),
        ([{"capacity": 30}], "0.device_id: Field required"),
        ([{"device_id": "a", "shape": "json", "values": "power=m"}], "a: VALUES: power=m names no topic"),
    ],
)
def test_a_file_of_devices_that_is_not_clear_is_refused(tmp_path: Path, listed: object, told: str) -> None:
    file = tmp_path / "devices.json"
    file.write_text(listed if isinstance(listed, str) else json.dumps(listed))
    settings = MqttDeviceSettings(devices_file=file)

    with pytest.raises(ConfigurationError) as refused:
        mqtt_source(solar_device("x", 100.0), settings, MqttSettings(), SiteSettings(), SystemClock())

    assert f"DEVICES_FILE {file}" in refused.value.message
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ([{"device_id": "a", "capacity": 100}], "a: HOST must name the device"),
        ([{"device_id": "a", "host": "h", "meter": 1}], "0.meter: Extra inputs are not permitted"),
        ([{"device_id": "a", "host": "h"}, {"device_id": "b", "host": "i"}], "write the capacity of a, b"),
        (
            [{"device_id": "a", "host": "h", "capacity": 30}, {"device_id": "b", "host": "h", "capacity": 70}],
            "a and b are the same device",
        ),
        (
            [{"device_id": "a", "host": "h", "tls": True, "ca_file": "/nowhere"}],
            "a: CA_FILE /nowhere cannot be used",
        ),
    ],
)
def test_a_file_of_modbus_devices_that_is_not_clear_is_refused(tmp_path: Path, listed: object, told: str) -> None:
    file = tmp_path / "devices.json"
    file.write_text(json.dumps(listed))

    with pytest.raises(ConfigurationError) as refused:
        modbus_source(solar_device("x", 100.0), ModbusInverterSettings(devices_file=file), SystemClock())

    assert f"DEVICES_FILE {file}" in refused.value.message
    assert told in refused.value.message


def test_two_meters_of_one_device_are_two_devices(tmp_path: Path) -> None:
    file = tmp_path / "devices.json"
    listed = [{"device_id": f"m-{number}", "host": "127.0.0.1", "meter": number} for number in (1, 2)]
    file.write_text(json.dumps(listed))

    source = modbus_source(connection_meter(SiteSettings()), ModbusMeterSettings(devices_file=file), SystemClock())

    assert isinstance(source, CombinedSource)
