"""Which source a service's Modbus settings make: address, TLS and pace put together for one device or several."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from ev_sensors.message_validator import Device
from ev_sensors.metrics import ModbusMetrics
from ev_sensors.modbus import ModbusSource, PollTiming, ReadOptions
from ev_sensors.modbus_link import Address, ClientTls
from ev_sensors.settings import (
    ListedModbusDevice,
    ListedModbusInverter,
    ListedModbusMeter,
    ModbusDevice,
    ModbusDeviceSettings,
    ModbusInverter,
    ModbusInverterSettings,
    ModbusMeter,
    ModbusMeterSettings,
)
from ev_sensors.several_devices import CombinedSource, read_devices, split_device
from ev_sensors.sunspec_roles import Selection
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.settings import is_loopback
from ev_service.sources import Source
from ev_service.telemetry import Reading
from ev_service.trust import Authorities

R = TypeVar("R", bound=Reading)

ListedModbus = ListedModbusDevice | ListedModbusInverter | ListedModbusMeter

PORT, TLS_PORT = 502, 802

_logger = logging.getLogger(__name__)


def modbus_source(device: Device[R], settings: ModbusDeviceSettings, clock: Clock) -> Source[R]:
    """The source that asks one device, or several as one.

    Args:
        device: what kind of device it is.
        settings: where it is, and how it is read.
        clock: the run's clock.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    prefix, counts = settings.model_config.get("env_prefix", ""), ModbusMetrics()
    if settings.devices_file is None:
        return _source_of(device, settings, address_of(settings, prefix), clock, counts)
    where = f"{prefix}DEVICES_FILE {settings.devices_file}"
    listed = _read_listed(settings, settings.devices_file, where)
    addresses = [address_of(each, f"{where}, {each.device_id}: ") for each in listed]
    _demand_different(listed, addresses, where)
    sources = [
        _source_of(part, each, address, clock, counts, each.device_id)
        for part, each, address in zip(split_device(device, listed, where), listed, addresses, strict=True)
    ]
    return sources[0] if device.combine is None else CombinedSource(sources, device.combine, counts.collectors())


def _source_of(
    device: Device[R],
    settings: ModbusDevice,
    address: Address,
    clock: Clock,
    counts: ModbusMetrics,
    device_id: str = "",
) -> ModbusSource[R]:
    options = ReadOptions(
        settings.base_address,
        settings.factor,
        settings.silent_after_s,
        settings.keeps_connection,
        selection_of(settings),
        device_id,
    )
    return ModbusSource(address, device, options, clock, PollTiming(settings.period_s), counts)


def _read_listed(settings: ModbusDeviceSettings, file: Path, where: str) -> Sequence[ListedModbus]:
    if isinstance(settings, ModbusInverterSettings):
        return read_devices(file, TypeAdapter(list[ListedModbusInverter]), where)
    if isinstance(settings, ModbusMeterSettings):
        return read_devices(file, TypeAdapter(list[ListedModbusMeter]), where)
    return read_devices(file, TypeAdapter(list[ListedModbusDevice]), where)


def _demand_different(listed: Sequence[ListedModbus], addresses: Sequence[Address], where: str) -> None:
    """Refuse a device that is listed twice: it would count twice."""
    names: dict[tuple[object, ...], str] = {}
    for each, to in zip(listed, addresses, strict=True):
        device = (to.host, to.port, to.unit_id, each.base_address, selection_of(each))
        other = names.setdefault(device, each.device_id)
        if other != each.device_id:
            raise ConfigurationError(f"{where}: {other} and {each.device_id} are the same device")


def selection_of(settings: ModbusDevice) -> Selection:
    """Which part of the device is meant."""
    if isinstance(settings, ModbusInverter):
        strings = settings.strings.split(",") if settings.strings else ()
        return Selection(power=settings.power, strings=frozenset(map(int, strings)))
    if isinstance(settings, ModbusMeter):
        return Selection(meter=settings.meter)
    return Selection()


def address_of(settings: ModbusDevice, prefix: str) -> Address:
    """Where the device is, and whom to trust there.

    Args:
        settings: name it.
        prefix: how the names of the settings begin, for errors.

    Raises:
        ConfigurationError: it is not named, or a file cannot be used.
    """
    if settings.host is None:
        raise ConfigurationError(f"{prefix}HOST must name the device when the source is modbus")
    tls = _tls(settings, prefix) if settings.tls else None
    if tls is None and not is_loopback(settings.host):
        _logger.warning("plain Modbus: anyone on the device's network can answer in its place or write to it")
    port = settings.port or (PORT if tls is None else TLS_PORT)
    return Address(settings.host, port, settings.unit_id, settings.timeout_s, tls)


def _tls(settings: ModbusDevice, prefix: str) -> ClientTls:
    authorities = Authorities(settings.ca_file, f"{prefix}CA_FILE")
    tls = ClientTls(authorities, settings.cert_file, settings.key_file)
    try:
        tls.context()
    except OSError as error:
        raise ConfigurationError(f"{prefix}CERT_FILE {settings.cert_file} cannot be used: {error}") from error
    return tls
