"""Which source a service's MQTT settings make: broker, shape and topics put together for one device."""

import re
from typing import TypeVar
from zoneinfo import ZoneInfo

from ev_sensors.broker import Broker
from ev_sensors.inbox import Device
from ev_sensors.mqtt import MqttSource, Place
from ev_sensors.settings import MqttDeviceSettings, MqttSettings
from ev_sensors.shapes import Role, Shape
from ev_sensors.shapes.meters import shelly_shape, tasmota_shape
from ev_sensors.shapes.own import own_shape
from ev_sensors.shapes.sunspec import sunspec_shape
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings
from ev_service.telemetry import Reading

R = TypeVar("R", bound=Reading)

_TOPIC_WORD = re.compile(r"[^+#/\x00]+")


def mqtt_source(
    device: Device[R],
    settings: MqttDeviceSettings,
    broker: MqttSettings,
    site: SiteSettings,
    clock: Clock,
    *,
    service: str | None = None,
) -> MqttSource[R]:
    """The source that listens to one device.

    Args:
        device: what kind of device it is.
        settings: which one, and how it speaks.
        broker: where.
        site: the site, whose name stands in topics.
        clock: the run's clock.
        service: name of the service that listens; absent: it is the one of the device's role.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if not _TOPIC_WORD.fullmatch(site.id):
        raise ConfigurationError(f"SITE_ID {site.id} cannot stand in a topic: it holds one of + # /")
    place = Place(site.id, settings.device_id, settings.silent_after_s, service or device.role)
    return MqttSource(Broker.of(broker), device, shape_of(device.role, settings, site), place, clock)


def shape_of(role: Role, settings: MqttDeviceSettings, site: SiteSettings) -> Shape:
    """How a device speaks, and on which topics.

    Args:
        role: what it measures.
        settings: name its shape; its topics too, unless they are the usual ones.
        site: the site, for its name and its time zone.

    Raises:
        ConfigurationError: such a device cannot have this role.
    """
    name, factor = settings.device_id, settings.factor
    usual = {
        "own": f"site/{site.id}/{role}/{name}",
        "tasmota": f"tele/{name}",
        "shelly": name,
        "sunspec": f"sunspec/{name}",
    }
    base = settings.topic or usual[settings.shape]
    if settings.shape == "own":
        return own_shape(role, base)
    if settings.shape == "tasmota":
        return tasmota_shape(role, base, factor=factor, zone=ZoneInfo(site.timezone))
    if settings.shape == "shelly":
        return shelly_shape(role, base, factor=factor)
    return sunspec_shape(role, base, factor=factor)
