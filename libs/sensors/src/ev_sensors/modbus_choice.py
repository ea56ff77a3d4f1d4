"""Which source a service's Modbus settings make: address, TLS and pace put together for one device."""

import logging
import ssl
from typing import TypeVar

from ev_sensors.inbox import Device
from ev_sensors.modbus import Manner, ModbusSource, Pace
from ev_sensors.modbus_link import Address
from ev_sensors.settings import ModbusDeviceSettings, ModbusInverterSettings, ModbusMeterSettings
from ev_sensors.sunspec_roles import Selection
from ev_service.addresses import is_loopback
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.telemetry import Reading
from ev_service.trust import create_ssl_context

R = TypeVar("R", bound=Reading)

PORT, TLS_PORT = 502, 802

_logger = logging.getLogger(__name__)


def modbus_source(device: Device[R], settings: ModbusDeviceSettings, clock: Clock) -> ModbusSource[R]:
    """The source that asks one device.

    Args:
        device: what kind of device it is.
        settings: where it is, and how it is read.
        clock: the run's clock.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    manner = Manner(
        settings.base_address,
        settings.factor,
        settings.silent_after_s,
        settings.keeps_connection,
        selection_of(settings),
    )
    return ModbusSource(address_of(settings), device, manner, clock, Pace(settings.period_s))


def selection_of(settings: ModbusDeviceSettings) -> Selection:
    """Which part of the device is meant."""
    if isinstance(settings, ModbusInverterSettings):
        strings = settings.strings.split(",") if settings.strings else ()
        return Selection(power=settings.power, strings=frozenset(map(int, strings)))
    if isinstance(settings, ModbusMeterSettings):
        return Selection(meter=settings.meter)
    return Selection()


def address_of(settings: ModbusDeviceSettings) -> Address:
    """Where the device is, and whom to trust there.

    Raises:
        ConfigurationError: it is not named, or a file cannot be used.
    """
    prefix = settings.model_config.get("env_prefix", "")
    if settings.host is None:
        raise ConfigurationError(f"{prefix}HOST must name the device when the source is modbus")
    tls = _tls(settings, prefix) if settings.tls else None
    if tls is None and not is_loopback(settings.host):
        _logger.warning("plain Modbus: anyone on the device's network can answer in its place or write to it")
    port = settings.port or (PORT if tls is None else TLS_PORT)
    return Address(settings.host, port, settings.unit_id, settings.timeout_s, tls)


def _tls(settings: ModbusDeviceSettings, prefix: str) -> ssl.SSLContext:
    context = create_ssl_context(settings.ca_file, f"{prefix}CA_FILE")
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{prefix}CERT_FILE {settings.cert_file} can not be used: {error}") from error
    return context
