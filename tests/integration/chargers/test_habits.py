"""The charger service among chargers with the bad habits of the field: what the car is offered is what counts."""

import asyncio

import pytest
from tests.integration.chargers.charging_site import ChargingSite, OpenSite

from site_twin.charge_points import ChargePoint, Quirk

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["1.6", "2.0.1"])


async def charging(site: ChargingSite, version: str, *quirks: Quirk) -> ChargePoint:
    """A charge point where a car charges at the fallback."""
    point = await site.connect("CP-1", version, *quirks)
    site.cars.plug(point)
    await site.until(lambda evse: evse["state"] == "charging" and evse.get("session") and evse["fallback_a"] == 6)
    return point


@both
async def test_a_limit_reaches_the_car_and_a_pause_keeps_its_transaction(site: ChargingSite, version: str) -> None:
    await charging(site, version)
    session = (await site.evse())["session"]["session_id"]

    applied = await site.limit(16)
    assert site.offered_a() == 16
    paused = await site.limit(0)
    assert site.offered_a() == 0
    evse = await site.until(lambda evse: evse["state"] == "suspended_evse")
    resumed = await site.limit(10)
    await site.until(lambda evse: evse["state"] == "charging")

    assert [results[0]["outcome"] for results in (applied, paused, resumed)] == ["applied"] * 3
    assert evse["session"]["session_id"] == session == (await site.evse())["session"]["session_id"]
    assert site.offered_a() == 10


@pytest.mark.slow
@both
async def test_a_charger_that_forgets_profiles_while_suspended_is_told_again_once_it_charges(
    site: ChargingSite, version: str
) -> None:
    await charging(site, version, Quirk.IGNORES_PROFILES_WHILE_SUSPENDED)
    await site.limit(0)
    await site.until(lambda evse: evse["state"] == "suspended_evse")
    # Accepted and forgotten: the pause goes on until its own end on the charger.
    await site.limit(10, seconds=600)
    assert site.offered_a() == 0

    site.clock.advance(60)

    await site.until_offered(10)


@pytest.mark.slow
@both
async def test_a_charger_that_resumes_at_full_power_is_held_to_its_limit_at_once(
    site: ChargingSite, version: str
) -> None:
    await charging(site, version, Quirk.RESUMES_AT_FULL_POWER)
    await site.limit(0)
    await site.until(lambda evse: evse["state"] == "suspended_evse")

    await site.limit(10)

    await site.until_offered(10)


@pytest.mark.slow
@both
@pytest.mark.parametrize("quirk", [Quirk.STACK_LEVEL_ZERO_ONLY, Quirk.AMPERES_ONLY])
async def test_a_charger_that_can_do_little_is_limited_all_the_same(
    site: ChargingSite, version: str, quirk: Quirk
) -> None:
    await charging(site, version, quirk)

    assert (await site.limit(10))[0]["outcome"] == "applied"
    assert site.offered_a() == 10


@pytest.mark.slow
@both
async def test_a_charger_that_rejects_limits_is_told_as_such(site: ChargingSite, version: str) -> None:
    point = await charging(site, version)
    point.station.quirks.add(Quirk.ANSWERS_REJECTED)

    result = (await site.limit(10))[0]

    assert (result["outcome"], result["limited_by"]) == ("rejected", "charger_rejected")
    assert site.offered_a() == 6


@pytest.mark.slow
@both
@pytest.mark.parametrize("quirk", [Quirk.NEVER_ANSWERS, Quirk.NEVER_CONFIRMS])
async def test_a_charger_that_does_not_answer_holds_up_nobody(open_site: OpenSite, version: str, quirk: Quirk) -> None:
    site = await open_site(answer_s=1.0)
    point = await charging(site, version)
    point.station.quirks.add(quirk)

    result = (await site.limit(10))[0]

    assert (result["outcome"], result["limited_by"]) == ("rejected", "charger_no_answer")
    assert (await site.evse())["is_confirmed"] is False


@pytest.mark.slow
@both
async def test_a_late_answer_counts_when_it_comes(open_site: OpenSite, version: str) -> None:
    site = await open_site(answer_s=1.0)
    point = await charging(site, version)
    point.station.quirks.add(Quirk.ANSWERS_LATE)

    result = (await site.limit(10))[0]
    assert result["limited_by"] == "charger_no_answer"

    evse = await site.until(lambda evse: evse["is_confirmed"])
    assert evse["limit_a"] == 10
    assert site.offered_a() == 10


