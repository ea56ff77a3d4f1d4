"""How devices write their messages: our own shape, and shapes after products of others; pure.

Tasmota: docs "MQTT", topic tele/…/SENSOR with the sensor's JSON, LWT Online/Offline. Shelly: "Gen2 Device API",
NotifyStatus of an EM component. SunSpec: models 103 (three-phase inverter), points W and WH with their scale factors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ev_service.units import utc_text

Values = Mapping[str, Any]
"""The fields of a reading without site, source and time, by their names on the wire."""


@dataclass(frozen=True, slots=True)
class DeviceMessage:
    """What stands in one message besides its topic."""

    values: Values
    measured_at: datetime
    """Aware UTC, as the device's clock has it."""

    sequence: int
    """Rises with every message."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one device writes.

    telemetry_topic, status_topic: where.
    """

    telemetry_topic: str
    status_topic: str
    telemetry: Callable[[DeviceMessage], Mapping[str, Any]]
    """The JSON of a message."""

    status: Callable[[bool, datetime], Mapping[str, Any] | str]
    """What is said of it at birth (True) and by its last will (False), when that is."""


def own_shape(site_id: str, role: str, device_id: str) -> Shape:
    """The shape that this project writes down in docs/asyncapi.yaml."""
    topic = f"site/{site_id}/{role}/{device_id}"
    return Shape(f"{topic}/telemetry", f"{topic}/status", _own_telemetry, _own_status)


def tasmota_shape(device_id: str, zone: ZoneInfo, voltage_v: float) -> Shape:
    """A meter as firmware Tasmota writes it: whole seconds of local time, watts and amperes of each phase."""

    def telemetry(sent: DeviceMessage) -> Mapping[str, Any]:
        local = sent.measured_at.astimezone(zone).replace(tzinfo=None, microsecond=0)
        current_a = sent.values["current_a"]
        energy = {
            "Power": [round(current * voltage_v, 1) for current in current_a],
            "Voltage": voltage_v,
            "Current": [abs(current) for current in current_a],
        }
        return {"Time": local.isoformat(), "ENERGY": energy}

    topic = f"tele/{device_id}"
    return Shape(
        f"{topic}/SENSOR", f"{topic}/LWT", telemetry, lambda is_online, _: "Online" if is_online else "Offline"
    )


def shelly_shape(device_id: str, voltage_v: float) -> Shape:
    """A meter as a Shelly of the second generation writes it: seconds since 1970, watts, currents without a sign."""

    def telemetry(sent: DeviceMessage) -> Mapping[str, Any]:
        measured = {"id": 0, "total_act_power": _grid_w(sent.values)}
        for phase, current in zip("abc", sent.values["current_a"], strict=False):
            measured[f"{phase}_act_power"] = round(current * voltage_v, 1)
            measured[f"{phase}_voltage"] = voltage_v
            measured[f"{phase}_current"] = abs(current)
        params = {"ts": round(sent.measured_at.timestamp(), 2), "em:0": measured}
        return {"src": device_id, "dst": f"{device_id}/events", "method": "NotifyStatus", "params": params}

    return Shape(
        f"{device_id}/events/rpc",
        f"{device_id}/online",
        telemetry,
        lambda is_online, _: "true" if is_online else "false",
    )


def sunspec_shape(device_id: str) -> Shape:
    """An inverter whose SunSpec points are passed on: whole numbers with a scale factor."""

    def telemetry(sent: DeviceMessage) -> Mapping[str, Any]:
        tens_of_w = round(sent.values["generation_kw"] * 100)
        return {"timestamp": utc_text(sent.measured_at), "models": {"103": {"W": tens_of_w, "W_SF": 1}}}

    topic = f"sunspec/{device_id}"
    return Shape(f"{topic}/models", f"{topic}/status", telemetry, _own_status)


def _own_telemetry(sent: DeviceMessage) -> Mapping[str, Any]:
    return {"timestamp": utc_text(sent.measured_at), "sequence": sent.sequence, **sent.values}


def _own_status(is_online: bool, moment: datetime) -> Mapping[str, Any]:
    return {"status": "online" if is_online else "offline", "timestamp": utc_text(moment)}


def _grid_w(values: Values) -> float:
    """Power at the connection [W], import positive."""
    return round((values["load_kw"] - values["export_kw"]) * 1000, 1)
