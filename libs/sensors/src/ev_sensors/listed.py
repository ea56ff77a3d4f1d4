"""Several devices of one role, as a file lists them: which they are, and what part of the whole each of them is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from ev_sensors.message_validator import Device
from ev_sensors.settings import DeviceListEntry
from ev_sensors.shapes.native import why_wrong
from ev_service.errors import ConfigurationError
from ev_service.telemetry import Reading

L = TypeVar("L", bound=DeviceListEntry)
R = TypeVar("R", bound=Reading)

_CAPACITY_TOLERANCE = 0.01
"""How far the sum of the devices' capacities may be from the one that is set, as a share of it."""


def read_devices(file: Path, adapter: TypeAdapter[list[L]], where: str) -> list[L]:
    """The devices of a file, at least one.

    Args:
        file: a JSON list.
        adapter: what stands in it.
        where: how the file is called in errors.

    Raises:
        ConfigurationError: it cannot be read, or its content cannot be used.
    """
    try:
        listed = adapter.validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{where} must be a JSON list of devices: {why_wrong(error)}") from error
    names = [each.device_id for each in listed]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"{where} must name at least one device, and each once")
    return listed


def parts_of(device: Device[R], listed: Sequence[DeviceListEntry], where: str) -> list[Device[R]]:
    """Each device as what it is a part of, by its share of the capacity where there is one.

    Args:
        device: what they make up.
        listed: all of them.
        where: how their file is called in errors.

    Raises:
        ConfigurationError: the capacities are missing, or do not make up the whole.
    """
    if device.part is None or device.capacity is None or len(listed) == 1:
        return [device for _ in listed]
    shares = [each.capacity for each in listed if each.capacity is not None]
    if len(shares) < len(listed):
        without = ", ".join(each.device_id for each in listed if each.capacity is None)
        raise ConfigurationError(f"{where}: write the capacity of {without}, in kWp or kWh as that of all is set")
    if abs(sum(shares) - device.capacity) > _CAPACITY_TOLERANCE * device.capacity:
        total, set_to = f"{sum(shares):g}", f"{device.capacity:g}"
        raise ConfigurationError(
            f"{where}: the capacities make up {total}, and {set_to} is set for all; set it to {total}"
        )
    return [device.part(share) for share in shares]
