"""Which devices the site has, what each measures, and how it writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from ev_service.settings import SiteSettings
from ev_service.telemetry import Reading
from site_twin.devices.failing import Distortion
from site_twin.devices.shapes import Shape, Values, own_shape, shelly_shape, sunspec_shape, tasmota_shape
from site_twin.readings import Powers, Readings
from site_twin.settings import TwinSettings

SOLAR, BATTERY, METER = "pv-1", "bess-1", "meter-1"
DEVICES = (SOLAR, BATTERY, METER)


@dataclass(frozen=True, slots=True)
class DeviceType:
    """One device.

    spike, lie: what it makes of that when it fails.
    """

    device_id: str
    shape: Shape
    measure: Callable[[Powers], Values]
    """What it sees of the site."""

    spike: Distortion
    lie: Distortion


def device_kinds(readings: Readings, site: SiteSettings, settings: TwinSettings) -> tuple[DeviceType, ...]:
    """The devices of the site, each in the shape that is set for it."""
    inverters = {"own": own_shape(site.id, "solar", SOLAR), "sunspec": sunspec_shape(SOLAR)}
    meters = {
        "own": own_shape(site.id, "grid", METER),
        "tasmota": tasmota_shape(METER, ZoneInfo(site.timezone), site.voltage_v),
        "shelly": shelly_shape(METER, site.voltage_v),
    }
    return (
        DeviceType(
            device_id=SOLAR,
            shape=inverters[settings.inverter_shape],
            measure=lambda powers: _values(readings.solar_status(powers)),
            spike=_spike_of_sun,
            lie=_lie_of_sun,
        ),
        DeviceType(
            device_id=BATTERY,
            shape=own_shape(site.id, "battery", BATTERY),
            measure=lambda powers: _values(readings.battery_status(powers)),
            spike=_spike_of_charge,
            lie=_lie_of_charge,
        ),
        DeviceType(
            device_id=METER,
            shape=meters[settings.meter_shape],
            measure=lambda powers: _values(readings.grid_load(powers)),
            spike=partial(_spike_of_load, voltage_v=site.voltage_v),
            lie=partial(_lie_of_load, voltage_v=site.voltage_v),
        ),
    )


def _values(reading: Reading) -> Values:
    return reading.model_dump(exclude={"site_id", "timestamp", "source"}, exclude_none=True)


def _spike_of_sun(values: Values) -> Mapping[str, Any]:
    capacity_kwp = values["capacity_kwp"]
    return {"generation_kw": 0.0 if values["generation_kw"] > capacity_kwp / 2 else capacity_kwp}


def _lie_of_sun(values: Values) -> Mapping[str, Any]:
    return {"generation_kw": -values["generation_kw"] - values["capacity_kwp"] / 10}


def _spike_of_charge(values: Values) -> Mapping[str, Any]:
    return {"soc_percent": 0.0 if values["soc_percent"] > 50 else 100.0}


def _lie_of_charge(_: Values) -> Mapping[str, Any]:
    return {"soc_percent": 250.0}


def _spike_of_load(values: Values, *, voltage_v: float) -> Mapping[str, Any]:
    return _load(values, 0.0 if values["load_kw"] > values["limit_kw"] / 2 else values["limit_kw"], voltage_v)


def _lie_of_load(values: Values, *, voltage_v: float) -> Mapping[str, Any]:
    return _load(values, 4 * values["limit_kw"], voltage_v)


def _load(values: Values, load_kw: float, voltage_v: float) -> Mapping[str, Any]:
    phases = len(values["current_a"])
    current_a = (load_kw * 1000 / (voltage_v * phases),) * phases
    percent = load_kw / values["limit_kw"] * 100
    return {"load_kw": load_kw, "load_percent": percent, "export_kw": 0.0, "current_a": current_a}
