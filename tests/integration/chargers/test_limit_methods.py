"""Chargers that refuse a TxProfile or take watts only: what the car is offered is what counts."""

from typing import Any

import pytest
from tests.integration.chargers.charging_site import ChargingSite

from site_twin.charge_points import ChargePoint, Quirk

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["1.6", "2.0.1"])
METHODS = {
    Quirk.REFUSES_TX_PROFILES: {"purpose": "TxDefaultProfile", "stack_level": 1, "unit": "A"},
    Quirk.STATION_PROFILES_ONLY: {"purpose": "ChargePointMaxProfile", "stack_level": 1, "unit": "A"},
    Quirk.WATTS_ONLY: {"purpose": "TxProfile", "stack_level": 1, "unit": "W"},
}
ways = pytest.mark.parametrize("quirks", [(quirk,) for quirk in METHODS])
outliving = pytest.mark.parametrize(
    "quirks",
    [
        (Quirk.REFUSES_TX_PROFILES,),
        (Quirk.STATION_PROFILES_ONLY,),
        (Quirk.STATION_PROFILES_ONLY, Quirk.WATTS_ONLY),
        (Quirk.REFUSES_TX_PROFILES, Quirk.STACK_LEVEL_ZERO_ONLY),
        (Quirk.STATION_PROFILES_ONLY, Quirk.STACK_LEVEL_ZERO_ONLY),
    ],
)
every = pytest.mark.parametrize(
    "quirks", [(), *[(quirk,) for quirk in METHODS], (Quirk.REFUSES_TX_PROFILES, Quirk.STACK_LEVEL_ZERO_ONLY)]
)


async def charging(site: ChargingSite, version: str, *quirks: Quirk, **car: Any) -> ChargePoint:
    """A charge point where a car charges at the fallback."""
    point = await site.connect("CP-1", version, *quirks)
    await plug_in(site, point, **car)
    return point


async def plug_in(site: ChargingSite, point: ChargePoint, **car: Any) -> None:
    site.cars.plug(point, **car)
    await site.until(lambda evse: evse.get("session") and evse["is_confirmed"])


async def unplug(site: ChargingSite, point: ChargePoint) -> None:
    site.cars.unplug(point.charger_id)
    await site.until(lambda evse: evse.get("session") is None)


def limits(point: ChargePoint) -> list[float]:
    """What each profile that it holds allows, in its own unit."""
    return [profile.schedule.periods[0].limit for profile in point.station.installed.all]


@both
@ways
async def test_a_car_is_limited_and_paused_by_what_its_charger_takes(
    site: ChargingSite, version: str, quirks: tuple[Quirk, ...]
) -> None:
    await charging(site, version, *quirks)
    session = (await site.evse())["session"]["session_id"]
    offered: list[float] = []

    for limit_a in (16, 0, 10):
        assert (await site.limit(limit_a))[0]["outcome"] == "applied"
        offered.append(site.offered_a())

    assert offered == [16, 0, 10]
    assert (await site.evse())["session"]["session_id"] == session
    assert (await site.charger())["limit_method"] == METHODS[quirks[0]]


@both
@every
async def test_a_limit_that_lapses_falls_to_the_fallback(
    site: ChargingSite, version: str, quirks: tuple[Quirk, ...]
) -> None:
    await charging(site, version, *quirks)
    await site.limit(16)

    site.clock.advance(46)

    await site.until_offered(6)


@both
@ways
async def test_a_charger_falls_to_its_fallback_by_itself_once_the_service_is_gone(
    site: ChargingSite, version: str, quirks: tuple[Quirk, ...]
) -> None:
    point = await charging(site, version, *quirks)
    await site.until(lambda _: len(point.station.installed.all) == 2)
    await site.limit(16)
    await site.stop()

    site.clock.advance(60)

    assert site.offered_a() == 6


@both
async def test_with_stack_level_0_alone_the_last_limit_stays_once_the_service_is_gone(
    site: ChargingSite, version: str
) -> None:
    await charging(site, version, Quirk.REFUSES_TX_PROFILES, Quirk.STACK_LEVEL_ZERO_ONLY)
    await site.limit(10)
    await site.stop()

    site.clock.advance(60)

    assert site.offered_a() == 10


@both
@outliving
async def test_the_next_car_begins_at_the_fallback(site: ChargingSite, version: str, quirks: tuple[Quirk, ...]) -> None:
    point = await charging(site, version, *quirks)
    assert (await site.limit(16, seconds=600))[0]["outcome"] == "applied"

    await unplug(site, point)

    # The limit is taken back, and the fallback alone is left.
    await site.until(lambda _: limits(point) in ([6], [4140]))
    site.clock.advance(1)
    await plug_in(site, point)
    assert site.offered_a() == 6
    assert (await site.limit(12))[0]["outcome"] == "applied"
    assert site.offered_a() == 12


@both
@outliving
async def test_a_paused_car_leaves_no_pause_behind(site: ChargingSite, version: str, quirks: tuple[Quirk, ...]) -> None:
    point = await charging(site, version, *quirks)
    await site.limit(0, seconds=600)

    await unplug(site, point)
    site.clock.advance(1)
    await plug_in(site, point)

    await site.until_offered(6)


@both
@ways
async def test_what_a_charger_takes_is_known_after_a_restart(
    site: ChargingSite, version: str, quirks: tuple[Quirk, ...]
) -> None:
    point = await charging(site, version, *quirks)
    await site.limit(16, seconds=600)
    port = int(site.url.rpartition(":")[2])
    await site.until(lambda _: point.is_booted)

    await site.stop()
    await site.start(port)

    await site.until(lambda evse: evse["is_confirmed"] and evse["limit_a"] == 16)
    assert (await site.charger())["limit_method"] == METHODS[quirks[0]]
    assert site.offered_a() == 16


@both
async def test_a_car_on_one_phase_gets_its_limit_there_from_a_charger_that_takes_watts(
    site: ChargingSite, version: str
) -> None:
    point = await charging(site, version, Quirk.WATTS_ONLY, phases=1)
    await site.limit(10, seconds=600)

    site.clock.advance(5)

    # The twin divides power by the phases that the profile names.
    await site.until(
        lambda _: any(profile.schedule.periods[0].limit == 2300 for profile in point.station.installed.all)
    )
    assert site.offered_a() == 10
