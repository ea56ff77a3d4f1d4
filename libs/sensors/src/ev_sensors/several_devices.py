"""Several devices of one role: the file that lists them, the share of each, and their sources as one source."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from prometheus_client.registry import Collector
from pydantic import TypeAdapter, ValidationError

from ev_sensors.message_validator import Device
from ev_sensors.settings import DeviceListEntry
from ev_sensors.shapes.native import why_wrong
from ev_service.errors import ConfigurationError
from ev_service.sources import Source
from ev_service.tasks import cancel_and_wait
from ev_service.telemetry import Reading

L = TypeVar("L", bound=DeviceListEntry)
R = TypeVar("R", bound=Reading)

_CAPACITY_TOLERANCE = 0.01
"""Permitted relative difference between the sum of the devices' capacities and the configured capacity."""


def read_devices(file: Path, adapter: TypeAdapter[list[L]], where: str) -> list[L]:
    """Read the devices of a file, at least one.

    Args:
        file: a JSON list.
        adapter: type of the list.
        where: name of the file in errors.

    Raises:
        ConfigurationError: it cannot be read, or its content cannot be used.
    """
    try:
        devices = adapter.validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{where} must be a JSON list of devices: {why_wrong(error)}") from error
    names = [each.device_id for each in devices]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"{where} must name at least one device, and each once")
    return devices


def split_device(device: Device[R], devices: Sequence[DeviceListEntry], where: str) -> list[Device[R]]:
    """Describe each device as a part of the whole, by its share of the capacity if there is one.

    Args:
        device: the whole.
        devices: all of its parts.
        where: name of their file in errors.

    Raises:
        ConfigurationError: capacities are missing, or their sum is not the configured capacity.
    """
    if device.part is None or device.capacity is None or len(devices) == 1:
        return [device for _ in devices]
    shares = [each.capacity for each in devices if each.capacity is not None]
    if len(shares) < len(devices):
        without = ", ".join(each.device_id for each in devices if each.capacity is None)
        raise ConfigurationError(f"{where}: write the capacity of {without}, in kWp or kWh as that of all is set")
    if abs(sum(shares) - device.capacity) > _CAPACITY_TOLERANCE * device.capacity:
        total, set_to = f"{sum(shares):g}", f"{device.capacity:g}"
        raise ConfigurationError(
            f"{where}: the capacities make up {total}, and {set_to} is set for all; set it to {total}"
        )
    return [device.part(share) for share in shares]


class CombinedSource(Source[R]):
    """Several sources as one; it has a value only if each of them has one."""

    def __init__(
        self, sources: Sequence[Source[R]], combine: Callable[[Sequence[R]], R], collectors: Iterable[Collector]
    ) -> None:
        """Combine sources.

        Args:
            sources: at least one.
            combine: combines their readings.
            collectors: metrics that the sources share.
        """
        self._sources, self._combine, self._collectors = sources, combine, collectors

    def metrics(self) -> Iterable[Collector]:
        """Return the metrics that the sources share."""
        return self._collectors

    async def read(self, now: datetime) -> R:
        """Return the combined latest valid values.

        Raises:
            SourceUnavailableError: a source has no value.
        """
        return self._combine([await source.read(now) for source in self._sources])

    async def health_error(self, now: datetime) -> str | None:
        """Return the reasons of all sources that fail, None if there are none."""
        reasons = [await source.health_error(now) for source in self._sources]
        return "; ".join(reason for reason in reasons if reason is not None) or None

    async def wait_for_update(self) -> None:
        """Wait for the next value of any source."""
        waiting = [asyncio.ensure_future(source.wait_for_update()) for source in self._sources]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*waiting)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run all sources."""
        async with AsyncExitStack() as stack:
            for source in self._sources:
                await stack.enter_async_context(source.running())
            yield
