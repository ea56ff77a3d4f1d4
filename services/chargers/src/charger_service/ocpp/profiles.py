"""Charging profiles as OCPP writes them: a limit, and a fallback below it.

Both are one period of a constant limit. Those of a transaction are relative to it, so that they hold whatever the
charger's clock says; those of the whole charger have to begin at a time, which is long past. Only a limit's end
(`validTo`) depends on the clock. Each has a fixed id for its EVSE, so that sending again replaces it.

Source: OCPP 1.6 edition 2, section 3.13; OCPP 2.0.1 edition 3, part 2, block K.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from charger_service.ports import LimitMethod, LimitPurpose, RateUnit, TransactionLimit
from ev_service.units import utc_text

FALLBACK_LEVEL = 0
LIMIT_LEVEL = 1
"""Stack level of limits, where the charger has one above the fallback's.

A TxProfile stands above every TxDefaultProfile; chargers that compare levels across purposes exist.
"""
_WHOLE_CHARGER = 0
_BEGAN_BEFORE = timedelta(days=1)
"""How long ago a profile of the whole charger begins: by so much the charger's clock may be behind."""


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


def in_watts(current_a: float, voltage_v: float, phases: int) -> int:
    """Power of a current [A] on each of so many phases [W], never above what was asked.

    >>> in_watts(6.55, 230.0, 1)
    1506
    """
    return math.floor(round(current_a * voltage_v * phases, 6))


@dataclass(frozen=True, slots=True)
class ChargingProfile:
    """A charging profile of one constant limit, in terms that both versions share.

    evse_id: 0 is the whole charger. limit: in the method's unit. began: None: with the transaction.
    """

    profile_id: int
    evse_id: int
    method: LimitMethod
    limit: float
    phases: int | None = None
    transaction_id: str | None = None
    began: datetime | None = None
    valid_to: datetime | None = None

    def content_16(self) -> dict[str, Any]:
        """`csChargingProfiles` of OCPP 1.6.

        Raises:
            ValueError: the transaction's id is not a number.
        """
        transaction = {} if self.transaction_id is None else {"transaction_id": int(self.transaction_id)}
        return {
            "charging_profile_id": self.profile_id,
            **transaction,
            **self._build_shared_fields(self.method.purpose),
            "charging_schedule": self._schedule(),
        }

    def content_201(self) -> dict[str, Any]:
        """`chargingProfile` of OCPP 2.0.1."""
        transaction = {} if self.transaction_id is None else {"transaction_id": self.transaction_id}
        is_of_station = self.method.purpose is LimitPurpose.CHARGE_POINT_MAX
        return {
            "id": self.profile_id,
            **transaction,
            **self._build_shared_fields("ChargingStationMaxProfile" if is_of_station else self.method.purpose),
            "charging_schedule": [{"id": self.profile_id, **self._schedule()}],
        }

    def _build_shared_fields(self, purpose: str) -> dict[str, Any]:
        return {
            "stack_level": self.method.stack_level,
            "charging_profile_purpose": str(purpose),
            "charging_profile_kind": "Relative" if self.began is None else "Absolute",
            **({} if self.valid_to is None else {"valid_to": utc_text(self.valid_to)}),
        }

    def _schedule(self) -> dict[str, Any]:
        period: dict[str, Any] = {"start_period": 0, "limit": self.limit}
        if self.phases is not None:
            period["number_phases"] = self.phases
        begin = {} if self.began is None else {"start_schedule": utc_text(self.began)}
        return {"charging_rate_unit": str(self.method.unit), **begin, "charging_schedule_period": [period]}


def fallback_method(method: LimitMethod) -> LimitMethod:
    """By which profile a charger is given its fallback that takes limits by this one."""
    is_of_charger = method.purpose is LimitPurpose.CHARGE_POINT_MAX
    return replace(
        method,
        purpose=method.purpose if is_of_charger else LimitPurpose.TX_DEFAULT,
        stack_level=FALLBACK_LEVEL,
    )


@dataclass(frozen=True, slots=True)
class Conversion:
    """What turns amperes into watts at one EVSE. voltage_v [V]: phase to neutral; phases: that it is wired to."""

    voltage_v: float
    phases: int

    def limit(self, limit: TransactionLimit, method: LimitMethod, now: datetime) -> ChargingProfile:
        """The profile of a limit."""
        phases = limit.phases or limit.phases_in_use or self.phases
        profile = self._profile(limit.evse_id, limit.limit_a, method, phases, now)
        return replace(
            profile,
            profile_id=fallback_id(limit.evse_id) if method.replaces_fallback else limit_id(limit.evse_id),
            phases=limit.phases if method.unit is RateUnit.AMPERES else phases,
            transaction_id=limit.transaction_id if method.purpose is LimitPurpose.TX else None,
            # What took the fallback's place must not end before the fallback is back.
            valid_to=None if method.replaces_fallback else limit.valid_until,
        )

    def fallback(self, evse_id: int, limit_a: float, method: LimitMethod, now: datetime) -> ChargingProfile:
        """The profile of a fallback, for a charger that takes limits by this method."""
        return self._profile(evse_id, limit_a, fallback_method(method), self.phases, now)

    def current_now(self, schedule: dict[str, Any] | None) -> float | None:
        """The current [A] with which a composite schedule begins; None where it says none."""
        periods = cast(list[dict[str, Any]], (schedule or {}).get("charging_schedule_period") or [])
        if schedule is None or not periods:
            return None
        limit = float(periods[0]["limit"])
        match schedule.get("charging_rate_unit"):
            case RateUnit.AMPERES:
                return limit
            case RateUnit.WATTS:
                return limit / (self.voltage_v * (periods[0].get("number_phases") or self.phases))
            case _:
                return None

    def _profile(
        self, evse_id: int, limit_a: float, method: LimitMethod, phases: int, now: datetime
    ) -> ChargingProfile:
        is_of_charger = method.purpose is LimitPurpose.CHARGE_POINT_MAX
        is_in_amperes = method.unit is RateUnit.AMPERES
        return ChargingProfile(
            fallback_id(evse_id),
            _WHOLE_CHARGER if is_of_charger else evse_id,
            method,
            in_tenths(limit_a) if is_in_amperes else in_watts(limit_a, self.voltage_v, phases),
            None if is_in_amperes else phases,
            began=now - _BEGAN_BEFORE if is_of_charger else None,
        )
