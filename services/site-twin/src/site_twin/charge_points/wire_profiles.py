"""Charging profiles as OCPP messages carry them, read into those of `profiles`, and composite schedules back.

Keys are in snake case, as the library `ocpp` hands them over.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from site_twin.charge_points.profiles import Period, Profile, ProfileKind, ProfilePurpose, RateUnit, Schedule

_EVERY = {"Daily": timedelta(days=1), "Weekly": timedelta(weeks=1)}
_PURPOSES = {
    "ChargePointMaxProfile": ProfilePurpose.STATION_MAX,
    **{purpose.value: purpose for purpose in ProfilePurpose},
}


def purpose_of(text: str | None) -> ProfilePurpose | None:
    """The purpose by its name in either version; None where there is no name.

    Raises:
        ValueError: no charger may be given such a profile.
    """
    if text is None:
        return None
    try:
        return _PURPOSES[text]
    except KeyError:
        raise ValueError(f"unknown purpose {text}") from None


def profile_from_v16(evse_id: int, content: Mapping[str, Any], now: datetime) -> Profile:
    """Read `csChargingProfiles`.

    Raises:
        ValueError: it makes no sense.
    """
    schedule = _schedule(content["charging_schedule"])
    transaction_id = content.get("transaction_id")
    if schedule.start is None and content["charging_profile_kind"] != ProfileKind.RELATIVE:
        # Left open by 1.6, and often left out: it begins when it arrives.
        schedule = Schedule(schedule.unit, schedule.periods, now, schedule.duration_s)
    transaction = None if transaction_id is None else str(transaction_id)
    return _profile(evse_id, content["charging_profile_id"], transaction, schedule, content)


def profile_from_v201(evse_id: int, content: Mapping[str, Any]) -> Profile:
    """Read `chargingProfile`.

    Raises:
        ValueError: it makes no sense, or holds more than the one schedule that AC charging has.
    """
    schedules = content["charging_schedule"]
    if len(schedules) != 1:
        raise ValueError("more than one schedule is for ISO 15118 alone")
    return _profile(evse_id, content["id"], content.get("transaction_id"), _schedule(schedules[0]), content)


def period_contents(periods: Iterable[Period]) -> list[dict[str, Any]]:
    """The periods of a composite schedule; times in whole seconds, limits to a tenth, as 1.6 demands."""
    return [
        {
            "start_period": round(period.start_s),
            # Rounded down: the reported limit must not exceed the one in force.
            "limit": int(period.limit * 10) / 10,
            "number_phases": period.phases,
        }
        for period in periods
    ]


def _profile(
    evse_id: int, profile_id: int, transaction_id: str | None, schedule: Schedule, content: Mapping[str, Any]
) -> Profile:
    purpose = purpose_of(content["charging_profile_purpose"])
    if purpose is None:
        raise ValueError("a profile needs a purpose")
    return Profile(
        profile_id=profile_id,
        evse_id=evse_id,
        stack_level=content["stack_level"],
        purpose=purpose,
        kind=ProfileKind(content["charging_profile_kind"]),
        schedule=schedule,
        every=_EVERY.get(content.get("recurrency_kind", "")),
        valid_from=_moment(content.get("valid_from")),
        valid_to=_moment(content.get("valid_to")),
        transaction_id=transaction_id,
    )


def _schedule(content: Mapping[str, Any]) -> Schedule:
    duration_s = content.get("duration")
    return Schedule(
        unit=RateUnit(content["charging_rate_unit"]),
        periods=tuple(
            Period(float(period["start_period"]), float(period["limit"]), period.get("number_phases"))
            for period in content["charging_schedule_period"]
        ),
        start=_moment(content.get("start_schedule")),
        duration_s=None if duration_s is None else float(duration_s),
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
