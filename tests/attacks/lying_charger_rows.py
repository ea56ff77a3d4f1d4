"""What chargers say and refuse, tried on a charger service of this checkout: it must harm nobody else.

No charger of the stack is touched.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from unittest.mock import patch

from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import summarize, table
from tests.attacks.own_chargers import CHARGERS, Commanders, limit, run_scenario
from tests.attacks.rows import Group, Observation, Row

from charger_service import limit_state
from ev_service.clock import SystemClock
from site_twin.charge_points import ChargePoint, Quirk
from site_twin.charge_points.evses import Evse, Reading
from site_twin.charge_points.protocol_version import ReadingContext
from wso2_provisioning.verification.formatting import parse_body

HONEST, LIAR = CHARGERS
_ABSURD_A = 1e308
_ROOM_KW = 70.0
"""Three phases of 101 A: room for both chargers at their most."""
_BEHIND = timedelta(hours=5)
_MOST_TRIES, _PAUSE_S = 100, 0.05


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.CHARGERS,
        (
            "liar",
            "charger reports 1e308 A; then reduction, raise, stop elsewhere",
            "200 each; 10 A, 16 A, 0 A",
            _liar,
        ),
        (
            "lagging-clock",
            "car draws triple its limit, charger's clock five hours behind",
            "found to draw too much",
            _lagging_clock,
        ),
        (
            "refusing",
            "chargers that refuse TxProfiles or amperes, limited to 10 A",
            "10 A, 10 A",
            _refusing,
        ),
        (
            "lingering-limit",
            "empty charger keeps 20 A; 32 A for another, site 36 A",
            "partly_applied: 16.2 A",
            _lingering_limit,
        ),
    )


def _liar(_: AttackRun) -> Observation:
    async def scenario(commanders: Commanders) -> Observation:
        honest, liar = commanders.points[HONEST], commanders.points[LIAR]
        commanders.cars.plug(honest)
        await _set_limit(commanders, honest, 12.0)
        commanders.cars.plug(liar)
        await _set_limit(commanders, liar, 6.0)
        with _readings(liar, lambda reading: replace(reading, lines_a=(_ABSURD_A,) * 3, power_w=_ABSURD_A)):
            if not await _overdraws(commanders, liar):
                return Observation("its values are not taken")
            answers, offered_a = [await commanders.read()], list[float]()
            for act in (
                commanders.put(limit(HONEST, 10.0, _now())),
                commanders.put(limit(HONEST, 16.0, _now())),
                commanders.order("/override", {"kind": "stop", "minutes": 5, "reason": "attack"}),
            ):
                answers.append(await act)
                offered_a.append(_read_offered_a(honest))
        told = ", ".join(f"{one:g} A" for one in offered_a)
        statuses = summarize(str(answer.status_code) for answer in answers)
        return Observation(f"{statuses}; {told}", f"{_ABSURD_A:g} A reported")

    return _run_scenario(scenario)


def _lagging_clock(_: AttackRun) -> Observation:
    async def scenario(commanders: Commanders) -> Observation:
        point = commanders.points[LIAR]
        with _readings(point, lambda reading: replace(reading, at=reading.at - _BEHIND)):
            commanders.cars.plug(point, draws=3.0)
            await _set_limit(commanders, point, 8.0)
            is_found = await _overdraws(commanders, point)
        return Observation("found to draw too much" if is_found else "nothing is found")

    return _run_scenario(scenario)


def _refusing(_: AttackRun) -> Observation:
    quirks = dict(zip(CHARGERS, (Quirk.REFUSES_TX_PROFILES, Quirk.WATTS_ONLY), strict=True))

    async def scenario(commanders: Commanders) -> Observation:
        for charger_id, quirk in quirks.items():
            point = commanders.points[charger_id]
            point.station.quirks.add(quirk)
            commanders.cars.plug(point)
            await _set_limit(commanders, point, 10.0)
        return Observation(", ".join(f"{_read_offered_a(point):g} A" for point in commanders.points.values()))

    return _run_scenario(scenario)


def _lingering_limit(_: AttackRun) -> Observation:
    async def scenario(commanders: Commanders) -> Observation:
        other, keeping = commanders.points[HONEST], commanders.points[LIAR]
        keeping.station.quirks.add(Quirk.REFUSES_TX_PROFILES)
        commanders.cars.plug(keeping)
        commanders.cars.plug(other)
        await _set_limit(commanders, keeping, 20.0)
        keeping.station.quirks.add(Quirk.NEVER_ANSWERS)
        commanders.cars.unplug(keeping.charger_id)
        for _ in range(_MOST_TRIES):
            if "session" not in await commanders.evse(keeping.charger_id):
                break
            await asyncio.sleep(_PAUSE_S)
        await _set_limit(commanders, other, 8.0)
        (result,) = parse_body(await commanders.put(limit(other.charger_id, 32.0, _now()))).get("results", [{}])
        return Observation(f"{result.get('outcome')}: {result.get('limit_a', 0):g} A")

    return run_scenario(scenario)


def _run_scenario(scenario: Callable[[Commanders], Awaitable[Observation]]) -> Observation:
    # Nobody waits here for the 10 s that a car has to follow.
    with patch.object(limit_state, "SETTLES_S", 0.0):
        return run_scenario(scenario, site_limit_kw=_ROOM_KW)


@contextmanager
def _readings(point: ChargePoint, told: Callable[[Reading], Reading]) -> Generator[None]:
    """Have a charge point tell its meter values otherwise than they are."""
    really = point.station.reading

    def reading(evse: Evse) -> Reading:
        return told(really(evse))

    with patch.object(point.station, "reading", reading):
        yield


async def _set_limit(commanders: Commanders, point: ChargePoint, limit_a: float) -> None:
    """Limit a charge point, and wait until it keeps to it."""
    for _ in range(_MOST_TRIES):
        await commanders.put(limit(point.charger_id, limit_a, _now()))
        if _read_offered_a(point) == limit_a:
            return
        await asyncio.sleep(_PAUSE_S)


async def _overdraws(commanders: Commanders, point: ChargePoint) -> bool:
    """Whether the car there is found to draw more than it may, once its meter is told."""
    for _ in range(_MOST_TRIES):
        point.station.send_meter_values(point.station.evses[1], ReadingContext.PERIODIC)
        await asyncio.sleep(_PAUSE_S)
        if (await commanders.evse(point.charger_id)).get("is_overdrawing"):
            return True
    return False


def _read_offered_a(point: ChargePoint) -> float:
    return point.compute_offer(1, _now()).limit_a


def _now() -> datetime:
    return SystemClock().now()