@pytest.mark.slow
@both
async def test_a_charger_that_disconnects_in_the_middle_of_a_profile_is_told_when_it_is_back(
    site: ChargingSite, version: str
) -> None:
    point = await charging(site, version)
    point.station.quirks.add(Quirk.DISCONNECTS_IN_PROFILE)
    result = (await site.limit(10))[0]
    assert result["outcome"] == "rejected"
    assert result["limited_by"] in ("charger_no_answer", "not_connected")

    point.station.quirks.clear()

    await site.until_offered(10)
    await site.until(lambda evse: evse["is_confirmed"] and evse["limit_a"] == 10)


@pytest.mark.slow
@both
async def test_a_charger_that_reboots_is_given_its_fallback_and_its_limit_again(
    site: ChargingSite, version: str
) -> None:
    point = await charging(site, version)
    await site.limit(16, seconds=600)
    before = (await site.evse())["session"]["session_id"]

    # By its beginning a transaction is known again, so the next one begins at another time.
    site.clock.advance(1)
    point.reboot()

    evse = await site.until(lambda evse: evse.get("session") and evse["session"]["session_id"] != before)
    await site.until(lambda evse: evse["state"] == "charging")
    assert evse["fallback_a"] == 6
    assert (await site.charger())["is_connected"]
    assert (await site.limit(10))[0]["outcome"] == "applied"
    assert site.offered_a() == 10


@both
async def test_a_charger_that_waits_for_a_remote_start_is_asked_to_begin(site: ChargingSite, version: str) -> None:
    point = await site.connect("CP-1", version, Quirk.WAITS_FOR_REMOTE_START)
    await site.until(lambda evse: evse["state"] == "available" and evse["fallback_a"] == 6)
    site.cars.plug(point)
    await site.until(lambda evse: evse["state"] == "occupied")

    site.clock.advance(14)
    assert "session" not in await site.evse()
    site.clock.advance(1)
    evse = await site.until(lambda evse: evse["state"] == "charging" and evse.get("session"))
    assert evse["session"]["driver_id"] == "autostart"
    assert (await site.limit(10))[0]["outcome"] == "applied"
    assert site.offered_a() == 10

    # Ended while the car is still there: nobody begins it again.
    assert site.central is not None
    transaction_id = point.station.transactions()[1]
    assert transaction_id is not None
    await site.central.stop("CP-1", transaction_id)
    await site.until(lambda evse: not evse.get("session") and evse["state"] == "occupied")
    for _ in range(3):
        site.clock.advance(30)
        await asyncio.sleep(0.05)
    assert "session" not in await site.evse()

    site.cars.unplug("CP-1")
    await site.until(lambda evse: evse["state"] == "available")
    site.cars.plug(point)
    await site.until(lambda evse: evse["state"] == "occupied")
    site.clock.advance(15)
    await site.until(lambda evse: evse["state"] == "charging" and evse.get("session"))


@pytest.mark.slow
@both
async def test_a_car_that_draws_more_than_it_may_is_seen(site: ChargingSite, version: str) -> None:
    point = await site.connect("CP-1", version)
    site.cars.plug(point, draws=1.3)
    await site.until(lambda evse: evse["state"] == "charging")
    await site.limit(16, seconds=600)

    # What is drawn right after a limit may still be the one before it.
    site.clock.advance(30)

    evse = await site.until(lambda evse: evse["is_overdrawing"])
    assert max(evse["measured"]["current_a"]) > 16


@pytest.mark.slow
@both
async def test_a_limit_that_nobody_renews_falls_to_the_fallback(site: ChargingSite, version: str) -> None:
    await charging(site, version)
    await site.limit(16)
    assert site.offered_a() == 16

    site.clock.advance(46)

    await site.until_offered(6)


@pytest.mark.slow
async def test_a_hundred_chargers_go_on_after_the_central_system_restarts(open_site: OpenSite) -> None:
    names = [f"CP-{number}" for number in range(100)]
    site = await open_site(names, answer_s=6.0, fallback_a=6.0)
    for number, name in enumerate(names):
        site.cars.plug(await site.connect(name, ("1.6", "2.0.1")[number % 2]))
    for name in names:
        await site.until(lambda evse: evse["state"] == "charging" and evse.get("session"), name)
    assert {result["outcome"] for result in await site.limit(8, 600, *names)} == {"applied"}
    sessions = {name: (await site.evse(name))["session"]["session_id"] for name in names}

    port = int(site.url.rpartition(":")[2])
    await site.stop()
    assert {site.offered_a(name) for name in names} == {8}
    await site.start(port)

    for name in names:
        await site.until(lambda evse: evse["is_confirmed"] and evse["state"] == "charging", name)
    assert {name: (await site.evse(name))["session"]["session_id"] for name in names} == sessions
    assert {site.offered_a(name) for name in names} == {8}
    assert {result["outcome"] for result in await site.limit(7, 600, *names)} == {"applied"}
    assert {site.offered_a(name) for name in names} == {7}
