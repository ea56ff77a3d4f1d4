"""Cut off and back: transactions go on, what must not be lost is told later, and passwords are asked for."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.site_twin.charge_points.central_system import (
    HASTE,
    PASSWORD,
    CentralSystem,
    Connect,
    booted,
    serving,
)
from tests.unit.site_twin.charge_points.orders import set_profile

from ev_service.certificates import Server, make_servers
from ev_service.clock import SteppedClock, SystemClock
from ev_service.key_files import pem, write_pair
from ev_service.trust import Authorities
from site_twin.charge_points import ChargePoint, ParkedCars

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["1.6", "2.0.1"])


@both
async def test_a_lost_connection_leaves_transaction_and_limit_as_they_are(
    version: str, central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point: ChargePoint = await connect(version)
    cars.plug(point)
    await point.until(lambda: point.station.transactions()[1] is not None)
    await central.call(set_profile(point, 10.0))
    central.hang_up()
    await central.until(lambda: len(central.connections) == 2)
    await booted(point)

    assert point.compute_offer(1, cars.now()).limit_a == 10.0
    assert len(central.of("BootNotification")) == 1
    assert len(central.of("StartTransaction") or central.events("Started")) == 1
    assert not central.of("StopTransaction")
    assert not central.events("Ended")


@both
async def test_a_car_that_comes_and_goes_while_offline_is_told_of_afterwards(
    version: str, cars: ParkedCars, clock: SteppedClock
) -> None:
    async with AsyncExitStack() as stack:
        central = CentralSystem()
        settings: dict[str, Any] = {"version": version, "cars": cars, "timing": HASTE}
        async with serving(central):
            point = ChargePoint("CP-1", central.url, PASSWORD, **settings)
            await booted(await stack.enter_async_context(point.running()))
        await point.until(lambda: not point.is_connected)
        cars.plug(point)
        await point.until(lambda: point.station.evses[1].transaction is not None)
        assert point.compute_offer(1, cars.now()).limit_a == 32.0
        clock.advance(600)
        cars.unplug("CP-1")
        await point.until(lambda: point.station.evses[1].car is None)
        clock.advance(600)
        async with serving(central, central.port):
            if version == "1.6":
                start, stop = (
                    await central.until_heard("StartTransaction"),
                    await central.until_heard("StopTransaction"),
                )
                assert (start["timestamp"], stop["timestamp"]) == ("2026-06-21T12:00:00Z", "2026-06-21T12:10:00Z")
                assert stop["meter_stop"] - start["meter_start"] == 3680
            else:
                await central.until(lambda: central.events("Ended"))
                assert [event["offline"] for event in central.of("TransactionEvent")] == [True, True]
                assert [event["seq_no"] for event in central.of("TransactionEvent")] == [0, 1]


async def test_before_it_was_ever_accepted_nobody_charges(cars: ParkedCars) -> None:
    central = CentralSystem(boot_status="Pending", boot_interval_s=0)
    async with serving(central):
        point = ChargePoint("CP-1", central.url, PASSWORD, cars=cars, timing=HASTE)
        async with point.running():
            cars.plug(point)
            await central.until_heard("BootNotification", 3)
            assert point.station.evses[1].car is not None
            assert point.compute_offer(1, cars.now()).limit_a == 0.0

            central.boot_status = "Accepted"
            await central.until(lambda: central.events("Started"))
            assert point.compute_offer(1, cars.now()).limit_a == 32.0


async def test_what_was_sent_and_not_answered_is_sent_again_as_it_was(
    central: CentralSystem, connect: Connect, cars: ParkedCars
) -> None:
    point: ChargePoint = await connect("2.0.1")
    central.holds.add("TransactionEvent")
    cars.plug(point)
    await central.until(lambda: central.events("Started"))
    central.holds.clear()
    central.hang_up()
    await central.until(lambda: len(central.events("Started")) == 2)

    first, second = central.events("Started")
    assert first == second


async def test_a_central_system_that_does_not_answer_is_left(cars: ParkedCars) -> None:
    central = CentralSystem(holds={"BootNotification"})
    async with serving(central):
        impatient = type(HASTE)(answer_s=0, first_wait_s=0.01, longest_wait_s=0.02)
        async with ChargePoint("CP-1", central.url, PASSWORD, cars=cars, timing=impatient).running():
            await central.until_heard("BootNotification", 2)

    assert len(central.connections) >= 2


async def test_a_wrong_password_is_tried_again_and_never_told(
    central: CentralSystem, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    central.refuses = True
    point = ChargePoint("CP-1", central.url, PASSWORD, timing=HASTE)
    async with point.running():
        async with asyncio.timeout(5):
            await point.until(lambda: len(central.logins) > 1 and point.last_error is not None)
        assert point.last_error == "HTTP 401"
        central.refuses = False
        await booted(point)
        assert point.last_error is None

    told = [record.getMessage() for record in caplog.records if record.name.startswith("site_twin")]
    assert "charge point cannot connect" in told
    assert not [line for line in told if PASSWORD in line or "Authorization" in line]
    assert PASSWORD not in repr(vars(point))


async def test_a_central_system_without_our_version_is_not_spoken_with(cars: ParkedCars) -> None:
    central = CentralSystem()
    async with serving(central, subprotocols=("ocpp1.6",)):
        point = ChargePoint("CP-1", central.url, PASSWORD, version="2.0.1", timing=HASTE)
        async with point.running(), asyncio.timeout(5):
            await point.until(lambda: point.last_error is not None)

    assert not central.heard


@asynccontextmanager
async def run_secured_system(folder: Path) -> AsyncGenerator[CentralSystem]:
    authority, (pair,) = make_servers("a test", [Server("central", ("localhost",))], SystemClock().now())
    (folder / "ca.pem").write_bytes(pem(authority))
    key, certificate = write_pair(folder, "central", pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with serving(CentralSystem(origin="wss://localhost"), tls=context) as central:
        yield central


async def test_over_tls_only_a_trusted_central_system_gets_the_password(tmp_path: Path) -> None:
    async with run_secured_system(tmp_path) as central:
        wary = ChargePoint("CP-1", central.url, PASSWORD, timing=HASTE)
        async with wary.running(), asyncio.timeout(5):
            await wary.until(lambda: wary.last_error is not None)
        assert wary.last_error is not None
        assert "certificate" in wary.last_error
        assert central.logins == []

        authorities = Authorities(tmp_path / "ca.pem", "TWIN_CA_FILE")
        point = ChargePoint("CP-1", central.url, PASSWORD, authorities=authorities, timing=HASTE)
        async with point.running():
            await booted(point)
        assert central.logins == [f"CP-1:{PASSWORD}"]
