"""Which source a service's MQTT settings make: broker, shape and topics put together for one device or several."""

import re
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from ev_sensors.broker import Broker
from ev_sensors.message_validator import Device
from ev_sensors.mqtt import Member, MqttSource, TopicIdentity
from ev_sensors.settings import ListedMqttDevice, MqttDevice, MqttDeviceSettings, MqttSettings
from ev_sensors.several_devices import read_devices, split_device
from ev_sensors.shapes import Role, Shape
from ev_sensors.shapes.mapped import MappingError, create_mapped_shape, read_mapping
from ev_sensors.shapes.meters import shelly_gen1_shape, shelly_shape, tasmota_shape
from ev_sensors.shapes.native import own_shape
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
    prefix = settings.model_config.get("env_prefix", "")
    place = TopicIdentity(site.id, service or device.role)
    if settings.devices_file is None:
        members = [
            Member(settings.device_id, device, shape_of(device.role, settings, site, prefix), settings.silent_after_s)
        ]
    else:
        members = _create_members(device, settings.devices_file, f"{prefix}DEVICES_FILE", site)
    return MqttSource(Broker.of(broker), device, members, place, clock)


def _create_members(device: Device[R], file: Path, name: str, site: SiteSettings) -> list[Member[R]]:
    where = f"{name} {file}"
    listed = read_devices(file, TypeAdapter(list[ListedMqttDevice]), where)
    return [
        Member(
            each.device_id, part, shape_of(device.role, each, site, f"{where}, {each.device_id}: "), each.silent_after_s
        )
        for each, part in zip(listed, split_device(device, listed, where), strict=True)
    ]


def shape_of(role: Role, settings: MqttDevice, site: SiteSettings, prefix: str = "") -> Shape:
    """How a device speaks, and on which topics.

    Args:
        role: what it measures.
        settings: name its shape; its topics too, unless they are the usual ones.
        site: the site, for its name, its phases and its time zone.
        prefix: how the names of the settings begin, for errors.

    Raises:
        ConfigurationError: such a device cannot have this role, or settings do not fit its shape.
    """
    name, factor, shape, zone = settings.device_id, settings.factor, settings.shape, ZoneInfo(site.timezone)
    _demand_fitting(settings, prefix)
    if settings.values is not None:
        try:
            return create_mapped_shape(role, read_mapping(settings.values, role, site.phases), factor=factor, zone=zone)
        except MappingError as error:
            raise ConfigurationError(f"{prefix}VALUES: {error}") from error
    usual = {
        "own": f"site/{site.id}/{role}/{name}",
        "tasmota": f"tele/{name}",
        "shelly": name,
        "shelly_gen1": f"shellies/{name}",
        "sunspec": f"sunspec/{name}",
    }
    base = settings.topic or usual[shape]
    channels = [int(channel) for channel in (settings.channels or "").split(",") if channel]
    if shape == "own":
        return own_shape(role, base)
    if shape == "tasmota":
        return tasmota_shape(role, base, factor=factor, zone=zone)
    if shape == "shelly":
        return shelly_shape(role, base, factor=factor, phases=site.phases, channels=channels)
    if shape == "shelly_gen1":
        return shelly_gen1_shape(role, base, factor=factor, phases=site.phases, channels=channels)
    return sunspec_shape(role, base, factor=factor)


def _demand_fitting(settings: MqttDevice, prefix: str) -> None:
    """Refuse what one shape needs and another has no use for: whoever sets it expects something else."""
    is_mapped = settings.shape == "json"
    if is_mapped and settings.values is None:
        raise ConfigurationError(
            f"{prefix}VALUES must say where each value stands when the shape is json, "
            "such as power=tele/meter/SENSOR#/SML/curr_w W"
        )
    if is_mapped and settings.topic is not None:
        raise ConfigurationError(f"{prefix}TOPIC has no use for shape json: each of {prefix}VALUES names its topic")
    if not is_mapped and settings.values is not None:
        raise ConfigurationError(f"{prefix}VALUES needs {prefix}SHAPE json, and it is {settings.shape}")
    if settings.channels is not None:
        if settings.shape not in ("shelly", "shelly_gen1"):
            raise ConfigurationError(f"{prefix}CHANNELS is for the shapes shelly and shelly_gen1 alone")
        if len(set(settings.channels.split(","))) < len(settings.channels.split(",")):
            raise ConfigurationError(f"{prefix}CHANNELS names a channel twice")
