"""How an OCPP 2.0.1 charging station answers the CSMS."""

from functools import partial
from typing import Any

from ocpp.v201 import call_result

from ev_service.units import utc_text
from site_twin.charge_points import profile_handling
from site_twin.charge_points.configuration import SETTABLE_V201, set_seconds, values_v201
from site_twin.charge_points.profiles import ProfilePurpose
from site_twin.charge_points.protocol_version import BootReason, Handlers, StopReason
from site_twin.charge_points.station import Station
from site_twin.charge_points.wire_profiles import period_contents, profile_from_v201, purpose_of


def handlers_v201(station: Station) -> Handlers:
    """What answers each call, by its action."""
    handlers = {
        "SetChargingProfile": _set_charging_profile,
        "ClearChargingProfile": _clear_charging_profile,
        "GetCompositeSchedule": _get_composite_schedule,
        "RequestStartTransaction": _request_start,
        "RequestStopTransaction": _request_stop,
        "TriggerMessage": _trigger,
        "Reset": _reset,
        "GetVariables": _get_variables,
        "SetVariables": _set_variables,
    }
    return {action: partial(handler, station) for action, handler in handlers.items()}


def _answer(result: Any, reason: str | None, **more: Any) -> Any:
    """Accepted without a reason, else Rejected with it."""
    info = None if reason is None else {"reason_code": reason}
    return result(status="Accepted" if reason is None else "Rejected", status_info=info, **more)


def _set_charging_profile(station: Station, evse_id: int, charging_profile: dict[str, Any], **_: Any) -> Any:
    try:
        profile = profile_from_v201(evse_id, charging_profile)
    except ValueError:
        return _answer(call_result.SetChargingProfile, "InvalidProfile")
    return _answer(call_result.SetChargingProfile, profile_handling.set_profile(station, profile))


def _clear_charging_profile(
    station: Station,
    charging_profile_id: int | None = None,
    charging_profile_criteria: dict[str, Any] | None = None,
    **_: Any,
) -> Any:
    criteria = charging_profile_criteria or {}
    status: Any = "Unknown"
    try:
        purpose: ProfilePurpose | None = purpose_of(criteria.get("charging_profile_purpose"))
    except ValueError:
        return call_result.ClearChargingProfile(status=status)
    evse_id, stack_level = criteria.get("evse_id"), criteria.get("stack_level")
    if profile_handling.clear_profiles(station, charging_profile_id, evse_id, purpose, stack_level):
        status = "Accepted"
    return call_result.ClearChargingProfile(status=status)


def _get_composite_schedule(station: Station, duration: int, evse_id: int, **_: Any) -> Any:
    composite = profile_handling.composite_schedule(station, evse_id, duration)
    if composite is None:
        return _answer(call_result.GetCompositeSchedule, "UnknownEvse")
    schedule = {
        "evse_id": evse_id,
        "duration": duration,
        "schedule_start": utc_text(station.cars.now()),
        "charging_rate_unit": composite.unit,
        "charging_schedule_period": period_contents(composite.periods),
    }
    return _answer(call_result.GetCompositeSchedule, None, schedule=schedule)


def _request_start(
    station: Station,
    id_token: dict[str, Any],
    remote_start_id: int,
    evse_id: int | None = None,
    charging_profile: dict[str, Any] | None = None,
    **_: Any,
) -> Any:
    try:
        profile = None if charging_profile is None else profile_from_v201(evse_id or 1, charging_profile)
    except ValueError:
        return _answer(call_result.RequestStartTransaction, "InvalidProfile")
    evse = profile_handling.remote_start(station, evse_id, id_token["id_token"], profile, remote_start_id)
    if evse is None or evse.transaction is None:
        return _answer(call_result.RequestStartTransaction, "NoCar")
    return _answer(call_result.RequestStartTransaction, None, transaction_id=evse.transaction.local_id)


def _request_stop(station: Station, transaction_id: str, **_: Any) -> Any:
    reason = None if profile_handling.remote_stop(station, transaction_id) else "TxNotFound"
    return _answer(call_result.RequestStopTransaction, reason)


def _trigger(station: Station, requested_message: str, evse: dict[str, Any] | None = None, **_: Any) -> Any:
    status: Any = profile_handling.trigger(station, requested_message, None if evse is None else evse["id"])
    return call_result.TriggerMessage(status=status)


def _reset(station: Station, type: str, **_: Any) -> Any:
    is_idle = all(evse.transaction is None for evse in station.evses.values())
    if type == "Immediate" or is_idle:
        station.reboot(BootReason.REMOTE_RESET, StopReason.RESET)
        return _answer(call_result.Reset, None)
    station.resets_when_idle = True
    status: Any = "Scheduled"
    return call_result.Reset(status=status)


def _get_variables(station: Station, get_variable_data: list[dict[str, Any]], **_: Any) -> Any:
    values = values_v201(station.configuration, profile_handling.abilities(station))
    results: Any = [
        _variable_result(asked, values, attribute_value=values.get(_name(asked))) for asked in get_variable_data
    ]
    return call_result.GetVariables(get_variable_result=results)


def _set_variables(station: Station, set_variable_data: list[dict[str, Any]], **_: Any) -> Any:
    results: Any = []
    for order in set_variable_data:
        values = values_v201(station.configuration, profile_handling.abilities(station))
        result = _variable_result(order, values)
        is_known = result["attribute_status"] == "Accepted"
        field = SETTABLE_V201.get(_name(order))
        if is_known and not set_seconds(station.configuration, field, order["attribute_value"]):
            result["attribute_status"] = "Rejected"
        results.append(result)
    return call_result.SetVariables(set_variable_result=results)


def _variable_result(asked: dict[str, Any], values: dict[tuple[str, str], str], **more: Any) -> dict[str, Any]:
    component, name = _name(asked)
    if (component, name) in values:
        status = "Accepted"
    else:
        is_known = any(component == known for known, _ in values)
        status = "UnknownVariable" if is_known else "UnknownComponent"
    return {
        "attribute_status": status,
        "component": asked["component"],
        "variable": asked["variable"],
        **{key: value for key, value in more.items() if value is not None},
    }


def _name(asked: dict[str, Any]) -> tuple[str, str]:
    return asked["component"]["name"], asked["variable"]["name"]
