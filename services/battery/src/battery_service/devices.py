"""What is plausible for a stationary battery, whatever protocol it speaks."""

from collections.abc import Sequence
from functools import partial

from ev_sensors.checks import Range, Rules, Slope
from ev_sensors.inbox import Device
from ev_sensors.measurement import Measurement
from ev_service.telemetry import BatteryStatus

_QUICKEST = Slope(at_once=3.0, per_s=0.2)
"""How the charge may move [%]: no stationary battery is full within 8 minutes, and 3 % is a meter's step."""

_FULL_PERCENT = 100.0
_ABOVE_FULL_PERCENT = 1.0
"""What a device may say above full [%]: balancing and rounding end there, and it counts as full."""

_HIGHEST_C_RATE = 4.0
"""Power over capacity that no stationary battery passes [1/h]."""


def battery_device(site_id: str, capacity_kwh: float) -> Device[BatteryStatus]:
    """The battery of the site.

    Args:
        site_id: the site.
        capacity_kwh: usable capacity as it is set [kWh]; the device may say that less of it is left.
    """
    highest_kw = _HIGHEST_C_RATE * capacity_kwh

    def reading(measured: Measurement, source: str) -> BatteryStatus:
        return BatteryStatus(
            site_id=site_id,
            timestamp=measured.timestamp,
            source=source,
            soc_percent=min(measured.values["soc_percent"], _FULL_PERCENT),
            capacity_kwh=measured.values.get("capacity_kwh", capacity_kwh),
            active_power_kw=measured.values.get("active_power_kw"),
        )

    def combine(readings: Sequence[BatteryStatus]) -> BatteryStatus:
        kwh = sum(reading.capacity_kwh for reading in readings)
        powers = [reading.active_power_kw for reading in readings]
        known = [power for power in powers if power is not None]
        return BatteryStatus(
            site_id=site_id,
            timestamp=min(reading.timestamp for reading in readings),
            source=readings[0].source,
            soc_percent=sum(reading.soc_percent * reading.capacity_kwh for reading in readings) / kwh,
            capacity_kwh=kwh,
            active_power_kw=sum(known) if len(known) == len(powers) else None,
        )

    ranges = {
        "soc_percent": Range(0.0, _FULL_PERCENT + _ABOVE_FULL_PERCENT, rise=_QUICKEST, fall=_QUICKEST),
        "active_power_kw": Range(-highest_kw, highest_kw),
        "capacity_kwh": Range(0.5 * capacity_kwh, 1.05 * capacity_kwh),
    }
    return Device("battery", Rules(ranges), reading, combine, capacity_kwh, partial(battery_device, site_id))
