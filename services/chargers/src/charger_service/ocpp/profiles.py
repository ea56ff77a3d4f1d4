"""Charging profiles as OCPP writes them: a limit above a fallback.

Pure. Both are one period of constant current in amperes, relative to the transaction, so that they hold whatever the
charger's clock says; only the limit's end (`validTo`) depends on it. Each has a fixed id for its EVSE, so that sending
again replaces it.

Source: OCPP 1.6 edition 2, section 3.13; OCPP 2.0.1 edition 3, part 2, block K.
"""

import math
from typing import Any, cast

from charger_service.ports import TransactionLimit
from ev_service.units import utc_text

FALLBACK_LEVEL = 0
LIMIT_LEVEL = 1
"""Stack level of limits, where the charger has one above the fallback's.

A TxProfile stands above every TxDefaultProfile; chargers that compare levels across purposes exist.
"""


def fallback_id(evse_id: int) -> int:
    """Profile id of an EVSE's fallback."""
    return 2 * evse_id


def limit_id(evse_id: int) -> int:
    """Profile id of an EVSE's limit."""
    return 2 * evse_id + 1


def in_tenths(current_a: float) -> float:
    """Current in tenths of an ampere, the finest that OCPP 1.6 takes, never above what was asked [A].

    >>> in_tenths(8.29)
    8.2
    """
    # The inner rounding is for 8.2 * 10, which is a hair below 82.
    return math.floor(round(current_a * 10, 6)) / 10


def limit_16(limit: TransactionLimit, stack_level: int) -> dict[str, Any]:
    """`csChargingProfiles` of OCPP 1.6 for a limit.

    Raises:
        ValueError: the transaction's id is not a number.
    """
    return {
        "charging_profile_id": limit_id(limit.evse_id),
        "transaction_id": int(limit.transaction_id),
        "stack_level": stack_level,
        "charging_profile_purpose": "TxProfile",
        "charging_profile_kind": "Relative",
        "valid_to": utc_text(limit.valid_until),
        "charging_schedule": _schedule(limit.limit_a, limit.phases),
    }


def fallback_16(evse_id: int, limit_a: float) -> dict[str, Any]:
    """`csChargingProfiles` of OCPP 1.6 for a fallback."""
    return {
        "charging_profile_id": fallback_id(evse_id),
        "stack_level": FALLBACK_LEVEL,
        "charging_profile_purpose": "TxDefaultProfile",
        "charging_profile_kind": "Relative",
        "charging_schedule": _schedule(limit_a, None),
    }


def limit_201(limit: TransactionLimit, stack_level: int) -> dict[str, Any]:
    """`chargingProfile` of OCPP 2.0.1 for a limit."""
    profile_id = limit_id(limit.evse_id)
    return {
        "id": profile_id,
        "transaction_id": limit.transaction_id,
        "stack_level": stack_level,
        "charging_profile_purpose": "TxProfile",
        "charging_profile_kind": "Relative",
        "valid_to": utc_text(limit.valid_until),
        "charging_schedule": [{"id": profile_id, **_schedule(limit.limit_a, limit.phases)}],
    }


def fallback_201(evse_id: int, limit_a: float) -> dict[str, Any]:
    """`chargingProfile` of OCPP 2.0.1 for a fallback."""
    profile_id = fallback_id(evse_id)
    return {
        "id": profile_id,
        "stack_level": FALLBACK_LEVEL,
        "charging_profile_purpose": "TxDefaultProfile",
        "charging_profile_kind": "Relative",
        "charging_schedule": [{"id": profile_id, **_schedule(limit_a, None)}],
    }


def current_now(schedule: dict[str, Any] | None) -> float | None:
    """The current [A] with which a composite schedule begins; None where it says none, or watts."""
    if schedule is None or schedule.get("charging_rate_unit") != "A":
        return None
    periods = cast(list[dict[str, Any]], schedule.get("charging_schedule_period") or [])
    return float(periods[0]["limit"]) if periods else None


def _schedule(limit_a: float, phases: int | None) -> dict[str, Any]:
    period: dict[str, Any] = {"start_period": 0, "limit": in_tenths(limit_a)}
    if phases is not None:
        period["number_phases"] = phases
    return {"charging_rate_unit": "A", "charging_schedule_period": [period]}
