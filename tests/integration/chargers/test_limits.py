"""Limits over real OCPP on bad days: nobody is left at full power, whoever is gone."""

import asyncio

import pytest
from tests.integration.chargers.charging_site import WAIT_S, ChargingSite, OpenSite

from site_twin.charge_points import Quirk

pytestmark = pytest.mark.anyio

NAMES = ["CP-1", "CP-2", "CP-3"]


async def charging(open_site: OpenSite) -> ChargingSite:
    """Three cars at 32 A for a minute, at chargers of both versions."""
    site = await open_site(NAMES, answer_s=5.0)
    for name, version in zip(NAMES, ("1.6", "2.0.1", "2.0.1"), strict=True):
        site.cars.plug(await site.connect(name, version))
    for name in NAMES:
        await site.until(lambda evse: evse["state"] == "charging" and evse["is_confirmed"], name)
    assert {result["outcome"] for result in await site.limit(32, 60, *NAMES)} == {"applied"}
    return site


async def all_offered(site: ChargingSite, limit_a: float) -> None:
    for name in NAMES:
        await site.until_offered(limit_a, name)


async def test_limits_lapse_to_the_fallback_when_the_agent_is_cut_off(open_site: OpenSite) -> None:
    site = await charging(open_site)

    # A revoked token, a blocked subscription, an agent that is gone: no call arrives any more.
    site.clock.advance(60)

    await all_offered(site, 6)
    for name in NAMES:
        evse = await site.until(lambda evse: evse["is_confirmed"], name)
        assert "limit_a" not in evse


@pytest.mark.slow
async def test_chargers_fall_to_the_fallback_by_themselves_when_the_service_is_gone(open_site: OpenSite) -> None:
    site = await charging(open_site)
    await site.stop()

    site.clock.advance(75)

    assert {site.offered_a(name) for name in NAMES} == {6}


@pytest.mark.slow
async def test_a_limit_that_lapsed_while_the_service_was_away_is_not_given_again(open_site: OpenSite) -> None:
    site = await charging(open_site)
    port = int(site.url.rpartition(":")[2])
    await site.stop()
    site.clock.advance(600)
    await site.start(port)

    for name in NAMES:
        await site.until(lambda evse: evse["is_confirmed"] and "limit_a" not in evse, name)
    await all_offered(site, 6)


@pytest.mark.slow
async def test_a_stop_reaches_every_car_and_ends_by_itself(open_site: OpenSite) -> None:
    site = await charging(open_site)

    await site.order("/override", kind="stop", minutes=5, reason="fire alarm")
    assert {site.offered_a(name) for name in NAMES} == {0}
    assert {result["limited_by"] for result in await site.limit(32, 60, *NAMES)} == {"override"}

    site.clock.advance(301)
    await all_offered(site, 6)
    assert {result["outcome"] for result in await site.limit(32, 60, *NAMES)} == {"applied"}


@pytest.mark.slow
async def test_a_lower_site_limit_holds_the_sum_at_once(open_site: OpenSite) -> None:
    site = await charging(open_site)

    # 34.5 kW are 50 A on each phase, of which the building may take all: fallbacks become 0 A.
    answer = await site.order("/site/limit", limit_kw=34.5, reason="transformer works")

    assert answer["site_limit_kw"] == 34.5
    async with asyncio.timeout(WAIT_S):
        while sum(site.offered_a(name) for name in NAMES) > 50:
            await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_a_lost_meter_changes_no_limit_and_is_asked_for(open_site: OpenSite) -> None:
    site = await charging(open_site)
    site.points["CP-1"].station.quirks.add(Quirk.LOSES_METER)
    before = (await site.evse())["measured"]["measured_at"]
    site.clock.advance(59)
    assert {result["outcome"] for result in await site.limit(16, 300, *NAMES)} == {"applied"}
    site.clock.advance(120)

    await site.until(lambda evse: evse["measured"]["measured_at"] > before, "CP-2")
    assert (await site.evse())["measured"]["measured_at"] == before
    assert (await site.limit(10, 300))[0]["outcome"] == "applied"
    assert site.offered_a() == 10


@pytest.mark.slow
async def test_a_car_that_comes_during_a_stop_gets_nothing(open_site: OpenSite) -> None:
    site = await open_site(NAMES, answer_s=5.0)
    point = await site.connect("CP-1", "1.6")
    await site.until(lambda evse: evse["state"] == "available")
    await site.order("/override", kind="stop", minutes=5, reason="fire alarm")

    site.cars.plug(point)

    await site.until(lambda evse: "session" in evse and evse.get("limited_by") == "override")
    await site.until_offered(0)
