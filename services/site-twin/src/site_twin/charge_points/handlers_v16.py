"""How an OCPP 1.6 charge point answers the central system."""

from functools import partial
from typing import Any

from ocpp.v16 import call_result

from ev_service.units import utc_text
from site_twin.charge_points import profile_handling
from site_twin.charge_points.configuration import SETTABLE_V16, set_seconds, values_v16
from site_twin.charge_points.profiles import ProfilePurpose
from site_twin.charge_points.protocol_version import BootReason, Handlers, StopReason
from site_twin.charge_points.station import Station
from site_twin.charge_points.wire_profiles import period_contents, profile_from_v16, purpose_of


def handlers_v16(station: Station) -> Handlers:
    """What answers each call, by its action."""
    handlers = {
        "SetChargingProfile": _set_charging_profile,
        "ClearChargingProfile": _clear_charging_profile,
        "GetCompositeSchedule": _get_composite_schedule,
        "RemoteStartTransaction": _remote_start,
        "RemoteStopTransaction": _remote_stop,
        "TriggerMessage": _trigger,
        "Reset": _reset,
        "GetConfiguration": _get_configuration,
        "ChangeConfiguration": _change_configuration,
    }
    return {action: partial(handler, station) for action, handler in handlers.items()}


def _to_status(is_accepted: bool) -> Any:
    # The library's enums are texts; so is this.
    return "Accepted" if is_accepted else "Rejected"


def _set_charging_profile(station: Station, connector_id: int, cs_charging_profiles: dict[str, Any]) -> Any:
    try:
        profile = profile_from_v16(connector_id, cs_charging_profiles, station.cars.now())
    except ValueError:
        return call_result.SetChargingProfile(status=_to_status(False))
    return call_result.SetChargingProfile(status=_to_status(profile_handling.set_profile(station, profile) is None))


def _clear_charging_profile(
    station: Station,
    id: int | None = None,
    connector_id: int | None = None,
    charging_profile_purpose: str | None = None,
    stack_level: int | None = None,
) -> Any:
    purpose: ProfilePurpose | None = purpose_of(charging_profile_purpose)
    was_there = profile_handling.clear_profiles(station, id, connector_id, purpose, stack_level)
    status: Any = "Accepted" if was_there else "Unknown"
    return call_result.ClearChargingProfile(status=status)


def _get_composite_schedule(
    station: Station, connector_id: int, duration: int, charging_rate_unit: str | None = None
) -> Any:
    composite = profile_handling.composite_schedule(station, connector_id, duration)
    if composite is None:
        return call_result.GetCompositeSchedule(status=_to_status(False))
    now = utc_text(station.cars.now())
    return call_result.GetCompositeSchedule(
        status=_to_status(True),
        connector_id=connector_id,
        schedule_start=now,
        charging_schedule={
            "start_schedule": now,
            "duration": duration,
            "charging_rate_unit": composite.unit,
            "charging_schedule_period": period_contents(composite.periods),
        },
    )


def _remote_start(
    station: Station, id_tag: str, connector_id: int | None = None, charging_profile: dict[str, Any] | None = None
) -> Any:
    try:
        profile = (
            None
            if charging_profile is None
            else profile_from_v16(connector_id or 1, charging_profile, station.cars.now())
        )
    except ValueError:
        return call_result.RemoteStartTransaction(status=_to_status(False))
    evse = profile_handling.remote_start(station, connector_id, id_tag, profile)
    return call_result.RemoteStartTransaction(status=_to_status(evse is not None))


def _remote_stop(station: Station, transaction_id: int) -> Any:
    is_stopped = profile_handling.remote_stop(station, str(transaction_id))
    return call_result.RemoteStopTransaction(status=_to_status(is_stopped))


def _trigger(station: Station, requested_message: str, connector_id: int | None = None) -> Any:
    status: Any = profile_handling.trigger(station, requested_message, connector_id)
    return call_result.TriggerMessage(status=status)


def _reset(station: Station, type: str) -> Any:
    station.reboot(BootReason.REMOTE_RESET, StopReason.RESET if type == "Hard" else StopReason.RESET_ON_IDLE)
    return call_result.Reset(status=_to_status(True))


def _get_configuration(station: Station, key: list[str] | None = None) -> Any:
    values = values_v16(station.configuration, profile_handling.abilities(station), len(station.evses))
    asked = key or list(values)
    known = [
        {"key": name, "readonly": name not in SETTABLE_V16, "value": values[name]} for name in asked if name in values
    ]
    return call_result.GetConfiguration(
        configuration_key=known, unknown_key=[name for name in asked if name not in values]
    )


def _change_configuration(station: Station, key: str, value: str) -> Any:
    values = values_v16(station.configuration, profile_handling.abilities(station), len(station.evses))
    is_set = set_seconds(station.configuration, SETTABLE_V16.get(key), value)
    status: Any = _to_status(is_set) if key in values else "NotSupported"
    return call_result.ChangeConfiguration(status=status)
