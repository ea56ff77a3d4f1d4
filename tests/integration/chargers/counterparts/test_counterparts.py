"""Chargers that were not written here charge, are limited, paused and begun, and find no fault with what they are told.

ocpp-rpc in strict mode holds every message of either side against JSON Schemas of its own; ocpp-ts only what it is
asked; the ChargeTime library reads and checks them by its own classes.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from ocpp import charge_point as library
from tests.integration.chargers.charging_site import WAIT_S
from tests.integration.chargers.counterparts.conftest import CHARGER, Counterpart, CounterpartSite, Maker
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from charger_service.ocpp.limit_methods import possible_methods
from charger_service.ocpp.profiles import Conversion
from charger_service.ports import ChargerCapabilities, CommandStatus, TransactionLimit
from ev_service.certificates import Server, make_servers
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem

# The first of them may wait for npm, Maven and the compiler.
pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(180)]

FALLBACK_A = 6.0
TO_THE_CHARGER = {
    "1.6": {
        *("GetConfiguration", "ChangeConfiguration", "SetChargingProfile", "ClearChargingProfile"),
        *("GetCompositeSchedule", "RemoteStartTransaction", "RemoteStopTransaction", "TriggerMessage", "Reset"),
    },
    "2.0.1": {
        *("GetVariables", "SetVariables", "SetChargingProfile", "ClearChargingProfile", "GetCompositeSchedule"),
        *("RequestStartTransaction", "RequestStopTransaction", "TriggerMessage", "Reset"),
    },
}
FROM_THE_CHARGER = {
    "1.6": {
        *("BootNotification", "Heartbeat", "StatusNotification", "Authorize", "StartTransaction", "StopTransaction"),
        *("MeterValues", "DataTransfer", "DiagnosticsStatusNotification", "FirmwareStatusNotification"),
        *("LogStatusNotification", "SecurityEventNotification"),
    },
    "2.0.1": {
        *("BootNotification", "Heartbeat", "StatusNotification", "Authorize", "TransactionEvent", "MeterValues"),
        *("NotifyEVChargingNeeds", "DataTransfer", "FirmwareStatusNotification", "LogStatusNotification"),
        *("SecurityEventNotification", "NotifyEvent", "NotifyReport"),
    },
}


async def charging(here: CounterpartSite, maker: Maker, url: str | None = None) -> Counterpart:
    """A charge point where a car charges at the fallback, by the words of both sides."""
    point = await here.start(maker, url)
    await point.until(lambda point: "TxDefaultProfile" in point.limits)
    point.order("plug")
    await here.site.until(lambda evse: evse["state"] == "charging" and evse.get("session"))
    await wait_for_measured_current(here, point, FALLBACK_A)
    return point


async def wait_for_measured_current(here: CounterpartSite, point: Counterpart, current_a: float) -> dict[str, Any]:
    """Wait until the car draws so much on each phase, and ChargerAPI says that it was measured; what it says."""
    await point.until(lambda point: point.draws_a == current_a)
    currents = [current_a] * 3
    return await here.site.until(lambda evse: evse.get("measured") and evse["measured"]["current_a"] == currents)


async def apply_limit(here: CounterpartSite, point: Counterpart, limit_a: float) -> dict[str, Any]:
    """Set a limit, and wait until it is applied and measured; what ChargerAPI says then."""
    (result,) = await here.site.limit(limit_a)
    assert (result["outcome"], result["limit_a"]) == ("applied", limit_a), result
    evse = await wait_for_measured_current(here, point, limit_a)
    assert (evse["limit_a"], evse["is_confirmed"]) == (limit_a, True)
    return evse


def refused_handshakes(here: CounterpartSite) -> dict[str, float]:
    """How many handshakes the service refused, by reason."""
    assert here.site.central is not None
    counted = [sample for metric in here.site.central.metrics.refused.collect() for sample in metric.samples]
    return {sample.labels["reason"]: sample.value for sample in counted if sample.name.endswith("_total")}


@pytest.mark.parametrize("profile", ["security profile 1", "security profile 2"])
async def test_a_charger_charges_is_limited_is_paused_and_goes_on(
    here: CounterpartSite, maker: Maker, profile: str
) -> None:
    site = here.site
    point = await charging(here, maker, site.url if profile.endswith("1") else site.tls_url)
    told = await site.charger()
    assert (told["is_connected"], told["ocpp_version"], told["vendor"]) == (True, maker.version, maker.name)
    session = (await site.evse())["session"]["session_id"]

    evse = await apply_limit(here, point, 10)
    assert evse["measured"]["power_kw"] == pytest.approx(6.9)
    # The car has had time to follow, and the charger hears what time it is.
    site.clock.advance(30)
    point.order("heartbeat")
    evse = await site.until(lambda evse: evse["session"]["energy_kwh"] > 0.05)
    assert evse["is_overdrawing"] is False

    await apply_limit(here, point, 0)
    evse = await site.until(lambda evse: evse["state"] == "suspended_evse")
    assert evse["session"]["session_id"] == session

    await apply_limit(here, point, 12.3)
    evse = await site.until(lambda evse: evse["state"] == "charging")
    assert evse["session"]["session_id"] == session

    point.order("unplug")
    evse = await site.until(lambda evse: evse["state"] == "available")
    assert "session" not in evse
    await point.until(lambda point: point.draws_a == 0)
    await point.end()
    assert point.wrong == []


async def test_a_charger_that_waits_for_a_remote_start_is_asked_to_begin(here: CounterpartSite, maker: Maker) -> None:
    point = await here.start(maker)
    await point.until(lambda point: "TxDefaultProfile" in point.limits)
    point.order("park")
    await here.site.until(lambda evse: evse["state"] == "occupied")
    asked = "RemoteStartTransaction" if maker.version == "1.6" else "RequestStartTransaction"
    assert asked not in point.asked

    here.site.clock.advance(15)

    evse = await here.site.until(lambda evse: evse["state"] == "charging" and evse.get("session"))
    assert evse["session"]["driver_id"] == "autostart"
    await wait_for_measured_current(here, point, FALLBACK_A)
    await apply_limit(here, point, 10)
    await apply_limit(here, point, 0)
    point.order("unplug")
    await here.site.until(lambda evse: evse["state"] == "available" and not evse.get("session"))
    await point.end()
    assert point.asked.count(asked) == 1
    assert point.wrong == []


async def test_whatever_the_service_asks_is_understood(here: CounterpartSite, maker: Maker) -> None:
    central = here.site.central
    assert central is not None
    point = await charging(here, maker)
    await apply_limit(here, point, 10)

    on_one_phase = TransactionLimit(1, point.transaction, 10, here.site.clock.now() + timedelta(seconds=60), phases=1)
    assert (await central.set_limit(CHARGER, on_one_phase)).answer is CommandStatus.ACCEPTED
    assert await central.limit_in_force(CHARGER, 1) == (await central.ask_meter_values(CHARGER, 1), 10)
    assert (await central.clear_limit(CHARGER, 1)).answer is CommandStatus.ACCEPTED
    await wait_for_measured_current(here, point, FALLBACK_A)
    running = str((await here.site.until(lambda evse: evse.get("session")))["session"]["session_id"])
    assert (await central.stop(CHARGER, point.transaction)).answer is CommandStatus.ACCEPTED
    await here.site.until(lambda evse: evse["state"] == "available" and not evse.get("session"))
    assert (await central.clear_fallback(CHARGER, 1)).answer is CommandStatus.ACCEPTED
    assert (await central.start(CHARGER, 1, "remote-1")).answer is CommandStatus.ACCEPTED
    await here.site.until(lambda evse: evse.get("session") and evse["session"]["session_id"] != running)
    point.order("unplug")
    await here.site.until(lambda evse: evse["state"] == "available")
    boots = point.answered.count("BootNotification")
    assert (await central.reset(CHARGER)).answer is CommandStatus.ACCEPTED
    await point.until(lambda point: point.answered.count("BootNotification") == boots + 1)

    await point.end()
    assert set(point.asked) == TO_THE_CHARGER[maker.version]
    assert point.wrong == []


async def test_whatever_the_service_answers_is_understood(here: CounterpartSite, maker: Maker) -> None:
    point = await charging(here, maker)
    point.order("heartbeat")
    point.order("rest")
    point.order("unplug")
    await here.site.until(lambda evse: evse["state"] == "available" and not evse.get("session"))
    await point.until(lambda point: set(point.answered) >= FROM_THE_CHARGER[maker.version])

    await point.end()
    assert set(point.answered) == FROM_THE_CHARGER[maker.version]
    assert point.wrong == []


async def test_a_charger_with_a_wrong_password_is_refused(here: CounterpartSite, maker: Maker) -> None:
    point = await here.start(maker, password="another-password")

    await point.wait_for_end()

    assert [wrong.split(":")[0] for wrong in point.wrong] == ["connecting"]
    assert (await here.site.charger())["is_connected"] is False
    assert refused_handshakes(here) == {"wrong_password": 1}


async def test_a_charger_that_does_not_trust_the_certificate_stays_away(
    here: CounterpartSite, maker: Maker, tmp_path: Path
) -> None:
    stranger, _ = make_servers("another CA", [Server("localhost", ("localhost",))], datetime.now(UTC))
    point = await here.start(
        maker, here.site.tls_url, trusts=replace_file(tmp_path / "stranger.pem", pem(stranger), PUBLIC)
    )

    await point.wait_for_end()

    assert [wrong.split(":")[0] for wrong in point.wrong] == ["connecting"]
    assert (await here.site.charger())["is_connected"] is False


def without_stack_level(version: str) -> dict[str, Any]:
    """A fallback as it is sent, but for something that both versions demand."""
    method = possible_methods(ChargerCapabilities(), evses=1)[0]
    profile = Conversion(voltage_v=230.0, phases=3).fallback(1, FALLBACK_A, method, datetime.now(UTC))
    if version == "1.6":
        named: dict[str, Any] = {"connectorId": 1, "csChargingProfiles": profile.content_16()}
        del named["csChargingProfiles"]["stack_level"]
    else:
        named = {"evseId": 1, "chargingProfile": profile.content_201()}
        del named["chargingProfile"]["stack_level"]
    return cast("dict[str, Any]", cast(Any, library).snake_to_camel_case(named))


async def test_a_charger_refuses_a_limit_that_breaks_the_standard(here: CounterpartSite, maker: Maker) -> None:
    """Else that it finds no fault with the service would say nothing."""
    refusals: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def careless(connection: ServerConnection) -> None:
        async for text in connection:
            said = json.loads(text)
            if said[0] == 4:
                refusals.put_nowait(said)
                continue
            boot = {"currentTime": "2026-06-21T12:00:00Z", "interval": 60, "status": "Accepted"}
            await connection.send(json.dumps([3, said[1], boot if said[2] == "BootNotification" else {}]))
            if said[2] == "BootNotification":
                await connection.send(
                    json.dumps([2, "broken", "SetChargingProfile", without_stack_level(maker.version)])
                )

    async with serve(careless, "127.0.0.1", 0, subprotocols=[Subprotocol(f"ocpp{maker.version}")]) as server:
        point = await here.start(maker, f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        refusal = await asyncio.wait_for(refusals.get(), WAIT_S)
        await point.end()

    assert refusal[:2] == [4, "broken"]
    assert point.limits == []
