"""Chargers that refuse a TxProfile or take watts only are limited in the way that they accept."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.charger_service.ocpp.conftest import Charger, OcppSite, OpenSite

from charger_service.ports import CommandStatus, LimitMethod, LimitPurpose, Quirks, RateUnit, TransactionLimit

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("charger_id", ["CP-16", "CP-201"])
AMPERES, WATTS = RateUnit.AMPERES, RateUnit.WATTS
TX, TX_DEFAULT, OF_CHARGER = LimitPurpose.TX, LimitPurpose.TX_DEFAULT, LimitPurpose.CHARGE_POINT_MAX
Refuses = Callable[[dict[str, Any]], bool]


@pytest.fixture
async def site(open_site: OpenSite) -> OcppSite:
    return await open_site({"CP-16": (1,), "CP-201": (1,), "CP-2": (1, 2)})


def limit(site: OcppSite, limit_a: float = 10.0, transaction_id: str = "1", evse_id: int = 1) -> TransactionLimit:
    return TransactionLimit(evse_id, transaction_id, limit_a, site.clock.now() + timedelta(minutes=1))


def profiles(charger: Charger) -> list[dict[str, Any]]:
    """Each profile that was sent, with its EVSE, in the words of 1.6."""
    found: list[dict[str, Any]] = []
    for asked in charger.asked_for("SetChargingProfile"):
        if "csChargingProfiles" in asked:
            found.append(asked["csChargingProfiles"] | {"evse": asked["connectorId"]})
        else:
            profile = asked["chargingProfile"]
            (schedule,) = profile["chargingSchedule"]
            purpose = profile["chargingProfilePurpose"].replace("ChargingStation", "ChargePoint")
            known = {"chargingProfileId": profile["id"], "chargingProfilePurpose": purpose}
            found.append(profile | known | {"chargingSchedule": schedule, "evse": asked["evseId"]})
    return found


def list_profiles_received(charger: Charger) -> list[tuple[str, int, str]]:
    return [
        (one["chargingProfilePurpose"], one["stackLevel"], one["chargingSchedule"]["chargingRateUnit"])
        for one in profiles(charger)
    ]


def period(profile: dict[str, Any]) -> dict[str, Any]:
    return profile["chargingSchedule"]["chargingSchedulePeriod"][0]


async def connect_charger(site: OcppSite, charger_id: str, refuses: Refuses, **configuration: str) -> Charger:
    """A charger that is set up, says this of itself, and refuses such profiles."""
    charger = await site.connect(charger_id)
    said = [{"key": key, "readonly": True, "value": value} for key, value in configuration.items()]
    if charger_id != "CP-201":
        charger.answers["GetConfiguration"] = {"configurationKey": said}

    refuse(charger, refuses)
    await charger.boot()
    await charger.until_asked("TriggerMessage", 2)
    charger.asked.clear()
    return charger


def refuse(charger: Charger, refuses: Refuses) -> None:
    def answer(_: dict[str, Any]) -> dict[str, str]:
        return {"status": "Rejected" if refuses(profiles(charger)[-1]) else "Accepted"}

    charger.answers["SetChargingProfile"] = answer


def refuses_purposes(*purposes: str) -> Refuses:
    return lambda profile: profile["chargingProfilePurpose"] in purposes


def takes_nothing(_: dict[str, Any]) -> bool:
    return True


def refuses_amperes(profile: dict[str, Any]) -> bool:
    return profile["chargingSchedule"]["chargingRateUnit"] == "A"


@both
async def test_what_a_charger_refuses_is_tried_once_and_what_it_accepts_is_kept_to(
    site: OcppSite, charger_id: str
) -> None:
    charger = await connect_charger(site, charger_id, refuses_purposes(TX))

    replies = [await site.central.set_limit(charger_id, limit(site, limit_a)) for limit_a in (10, 8, 0)]

    assert {reply.answer for reply in replies} == {CommandStatus.ACCEPTED}
    assert {reply.method for reply in replies} == {LimitMethod(TX_DEFAULT, 1, AMPERES)}
    assert list_profiles_received(charger) == [(TX, 1, "A"), (TX, 0, "A"), *[(TX_DEFAULT, 1, "A")] * 3]
    assert site.heard.of("method") == [(charger_id, LimitMethod(TX_DEFAULT, 1, AMPERES))]
    last = profiles(charger)[-1]
    assert (last["evse"], last["chargingProfileId"], period(last)["limit"]) == (1, 3, 0)
    assert "validTo" in last
    assert "transactionId" not in last


async def test_what_is_known_of_a_make_is_tried_first(site: OcppSite) -> None:
    site.heard.known_quirks["CP-16"] = Quirks(limit_purpose=TX_DEFAULT, rate_unit=WATTS)
    charger = await connect_charger(site, "CP-16", lambda _: False)

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.ACCEPTED
    assert list_profiles_received(charger) == [(TX_DEFAULT, 1, "W")]


async def test_what_is_known_of_a_make_is_tried_before_what_the_charger_accepted(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX_DEFAULT))
    await site.central.set_limit("CP-16", limit(site))
    site.heard.known_quirks["CP-16"] = Quirks(limit_purpose=OF_CHARGER)

    replies = [await site.central.set_limit("CP-16", limit(site)) for _ in range(2)]
    site.heard.known_quirks["CP-16"] = Quirks(limit_purpose=TX_DEFAULT)
    replies += [await site.central.set_limit("CP-16", limit(site)) for _ in range(2)]

    assert {reply.answer for reply in replies} == {CommandStatus.ACCEPTED}
    of_charger, refused = [(OF_CHARGER, 1, "A")] * 2, [(TX_DEFAULT, 1, "A"), (TX_DEFAULT, 0, "A")]
    assert list_profiles_received(charger) == [(TX, 1, "A"), *of_charger, *refused, *of_charger]


@both
async def test_the_whole_charger_is_limited_where_it_takes_nothing_else(site: OcppSite, charger_id: str) -> None:
    charger = await connect_charger(site, charger_id, refuses_purposes(TX, TX_DEFAULT))

    reply = await site.central.set_limit(charger_id, limit(site))
    fallback = await site.central.set_fallback(charger_id, 1, 6)

    assert reply.method == LimitMethod(OF_CHARGER, 1, AMPERES)
    assert fallback.answer is CommandStatus.ACCEPTED
    limited, fallen = profiles(charger)[-2:]
    assert (limited["evse"], limited["stackLevel"], period(limited)["limit"]) == (0, 1, 10)
    assert (fallen["evse"], fallen["stackLevel"], period(fallen)["limit"]) == (0, 0, 6)
    assert "validTo" not in fallen
    # Not relative to a transaction (2.0.1 K01.FR.38), and long begun, whatever the charger's clock shows.
    assert {one["chargingProfileKind"] for one in (limited, fallen)} == {"Absolute"}
    assert limited["chargingSchedule"]["startSchedule"] < "2026-06-21T00"


async def test_a_charger_with_several_evses_is_not_limited_as_a_whole(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-2", takes_nothing)

    assert (await site.central.set_limit("CP-2", limit(site))).answer is CommandStatus.REJECTED
    assert OF_CHARGER not in {purpose for purpose, _, _ in list_profiles_received(charger)}


@pytest.mark.parametrize("unit", ["Power", "W"])
async def test_a_charger_that_takes_watts_is_sent_watts(site: OcppSite, unit: str) -> None:
    charger = await connect_charger(site, "CP-16", refuses_amperes, ChargingScheduleAllowedChargingRateUnit=unit)

    limited = await site.central.set_limit("CP-16", limit(site, 8.3))
    fallen = await site.central.set_fallback("CP-16", 1, 6)

    assert limited.answer is fallen.answer is CommandStatus.ACCEPTED
    assert list_profiles_received(charger) == [(TX, 1, "W"), (TX_DEFAULT, 0, "W")]
    assert [period(one) for one in profiles(charger)] == [
        {"startPeriod": 0, "limit": 5727, "numberPhases": 3},
        {"startPeriod": 0, "limit": 4140, "numberPhases": 3},
    ]


async def test_watts_are_for_the_phases_in_use(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_amperes, ChargingScheduleAllowedChargingRateUnit="Power")
    until = site.clock.now() + timedelta(minutes=1)

    await site.central.set_limit("CP-16", TransactionLimit(1, "1", 10, until, phases_in_use=1))
    await site.central.set_limit("CP-16", TransactionLimit(1, "1", 10, until, phases=2, phases_in_use=1))

    assert [period(one)["limit"] for one in profiles(charger)] == [2300, 4600]


async def test_watts_are_tried_last_where_a_charger_does_not_say_its_unit(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_amperes)

    replies = [await site.central.set_limit("CP-16", limit(site)) for _ in range(2)]

    assert {reply.answer for reply in replies} == {CommandStatus.ACCEPTED}
    assert list_profiles_received(charger)[-3:] == [(OF_CHARGER, 0, "A"), (TX, 1, "W"), (TX, 1, "W")]
    assert len(set(list_profiles_received(charger))) == len(list_profiles_received(charger)) - 1


async def test_a_charger_that_says_amperes_is_never_sent_watts(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", takes_nothing, ChargingScheduleAllowedChargingRateUnit="Current")

    await site.central.set_limit("CP-16", limit(site))

    assert {unit for _, _, unit in list_profiles_received(charger)} == {"A"}


async def test_what_holds_is_told_in_amperes_by_a_charger_that_takes_watts(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_amperes, ChargingScheduleAllowedChargingRateUnit="Power")
    schedule = {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 5520.0}]}
    charger.answers["GetCompositeSchedule"] = {"status": "Accepted", "connectorId": 1, "chargingSchedule": schedule}

    _, limit_a = await site.central.limit_in_force("CP-16", 1)

    assert limit_a == pytest.approx(8)
    assert charger.asked_for("GetCompositeSchedule")[0]["chargingRateUnit"] == "W"


async def test_where_everything_is_refused_the_first_alone_is_asked_for_again(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", takes_nothing)

    replies = [await site.central.set_limit("CP-16", limit(site)) for _ in range(4)]

    assert {reply.answer for reply in replies} == {CommandStatus.REJECTED}
    assert list_profiles_received(charger)[-3:] == [(TX, 1, "A")] * 3
    assert len(set(list_profiles_received(charger))) == len(list_profiles_received(charger)) - 3
    assert site.heard.of("method") == []


async def test_where_everything_was_refused_the_next_transaction_is_tried_anew(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", takes_nothing)
    await site.central.set_limit("CP-16", limit(site))
    refuse(charger, refuses_purposes(TX))

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.REJECTED
    assert (await site.central.set_limit("CP-16", limit(site, transaction_id="2"))).answer is CommandStatus.ACCEPTED


async def test_what_was_accepted_once_is_not_given_up_for_a_refusal(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", lambda _: False)
    await site.central.set_limit("CP-16", limit(site))
    charger.answers["SetChargingProfile"] = {"status": "Rejected"}

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.REJECTED
    assert list_profiles_received(charger) == [(TX, 1, "A")] * 2


async def stop(charger: Charger, at: str) -> None:
    await charger.call("StopTransaction", {"transactionId": 1, "meterStop": 0, "timestamp": at})


async def test_a_refusal_for_a_transaction_that_was_over_says_nothing_of_the_method(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    await site.central.set_limit("CP-16", limit(site))
    await stop(charger, "2026-06-21T11:59:59Z")
    charger.asked.clear()
    charger.answers["SetChargingProfile"] = {"status": "Accepted"}

    await site.central.set_limit("CP-16", limit(site, transaction_id="2"))

    assert site.heard.of("method")[1] == ("CP-16", None)
    assert list_profiles_received(charger) == [(TX, 1, "A")]


async def test_no_other_method_is_tried_for_a_transaction_whose_end_was_told(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    await stop(charger, "2026-06-21T12:00:00Z")

    assert (await site.central.set_limit("CP-16", limit(site))).answer is CommandStatus.REJECTED
    assert list_profiles_received(charger) == [(TX, 1, "A")]


async def test_a_method_is_kept_when_its_transaction_ends_later(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    await site.central.set_limit("CP-16", limit(site))
    await stop(charger, "2026-06-21T12:00:01Z")
    charger.asked.clear()

    await site.central.set_limit("CP-16", limit(site, transaction_id="2"))

    assert list_profiles_received(charger) == [(TX_DEFAULT, 1, "A")]


async def begin(charger: Charger, at: str, connector_id: int = 1) -> str:
    begun = {"connectorId": connector_id, "idTag": "TAG", "meterStart": 0, "timestamp": at}
    return str((await charger.call("StartTransaction", begun))["transactionId"])


async def test_a_clock_that_is_behind_does_not_make_a_transaction_over_before_its_limit(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    transaction_id = await begin(charger, "2026-06-21T10:00:00Z")
    # Firmware exists whose other messages have another time.
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": "2026-06-21T12:00:00Z"}
    await charger.call("StatusNotification", status)
    await site.central.set_limit("CP-16", limit(site, transaction_id=transaction_id))
    ended = {"transactionId": int(transaction_id), "meterStop": 0, "timestamp": "2026-06-21T10:00:10Z"}
    await charger.call("StopTransaction", ended)

    assert site.heard.of("method") == [("CP-16", LimitMethod(TX_DEFAULT, 1, AMPERES))]


async def test_a_refusal_after_an_end_says_nothing_where_the_clock_is_behind(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    transaction_id = await begin(charger, "2026-06-21T10:00:00Z")
    site.clock.advance(60)
    await site.central.set_limit("CP-16", limit(site, transaction_id=transaction_id))
    ended = {"transactionId": int(transaction_id), "meterStop": 0, "timestamp": "2026-06-21T10:00:50Z"}
    await charger.call("StopTransaction", ended)

    assert site.heard.of("method")[1] == ("CP-16", None)


async def test_a_transaction_that_was_kept_back_says_nothing_of_the_clock(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    transaction_id = await begin(charger, "2026-06-21T11:00:00Z")
    await site.central.set_limit("CP-16", limit(site, transaction_id=transaction_id))
    ended = {"transactionId": int(transaction_id), "meterStop": 0, "timestamp": "2026-06-21T11:30:00Z"}
    await charger.call("StopTransaction", ended)

    assert site.heard.of("method")[1] == ("CP-16", None)


async def test_a_clock_that_is_set_during_a_transaction_does_not_condemn_its_method(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    transaction_id = await begin(charger, "2026-06-21T10:00:00Z")
    await site.central.set_limit("CP-16", limit(site, transaction_id=transaction_id))
    site.clock.advance(60)
    ended = {"transactionId": int(transaction_id), "meterStop": 0, "timestamp": "2026-06-21T12:01:00Z"}
    await charger.call("StopTransaction", ended)

    assert site.heard.of("method") == [("CP-16", LimitMethod(TX_DEFAULT, 1, AMPERES))]


async def test_a_station_whose_clock_is_behind_keeps_its_method(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-201", refuses_purposes(TX))
    for number, event in enumerate(("Started", "Updated")):
        said = {"eventType": event, "seqNo": number, "timestamp": f"2026-06-21T10:00:0{number}Z"}
        where = {"evse": {"id": 1}, "transactionInfo": {"transactionId": "1"}, "triggerReason": "CablePluggedIn"}
        await charger.call("TransactionEvent", said | where)
    await site.central.set_limit("CP-201", limit(site))
    ended = {"eventType": "Ended", "seqNo": 2, "timestamp": "2026-06-21T10:00:10Z", "triggerReason": "EVDeparted"}
    await charger.call("TransactionEvent", ended | {"transactionInfo": {"transactionId": "1"}})

    assert site.heard.of("method") == [("CP-201", LimitMethod(TX_DEFAULT, 1, AMPERES))]


@both
async def test_the_fallback_is_set_by_what_was_accepted_last_also_once_that_is_forgotten(
    site: OcppSite, charger_id: str
) -> None:
    charger = await connect_charger(site, charger_id, lambda one: one["chargingProfilePurpose"] != OF_CHARGER)
    await site.central.set_limit(charger_id, limit(site))
    if charger_id == "CP-16":
        await stop(charger, "2026-06-21T11:59:59Z")
    else:
        station = {"vendorName": "Acme", "model": "One", "firmwareVersion": "9"}
        await charger.call("BootNotification", {"reason": "PowerUp", "chargingStation": station})

    assert site.heard.of("method")[1] == (charger_id, None)
    assert (await site.central.set_fallback(charger_id, 1, 6)).answer is CommandStatus.ACCEPTED


@both
async def test_where_a_new_transaction_refuses_what_is_known_the_others_are_tried(
    site: OcppSite, charger_id: str
) -> None:
    charger = await connect_charger(site, charger_id, lambda _: False)
    await site.central.set_limit(charger_id, limit(site))
    refuse(charger, refuses_purposes(TX))
    charger.asked.clear()

    replies = [await site.central.set_limit(charger_id, limit(site, transaction_id="2")) for _ in range(2)]
    replies.append(await site.central.set_limit(charger_id, limit(site, transaction_id="3")))

    assert {reply.method for reply in replies} == {LimitMethod(TX_DEFAULT, 1, AMPERES)}
    assert list_profiles_received(charger) == [(TX, 1, "A"), (TX, 0, "A"), *[(TX_DEFAULT, 1, "A")] * 3]


async def test_where_a_new_transaction_refuses_everything_what_is_known_stays(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    await site.central.set_limit("CP-16", limit(site))
    refuse(charger, takes_nothing)
    charger.asked.clear()

    for _ in range(3):
        await site.central.set_limit("CP-16", limit(site, transaction_id="2"))

    assert list_profiles_received(charger)[0] == (TX_DEFAULT, 1, "A")
    assert list_profiles_received(charger)[-2:] == [(TX_DEFAULT, 1, "A")] * 2
    assert len(set(list_profiles_received(charger))) == len(list_profiles_received(charger)) - 2
    assert site.heard.of("method") == [("CP-16", LimitMethod(TX_DEFAULT, 1, AMPERES))]


async def test_what_is_known_is_tried_anew_where_its_transaction_was_over(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", lambda _: False)
    await site.central.set_limit("CP-16", limit(site, transaction_id="7"))
    refuse(charger, refuses_purposes(TX))
    await site.central.set_limit("CP-16", limit(site))
    await stop(charger, "2026-06-21T11:59:59Z")
    charger.asked.clear()
    refuse(charger, lambda _: False)

    await site.central.set_limit("CP-16", limit(site, transaction_id="8"))

    assert list_profiles_received(charger) == [(TX, 1, "A")]


async def test_each_transaction_keeps_to_what_was_accepted_in_it(site: OcppSite) -> None:
    charger = await connect_charger(
        site, "CP-2", lambda one: one["chargingProfilePurpose"] != (TX if one["evse"] == 1 else TX_DEFAULT)
    )
    for _ in range(3):
        for evse_id in (1, 2):
            await site.central.set_limit("CP-2", limit(site, transaction_id=str(evse_id), evse_id=evse_id))

    assert list_profiles_received(charger)[-4:] == [(TX, 1, "A"), (TX_DEFAULT, 1, "A")] * 2
    assert len(site.heard.of("method")) == 2


@both
async def test_what_is_known_of_a_charger_outlives_its_connection_and_its_boots(
    site: OcppSite, charger_id: str
) -> None:
    charger = await connect_charger(site, charger_id, refuses_purposes(TX))
    await site.central.set_limit(charger_id, limit(site))
    await charger.hang_up()
    charger = await connect_charger(site, charger_id, refuses_purposes(TX))

    await site.central.set_limit(charger_id, limit(site))

    assert list_profiles_received(charger) == [(TX_DEFAULT, 1, "A")]


async def test_another_firmware_is_tried_anew(site: OcppSite) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX))
    await site.central.set_limit("CP-16", limit(site))
    boot = {"chargePointVendor": "Acme", "chargePointModel": "One", "firmwareVersion": "1.3"}
    await charger.call("BootNotification", boot)
    charger.answers["SetChargingProfile"] = {"status": "Accepted"}
    charger.asked.clear()

    reply = await site.central.set_limit("CP-16", limit(site))

    assert reply.method == LimitMethod(TX, 1, AMPERES)
    assert site.heard.of("method")[1] == ("CP-16", None)


async def test_at_stack_level_0_a_limit_takes_the_place_of_the_fallback_and_does_not_end_by_itself(
    site: OcppSite,
) -> None:
    charger = await connect_charger(site, "CP-16", refuses_purposes(TX), ChargeProfileMaxStackLevel="0")

    reply = await site.central.set_limit("CP-16", limit(site))
    await site.central.set_fallback("CP-16", 1, 6)

    assert reply.method is not None
    assert reply.method.replaces_fallback
    limited, fallen = profiles(charger)[-2:]
    assert limited["chargingProfileId"] == fallen["chargingProfileId"] == 2
    assert "validTo" not in limited
