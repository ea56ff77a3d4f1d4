"""What a charger does when the central system orders something, in words that both versions share."""

from dataclasses import replace

from site_twin.charge_points import profiles
from site_twin.charge_points.evses import Evse
from site_twin.charge_points.profile_store import ProfileCapabilities
from site_twin.charge_points.profiles import Profile, ProfilePurpose, RateUnit, Schedule, Wiring
from site_twin.charge_points.protocol_version import BootReason, ReadingContext, StopReason
from site_twin.charge_points.quirks import Quirk
from site_twin.charge_points.station import Station


def abilities(station: Station) -> ProfileCapabilities:
    """What the charger's smart charging can do, its quirks included."""
    able = ProfileCapabilities(is_strict=station.protocol.is_strict)
    if station.has(Quirk.STACK_LEVEL_ZERO_ONLY):
        able = replace(able, most_stack_level=0)
    if station.has(Quirk.AMPERES_ONLY):
        able = replace(able, units=frozenset({RateUnit.AMPERES}))
    if station.has(Quirk.WATTS_ONLY):
        able = replace(able, units=frozenset({RateUnit.WATTS}))
    if station.has(Quirk.REFUSES_TX_PROFILES):
        able = replace(able, purposes=frozenset(ProfilePurpose) - {ProfilePurpose.TX})
    if station.has(Quirk.STATION_PROFILES_ONLY):
        able = replace(able, purposes=frozenset({ProfilePurpose.STATION_MAX}))
    return able


def set_profile(station: Station, profile: Profile) -> str | None:
    """Obey a charging profile, or not, as the charger's quirks have it.

    Returns:
        Why it is rejected; None: accepted.
    """
    if station.has(Quirk.ANSWERS_REJECTED):
        return "Quirk"
    concerned = [evse for evse in station.evses.values() if profile.evse_id in (0, evse.plan.evse_id)]
    if station.has(Quirk.IGNORES_PROFILES_WHILE_SUSPENDED) and any(evse.is_suspended for evse in concerned):
        return None
    now = station.cars.settle()
    was_paused = [evse for evse in concerned if station.compute_offer(evse.plan.evse_id, now).limit_a == 0]
    reason = station.installed.install(profile, station.transactions(), abilities(station))
    if reason is None:
        for evse in concerned:
            evse.is_unlimited = False
            is_resumed = evse in was_paused and station.compute_offer(evse.plan.evse_id, now).limit_a > 0
            evse.is_unlimited = is_resumed and station.has(Quirk.RESUMES_AT_FULL_POWER)
        station.tick()
    return reason


def clear_profiles(
    station: Station,
    profile_id: int | None = None,
    evse_id: int | None = None,
    purpose: ProfilePurpose | None = None,
    stack_level: int | None = None,
) -> bool:
    """Remove charging profiles; return whether there was one."""
    station.cars.settle()
    was_there = station.installed.clear(profile_id, evse_id, purpose, stack_level)
    station.tick()
    return was_there


def composite_schedule(station: Station, evse_id: int, duration_s: float) -> Schedule | None:
    """What an EVSE, or the whole charger as 0, may give in the next seconds; None: there is no such EVSE.

    In amperes, where the charger takes them: it may choose, because with watts phases may differ.
    """
    now = station.cars.now()
    held = station.installed.all
    if evse_id == 0:
        plans = [evse.plan for evse in station.evses.values()]
        most_a, phases = sum(plan.max_current_a for plan in plans), max(len(plan.phases) for plan in plans)
        of_station = tuple(profile for profile in held if profile.purpose is ProfilePurpose.STATION_MAX)
        wiring = Wiring(0, phases, most_a, station.voltage_v)
        periods = profiles.composite_schedule(of_station, wiring, now, duration_s, None)
    elif (evse := station.evses.get(evse_id)) is not None:
        began = now if evse.transaction is None else evse.transaction.started_at
        periods = profiles.composite_schedule(held, station.wiring(evse), now, duration_s, began)
    else:
        return None
    if RateUnit.AMPERES in abilities(station).units:
        return Schedule(RateUnit.AMPERES, periods)
    watts = (replace(one, limit=one.limit * station.voltage_v * (one.phases or 1)) for one in periods)
    return Schedule(RateUnit.WATTS, tuple(watts))


def remote_start(
    station: Station, evse_id: int | None, id_token: str, profile: Profile | None = None, remote_id: int | None = None
) -> Evse | None:
    """Begin a transaction where a car stands without one; None: nowhere."""
    waiting = (
        evse
        for evse in station.evses.values()
        if evse_id in (None, evse.plan.evse_id) and evse.car is not None and evse.transaction is None
    )
    evse = next(waiting, None)
    if evse is None or station.is_off:
        return None
    station.start(evse, id_token, remote_id)
    if profile is not None and evse.transaction is not None:
        # The transaction has no name yet in 1.6: the profile came with it and is its own.
        name = evse.transaction.local_id
        own = replace(profile, evse_id=evse.plan.evse_id, transaction_id=name)
        station.installed.install(own, {evse.plan.evse_id: name}, abilities(station))
    station.tick()
    return evse


def remote_stop(station: Station, transaction_id: str) -> bool:
    """End the transaction of that name; False: none runs."""
    for evse in station.evses.values():
        if evse.transaction is not None and evse.transaction.wire_id == transaction_id:
            station.end(evse, StopReason.REMOTE)
            return True
    return False


def trigger(station: Station, message: str, evse_id: int | None) -> str:
    """Tell something again because it was asked for.

    Returns:
        Accepted, Rejected where there is no such EVSE, NotImplemented.
    """
    if evse_id and evse_id not in station.evses:
        return "Rejected"
    asked = [evse for evse in station.evses.values() if not evse_id or evse.plan.evse_id == evse_id]
    match message:
        case "BootNotification":
            station.send(lambda: station.protocol.boot(station.about, BootReason.TRIGGERED))
        case "Heartbeat":
            station.send(station.protocol.heartbeat)
        case "StatusNotification":
            for evse in asked:
                station.send_status(evse)
        case "MeterValues" | "TransactionEvent":
            for evse in asked:
                station.send_meter_values(evse, ReadingContext.TRIGGERED)
        case _:
            return "NotImplemented"
    return "Accepted"
