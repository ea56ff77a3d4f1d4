"""Which devices fail in which way, and until when, by order.

The device that has a fault implements its effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ev_service.errors import EvError


class UnknownDeviceError(EvError):
    """No such device, or it cannot fail in that way."""

    code = "unknown_device"
    http_status = 404


class UnknownFaultError(EvError):
    """The device cannot fail in that way."""

    code = "unknown_fault"
    http_status = 422


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one device.

    since, until: aware UTC; it is in force from the one to just before the other.
    """

    device: str
    kind: str
    since: datetime
    until: datetime


class FaultBoard:
    """The faults that were ordered."""

    def __init__(self, kinds: Mapping[str, Mapping[str, str]]) -> None:
        """Take orders for these devices.

        Args:
            kinds: for each device its kinds of fault, each with what it does in one sentence.
        """
        self.kinds = kinds
        self._faults: dict[tuple[str, str], Fault] = {}

    def order(self, device: str, kind: str, *, now: datetime, minutes: float) -> Fault:
        """Let a device fail from now on; an order of the same kind replaces the one before.

        Raises:
            UnknownDeviceError: there is no such device.
            UnknownFaultError: it cannot fail in that way.
        """
        known = self._kinds_of(device)
        if kind not in known:
            raise UnknownFaultError(f"{device} cannot fail as {kind}, only as {', '.join(sorted(known))}")
        fault = Fault(device, kind, now, now + timedelta(minutes=minutes))
        self._faults[device, kind] = fault
        return fault

    def lift(self, device: str) -> None:
        """End all faults of a device.

        Raises:
            UnknownDeviceError: there is no such device.
        """
        self._kinds_of(device)
        self._faults = {key: fault for key, fault in self._faults.items() if fault.device != device}

    def in_force(self, moment: datetime) -> tuple[Fault, ...]:
        """All faults at a moment, by device and kind."""
        return tuple(fault for _, fault in sorted(self._faults.items()) if fault.since <= moment < fault.until)

    def of(self, device: str, moment: datetime) -> frozenset[str]:
        """How a device fails at a moment."""
        return frozenset(fault.kind for fault in self.in_force(moment) if fault.device == device)

    def next_end(self, after: datetime) -> datetime | None:
        """When the next fault ends by itself."""
        return min((fault.until for fault in self._faults.values() if fault.until > after), default=None)

    def _kinds_of(self, device: str) -> Mapping[str, str]:
        known = self.kinds.get(device)
        if known is None:
            raise UnknownDeviceError(f"there is no device {device}, only {', '.join(sorted(self.kinds)) or 'none'}")
        return known
