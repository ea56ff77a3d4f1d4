"""What the Modbus settings make: which device is asked, how it is met, and which settings do not start."""

import logging

import pytest

from battery_service.sources import BatterySourceSettings
from battery_service.sources import create_source as battery_source
from ev_sensors.modbus import ModbusSource
from ev_sensors.modbus_source_factory import address_of, selection_of
from ev_sensors.settings import ModbusDeviceSettings, ModbusInverterSettings, ModbusMeterSettings
from ev_sensors.sunspec_roles import Selection
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError, SourceUnavailableError
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.sources import ServiceSettings, SourceSettings
from grid_service.sources import GridSourceSettings
from grid_service.sources import create_source as grid_source
from solar_service.sources import SolarSourceSettings
from solar_service.sources import create_source as solar_source


def _build_settings(source: SourceSettings) -> ServiceSettings:
    return ServiceSettings(source, load(SiteSettings), RunSettings())


def test_a_device_is_met_on_the_registered_port_unless_another_is_set() -> None:
    plain, tls = ModbusDeviceSettings(host="inverter"), ModbusDeviceSettings(host="inverter", tls=True)

    assert (address_of(plain, "").port, address_of(plain, "").tls) == (502, None)
    assert (address_of(tls, "").port, address_of(tls, "").tls is None) == (802, False)
    assert address_of(ModbusDeviceSettings(host="inverter", port=1502), "").port == 1502


@pytest.mark.anyio
async def test_each_service_asks_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("SOLAR", "BATTERY", "GRID"):
        monkeypatch.setenv(f"{role}_MODBUS_HOST", "127.0.0.1")
    clock = SystemClock()
    sources = {
        "the inverter": solar_source(_build_settings(SolarSourceSettings(source="modbus")), clock),
        "the battery": battery_source(_build_settings(BatterySourceSettings(source="modbus")), clock),
        "the meter": grid_source(_build_settings(GridSourceSettings(source="modbus")), clock),
    }

    for name, source in sources.items():
        assert isinstance(source, ModbusSource)
        with pytest.raises(SourceUnavailableError, match=f"no reading of {name} yet: it has not been asked"):
            await source.read(clock.now())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"SOLAR_MODBUS_HOST": ""}, "SOLAR_MODBUS_HOST must name the device when the source is modbus"),
        ({"SOLAR_MODBUS_HOST": "http://inverter/"}, "SOLAR_MODBUS_HOST"),
        ({"SOLAR_MODBUS_PORT": "70000"}, "SOLAR_MODBUS_PORT"),
        ({"SOLAR_MODBUS_UNIT_ID": "256"}, "SOLAR_MODBUS_UNIT_ID"),
        ({"SOLAR_MODBUS_SILENT_AFTER_S": "61"}, "SOLAR_MODBUS_SILENT_AFTER_S"),
        ({"SOLAR_MODBUS_STRINGS": "1;2"}, "SOLAR_MODBUS_STRINGS"),
        ({"SOLAR_MODBUS_POWER": "sun"}, "SOLAR_MODBUS_POWER"),
        ({"SOLAR_MODBUS_FACTOR": "inf"}, "SOLAR_MODBUS_FACTOR"),
        ({"SOLAR_MODBUS_TLS": "1", "SOLAR_MODBUS_CA_FILE": "/nowhere"}, "SOLAR_MODBUS_CA_FILE /nowhere cannot be"),
        ({"SOLAR_MODBUS_TLS": "1", "SOLAR_MODBUS_CERT_FILE": "/nowhere"}, "SOLAR_MODBUS_CERT_FILE /nowhere cannot be"),
    ],
)
def test_a_setting_that_cannot_be_used_does_not_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    for name, value in {"SOLAR_MODBUS_HOST": "inverter", **settings}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError) as refused:
        solar_source(_build_settings(SolarSourceSettings(source="modbus")), SystemClock())

    assert reason in refused.value.message


def test_the_part_of_a_device_is_set_by_strings_or_by_the_number_of_a_meter() -> None:
    assert selection_of(ModbusInverterSettings(strings="1,12")) == Selection(strings=frozenset({1, 12}))
    assert selection_of(ModbusInverterSettings(power="dc")) == Selection(power="dc")
    assert selection_of(ModbusMeterSettings(meter=2)) == Selection(meter=2)
    assert selection_of(ModbusDeviceSettings()) == Selection()


@pytest.mark.parametrize(("host", "tls", "warns"), [("inverter", False, 1), ("inverter", True, 0), ("::1", False, 0)])
def test_plain_modbus_to_another_machine_is_warned_of(
    host: str, *, tls: bool, warns: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ev_sensors"):
        address_of(ModbusDeviceSettings(host=host, tls=tls), "")

    assert len(caplog.records) == warns
