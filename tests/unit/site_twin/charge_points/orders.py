"""What a central system orders, in either version, with the fewest words a test needs."""

from datetime import datetime, timedelta
from typing import Any

from ocpp.v16 import call as call16
from ocpp.v201 import call as call201

from ev_service.units import utc_text


def schedule(limit: float, unit: str = "A", phases: int | None = None) -> dict[str, Any]:
    """One period."""
    period = {"start_period": 0, "limit": limit}
    return {
        "charging_rate_unit": unit,
        "charging_schedule_period": [period if phases is None else {**period, "number_phases": phases}],
    }


def set_profile(
    point: Any,
    limit: float,
    *,
    purpose: str = "TxProfile",
    evse_id: int = 1,
    stack_level: int = 1,
    unit: str = "A",
    phases: int | None = None,
    until: datetime | None = None,
    profile_id: int | None = None,
    transaction_id: str | None = None,
) -> Any:
    """SetChargingProfile: a constant limit, for the running transaction unless said otherwise."""
    is16 = point.version == "1.6"
    is_of_transaction = purpose == "TxProfile"
    transaction_id = transaction_id or (point.station.transactions()[evse_id] if is_of_transaction else None)
    profile: dict[str, Any] = {
        "stack_level": stack_level,
        "charging_profile_purpose": purpose,
        "charging_profile_kind": "Relative",
    }
    if purpose in ("ChargePointMaxProfile", "ChargingStationMaxProfile"):
        profile["charging_profile_kind"] = "Absolute"
    if until is not None:
        profile["valid_to"] = utc_text(until)
    number = profile_id or (2 * evse_id + is_of_transaction)
    content = schedule(limit, unit, phases)
    if profile["charging_profile_kind"] == "Absolute":
        content["start_schedule"] = utc_text(point.station.cars.now() - timedelta(hours=1))
    if is16:
        profile |= {"charging_profile_id": number, "charging_schedule": content}
        if transaction_id is not None:
            profile["transaction_id"] = int(transaction_id)
        return call16.SetChargingProfile(connector_id=evse_id, cs_charging_profiles=profile)
    profile |= {"id": number, "charging_schedule": [{"id": number, **content}]}
    if transaction_id is not None:
        profile["transaction_id"] = transaction_id
    return call201.SetChargingProfile(evse_id=evse_id, charging_profile=profile)  # type: ignore[arg-type]
