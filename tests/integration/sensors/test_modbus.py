"""Inverter, battery and meter over Modbus: pymodbus' own simulator as the device, through to what the services answer.

Bad days are played on the source itself, at a quicker pace than the settings allow.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

import httpx
import pytest
from pymodbus.constants import ExcCodes
from tests.integration.sensors.conftest import APPS, RunningService
from tests.sunspec_device import (
    ABSENT,
    STORAGE_CONTROLS,
    SimulatedDevice,
    battery,
    block,
    common,
    float_inverter,
    inverter,
    meter,
    nameplate,
    strings,
    sunspec_map,
    words,
)

from battery_service.sources import battery_device
from ev_sensors.connection_meter import connection_meter
from ev_sensors.modbus import ModbusSource, PollTiming, ReadOptions
from ev_sensors.modbus_link import Address, ClientTls
from ev_sensors.sunspec_roles import Selection
from ev_service.certificates import Server, make_servers
from ev_service.clock import SteppedClock, SystemClock
from ev_service.errors import SourceUnavailableError
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem, write_pair
from ev_service.settings import SiteSettings
from ev_service.trust import Authorities
from local_stack.environment import find_free_ports
from solar_service.sources import solar_device

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample

    from ev_service.clock import Clock
    from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

    AnySource = ModbusSource[SolarStatus] | ModbusSource[BatteryStatus] | ModbusSource[GridLoad]

pytestmark = pytest.mark.anyio

QUICK = PollTiming(period_s=0.01, first_pause_s=0.01, longest_pause_s=0.02, repeat_pause_s=0.001)
NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
_SEEN_S = 10.0


class Asking(Protocol):
    """Starts a service that asks a device; settings go in as variables are called, without their prefix."""

    def __call__(self, role: str, port: int, **settings: str) -> AbstractAsyncContextManager[RunningService]: ...


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    @asynccontextmanager
    async def start(role: str, port: int, **settings: str) -> AsyncGenerator[RunningService]:
        prefix = f"{role.upper()}_MODBUS"
        monkeypatch.setenv(f"{role.upper()}_SOURCE", "modbus")
        for name, value in {"HOST": "127.0.0.1", "PORT": str(port), "PERIOD_S": "0.1", **settings}.items():
            monkeypatch.setenv(f"{prefix}_{name}", value)
        create_app, path = APPS[role]
        app = create_app(None, None)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as http,
        ):
            yield RunningService(http, path)

    return start


def solar_source(
    port: int, options: ReadOptions | None = None, *, timeout_s: float = 1.0, clock: Clock | None = None
) -> ModbusSource[SolarStatus]:
    address = Address("127.0.0.1", port, 1, timeout_s)
    return ModbusSource(address, solar_device("x", 100.0), options or ReadOptions(), clock or SystemClock(), QUICK)


def grid_source(port: int, options: ReadOptions | None = None) -> ModbusSource[GridLoad]:
    meter = connection_meter(SiteSettings())
    return ModbusSource(Address("127.0.0.1", port, 1, 1.0), meter, options or ReadOptions(), SystemClock(), QUICK)


def battery_source(port: int, *, silent_after_s: float = 30.0) -> ModbusSource[BatteryStatus]:
    options = ReadOptions(silent_after_s=silent_after_s)
    return ModbusSource(Address("127.0.0.1", port, 1, 1.0), battery_device("x", 100.0), options, SystemClock(), QUICK)


async def until_trouble(source: AnySource, reason: str) -> str:
    """Wait until the source names a trouble that holds this text."""
    async with asyncio.timeout(_SEEN_S):
        while reason not in (told := await source.health_error(datetime.now(UTC)) or ""):
            await asyncio.sleep(0.002)
    return told


async def until_read(
    source: AnySource,
    name: str,
    value: float,
    *,
    at: datetime | None = None,
) -> SolarStatus | BatteryStatus | GridLoad:
    """Wait for a reading with this value."""
    async with asyncio.timeout(_SEEN_S):
        while True:
            try:
                reading = await source.read(at or datetime.now(UTC))
            except SourceUnavailableError:
                pass
            else:
                if getattr(reading, name) == value:
                    return reading
            await asyncio.sleep(0.002)


async def until_asked_again(device: SimulatedDevice) -> None:
    """Wait until the device has answered two more questions, so that the first of them has been judged."""
    before = device.asked
    async with asyncio.timeout(_SEEN_S):
        while device.asked < before + 2:
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("role", "blocks", "told"),
    [
        ("solar", [nameplate(), inverter(4100)], {"generation_kw": 41.0, "capacity_kwp": 100.0}),
        ("solar", [block(64_001, 5, {}), float_inverter()], {"generation_kw": 41.0, "capacity_kwp": 100.0}),
        ("battery", [battery()], {"soc_percent": 83.0, "active_power_kw": 12.5, "capacity_kwh": 100.0}),
        ("grid", [meter()], {"load_kw": 61.0, "load_percent": 61.0, "export_kw": 0.0}),
    ],
)
async def test_what_a_device_holds_in_its_registers_is_what_the_service_answers(
    asking: Asking, role: str, blocks: list[list[int]], told: dict[str, float]
) -> None:
    async with SimulatedDevice(*blocks) as device, asking(role, device.port) as service:
        answer = await service.until_value(*next(iter(told.items())))
        await service.until_healthy()

        assert told.items() <= answer.items()
        assert answer["source"] == "modbus"
        assert await service.counted("modbus_answers_total", outcome="accepted") >= 1
        assert await service.counted("modbus_connected") == 1


@pytest.mark.parametrize("base", [40_000, 50_000, 0])
async def test_a_map_is_found_wherever_one_may_begin(base: int) -> None:
    async with SimulatedDevice(inverter(), base=base) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)


async def test_a_map_elsewhere_is_found_where_it_is_said_to_be() -> None:
    async with SimulatedDevice(inverter(), base=30_000) as device:
        source, lost = solar_source(device.port, ReadOptions(base_address=30_000)), solar_source(device.port)
        async with source.running(), lost.running():
            await until_read(source, "generation_kw", 41.0)
            await until_trouble(lost, "the inverter yet: no SunSpec map begins at 40000 or 50000 or 0")


@pytest.mark.parametrize("habit", [*ExcCodes, "silent", "hangs up"])
@pytest.mark.parametrize("base", [50_000, 0])
async def test_a_map_is_found_whatever_the_device_does_at_the_addresses_where_it_has_none(
    base: int, habit: ExcCodes | Literal["silent", "hangs up"]
) -> None:
    async with SimulatedDevice(inverter(), base=base) as device:
        device.declines_at = dict.fromkeys({40_000, 50_000, 0} - {base}, habit)
        source = solar_source(device.port, timeout_s=0.2)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)


async def test_a_busy_or_lost_answer_is_asked_for_again_and_ends_no_connection() -> None:
    async with SimulatedDevice(nameplate(), inverter()) as device:
        source = solar_source(device.port, timeout_s=0.2)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            for trouble in ("busy_every", "lost_every"):
                setattr(device, trouble, 3)
                for _ in range(10):
                    await until_asked_again(device)
                    assert await source.health_error(datetime.now(UTC)) is None
                setattr(device, trouble, 0)

            told = {sample.name: sample.value for metric in source.metrics() for sample in _samples(metric)}
            assert told["modbus_connection_failures_total"] == 0
            assert told["modbus_repeats_total"] >= 6


def _samples(collector: Collector) -> list[Sample]:
    return [sample for family in collector.collect() for sample in family.samples]


async def test_a_round_that_fails_leaves_the_map_and_the_next_one_is_read() -> None:
    async with SimulatedDevice(inverter()) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            device.declines_at = {40_000: ExcCodes.DEVICE_FAILURE}  # the map could not be found again
            device.declines = ExcCodes.DEVICE_FAILURE
            await until_asked_again(device)
            device.declines = None
            device.becomes(inverter(4000))
            await until_read(source, "generation_kw", 40.0)


async def test_a_device_that_closes_after_each_answer_is_read() -> None:
    async with SimulatedDevice(nameplate(), inverter()) as device:
        device.closes_after_answer = True
        source = solar_source(device.port, timeout_s=5.0)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            device.becomes(nameplate(), inverter(4000))
            await until_read(source, "generation_kw", 40.0)


@pytest.mark.parametrize("end", [[0xFFFF], [0]])
async def test_a_map_that_ends_in_one_register_or_in_none_is_read(end: list[int]) -> None:
    for cut in (1, 2):
        device = SimulatedDevice(inverter())
        device.registers[-2:] = [*end, 0]
        device.cut_map = cut
        async with device:
            source = solar_source(device.port)
            async with source.running():
                await until_read(source, "generation_kw", 41.0)


@pytest.mark.parametrize(
    "blocks",
    [
        [nameplate(scale=99), inverter()],
        [block(120, 2, {}), inverter()],
        [[64_001, 0], inverter()],
        [inverter(), [0, 0]],
        [inverter(), [64_001, 40_000]],
        [block(103, 10, {}), float_inverter()],
        [block(160, 3, {}), inverter()],
    ],
)
async def test_a_model_of_no_use_does_not_block_the_others(blocks: list[list[int]]) -> None:
    async with SimulatedDevice(*blocks) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)


async def test_an_optional_model_that_cannot_be_read_does_not_block_the_others() -> None:
    capacity = block(713, 7, {2: [1000], 4: [83], 7: words("h", 2), 8: [0]})
    power = block(701, 153, {10: words("h", 125), 116: words("h", 2)})
    for defect in (block(701, 153, {10: words("h", 125), 116: words("h", 99)}), power):
        async with SimulatedDevice(capacity, defect, nameplate()) as device:
            if defect is power:
                device.declines_at = {40_079: ExcCodes.ILLEGAL_ADDRESS}
            source = battery_source(device.port)
            async with source.running():
                reading = await until_read(source, "soc_percent", 83.0)
                assert getattr(reading, "capacity_kwh", None) == 100.0


HYBRID = [STORAGE_CONTROLS, strings(("MPPT 1", 120), ("MPPT 2", 80), ("StCha 3", 0xFFFF), ("StDisCha 4", 300))]
"""Panels of 2 kW and a battery that gives 3 kW, in tens of watts."""


@pytest.mark.parametrize(
    ("blocks", "selection", "sun_kw"),
    [
        ([inverter(500), *HYBRID], Selection(), 2.0),
        ([inverter(500), *HYBRID], Selection(strings=frozenset({1})), 1.2),
        ([inverter(500), *HYBRID], Selection(power="ac"), 5.0),
        ([inverter(500, dc_watts=200), STORAGE_CONTROLS], Selection(), 2.0),
        ([inverter(500, dc_watts=200), *HYBRID], Selection(power="dc"), 2.0),
        ([inverter(500, dc_watts=200)], Selection(), 5.0),
        ([inverter(ABSENT, state=2), *HYBRID[:1]], Selection(), 0.0),
        ([inverter(500), strings(*[("", 10)] * 12)], Selection(power="strings"), 1.2),
    ],
)
async def test_the_power_of_a_battery_on_a_hybrid_inverter_is_no_sun(
    blocks: list[list[int]], selection: Selection, sun_kw: float
) -> None:
    async with SimulatedDevice(*blocks) as device:
        source = solar_source(device.port, ReadOptions(selection=selection))
        async with source.running():
            await until_read(source, "generation_kw", sun_kw)


async def test_a_hybrid_inverter_that_tells_no_power_of_its_panels_is_not_read() -> None:
    async with SimulatedDevice(inverter(500), STORAGE_CONTROLS) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_trouble(source, "W is not implemented by the device for dc: set …_MODBUS_POWER")


async def test_of_several_meters_the_one_that_is_set_is_read() -> None:
    meters = [common("WND", "Production"), meter(410), common("WND", "Export+Import"), meter(610)]
    async with SimulatedDevice(inverter(), *meters) as device:
        lost, found = grid_source(device.port), grid_source(device.port, ReadOptions(selection=Selection(meter=2)))
        async with lost.running(), found.running():
            await until_read(found, "load_kw", 6.1)
            told = await until_trouble(lost, "which meter stands at the connection is not set, see …_MODBUS_METER: ")
            assert "(WND Production), 2 is model 203 at 40365 (WND Export+Import)" in told


async def test_a_production_meter_is_taken_for_the_connection_only_where_it_is_set() -> None:
    async with SimulatedDevice(common("WND", "Production"), meter(410)) as device:
        lost, found = grid_source(device.port), grid_source(device.port, ReadOptions(selection=Selection(meter=1)))
        async with lost.running(), found.running():
            await until_read(found, "load_kw", 4.1)
            await until_trouble(lost, "which meter stands at the connection is not set")


async def test_two_programs_take_turns_at_a_device_that_serves_one_client() -> None:
    async with SimulatedDevice(meter(610)) as device:
        device.serves_one = True
        options = ReadOptions(keeps_connection=False)
        sources = [grid_source(device.port, options), grid_source(device.port, options)]
        async with sources[0].running(), sources[1].running():
            for source in sources:
                first = await until_read(source, "load_kw", 6.1)
                while (await source.read(datetime.now(UTC))).timestamp == first.timestamp:
                    await asyncio.sleep(0.002)


async def test_a_device_that_serves_another_program_is_told() -> None:
    async with SimulatedDevice(meter(610)) as device:
        device.serves_one = True
        first, second = grid_source(device.port), grid_source(device.port)
        async with first.running():
            await until_read(first, "load_kw", 6.1)
            async with second.running():
                await until_trouble(second, "if it serves one client at a time, another program may be connected")


async def test_several_devices_make_up_one_and_each_has_an_age_of_its_own(asking: Asking, tmp_path: Path) -> None:
    async with SimulatedDevice(inverter(4100)) as first, SimulatedDevice(inverter(1000)) as second:
        listed = [
            {"device_id": name, "host": "127.0.0.1", "port": device.port, "capacity": kwp, "period_s": 0.1}
            | {"timeout_s": 0.2, "silent_after_s": 1}
            for name, device, kwp in (("south", first, 60), ("west", second, 40))
        ]
        file = tmp_path / "inverters.json"
        file.write_text(json.dumps(listed))
        async with asking("solar", first.port, DEVICES_FILE=str(file)) as service:
            answer = await service.until_value("generation_kw", 51.0)
            await service.until_healthy()
            assert answer["capacity_kwp"] == 100.0
            assert await service.counted("modbus_connected") == 2

            second.is_silent = True
            told = await service.until_failing("nothing new of the inverter west for")

            assert "south" not in told
            assert await service.counted("modbus_connected") == 1


async def test_a_device_of_several_that_never_answered_makes_the_whole_unknown(asking: Asking, tmp_path: Path) -> None:
    async with SimulatedDevice(meter(610)) as device:
        listed = [
            {"device_id": name, "host": "127.0.0.1", "port": port, "period_s": 0.1}
            for name, port in (("one", device.port), ("two", next(find_free_ports())))
        ]
        file = tmp_path / "meters.json"
        file.write_text(json.dumps(listed))
        async with asking("grid", device.port, DEVICES_FILE=str(file)) as service:
            await service.until_failing("no reading of the meter two yet: it cannot be connected to")
            await service.until_counted(1, "modbus_answers_total", outcome="accepted")
            assert (await service.reading()).status_code == 503


async def test_a_reading_bears_the_moment_before_the_device_was_asked() -> None:
    before = datetime.now(UTC)
    async with SimulatedDevice(inverter()) as device:
        source = solar_source(device.port)
        async with source.running():
            reading = await until_read(source, "generation_kw", 41.0)

    assert before <= reading.timestamp <= datetime.now(UTC)


async def test_a_device_that_is_not_there_at_start_is_found_once_it_is() -> None:
    device = SimulatedDevice(inverter())
    async with device:
        pass  # now its port is known, and nobody listens there
    source = solar_source(device.port)
    async with source.running():
        await until_trouble(source, "no reading of the inverter yet: it cannot be connected to")
        async with device:
            await until_read(source, "generation_kw", 41.0)
            assert await source.health_error(datetime.now(UTC)) is None


async def test_a_device_that_goes_away_is_told_after_the_stated_time_and_found_again() -> None:
    async with SimulatedDevice(inverter(4100)) as device:
        source = solar_source(device.port, ReadOptions(silent_after_s=0.1))
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            await device.stop()
            assert "nothing new of the inverter for" in await until_trouble(source, "it cannot be connected to")
            assert (await source.read(datetime.now(UTC))).generation_kw == 41.0  # it holds until it is 60 s old

            device.becomes(inverter(4000))
            await device.start()
            await until_read(source, "generation_kw", 40.0)


async def test_what_is_known_of_a_device_that_is_gone_holds_for_a_minute_and_no_longer() -> None:
    async with SimulatedDevice(inverter()) as device:
        source = solar_source(device.port)
        async with source.running():
            reading = await until_read(source, "generation_kw", 41.0)

    assert await source.read(reading.timestamp + timedelta(seconds=59)) == reading
    with pytest.raises(SourceUnavailableError, match="nothing new of the inverter for 61 s"):
        await source.read(reading.timestamp + timedelta(seconds=61))


async def test_answers_follow_each_other_while_the_runs_clock_stands_still() -> None:
    async with SimulatedDevice(inverter(4100)) as device:
        source = solar_source(device.port, clock=SteppedClock(NOON))
        async with source.running():
            await until_read(source, "generation_kw", 41.0, at=NOON)
            device.becomes(inverter(4000))
            await until_read(source, "generation_kw", 40.0, at=NOON)


async def test_a_device_that_takes_questions_and_answers_none_is_silent() -> None:
    async with SimulatedDevice(inverter()) as device:
        source = solar_source(device.port, ReadOptions(silent_after_s=0.1), timeout_s=0.05)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            device.is_silent = True
            assert "nothing new of the inverter for" in await until_trouble(source, "it does not answer")
            device.is_silent = False
            device.becomes(inverter(4000))
            await until_read(source, "generation_kw", 40.0)


async def test_an_answer_that_is_cut_off_is_none() -> None:
    async with SimulatedDevice(inverter()) as device:
        device.cut = 2
        source = solar_source(device.port, timeout_s=0.05)
        async with source.running():
            await until_trouble(source, "no reading of the inverter yet: it does not answer")


async def test_an_answer_with_fewer_registers_than_were_asked_for_is_none() -> None:
    async with SimulatedDevice(inverter()) as device:
        device.short = 1
        source = solar_source(device.port)
        async with source.running():
            await until_trouble(source, "it answers 1 registers where 2 were asked for")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (ExcCodes.ILLEGAL_FUNCTION, "no SunSpec map begins at 40000 or 50000 or 0"),
        (ExcCodes.ILLEGAL_ADDRESS, "no SunSpec map begins at 40000 or 50000 or 0"),
        (ExcCodes.DEVICE_FAILURE, "it answers with exception 4, server device failure"),
        (ExcCodes.DEVICE_BUSY, "it answers with exception 6, server device busy"),
        (ExcCodes.GATEWAY_NO_RESPONSE, "what answers there reaches no unit 1 (exception 11)"),
    ],
)
async def test_an_exception_of_the_device_is_told_in_its_words(code: ExcCodes, told: str) -> None:
    async with SimulatedDevice(inverter()) as device:
        device.declines = code
        source = solar_source(device.port)
        async with source.running():
            await until_trouble(source, told)


async def test_an_illegal_address_later_on_is_told_and_nothing_is_read_of_it() -> None:
    async with SimulatedDevice(inverter()) as device:
        source = solar_source(device.port, ReadOptions(silent_after_s=0.1))
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            device.declines = ExcCodes.ILLEGAL_ADDRESS
            assert "nothing new of the inverter for" in await until_trouble(source, "no SunSpec map begins")


async def test_another_unit_than_the_one_that_is_set_is_not_read() -> None:
    async with SimulatedDevice(inverter(), unit_id=7) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_trouble(source, "it answers with exception 4, server device failure")


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([meter()], "it has none of the models 103, 102, 101, 113, 112, 111, 701, only 1, 203"),
        ([block(103, 10, {})], "model 103 is 10 registers long, at least 37 are needed"),
        ([[103, 0]], "model 103 is 0 registers long, at least 37 are needed"),
        ([[0, 0], inverter()], "it has none of the models 103, 102, 101, 113, 112, 111, 701, only 1; model 0 at 40070"),
        ([inverter(4100, 11)], "answers refused, the last for schema: W has the scale factor 11, which is none"),
        ([inverter(-0x8000)], "the last for schema: W is not implemented by the device"),
        ([inverter(4100, 3)], "the last for range: generation_kw 4100 is not within -1 and 150"),
        ([nameplate(400), inverter(4100)], "the last for range: 41 kW is too much for the 4 kW of the nameplate"),
        ([inverter(state=2)], "the last for implausible: the inverter is sleeping and gives 41 kW"),
        ([float_inverter(float("inf"))], "the last for schema: W is no finite number"),
    ],
)
async def test_a_device_that_lies_gets_a_reason_and_never_a_reading(blocks: list[list[int]], told: str) -> None:
    async with SimulatedDevice(*blocks) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_trouble(source, told)
            with pytest.raises(SourceUnavailableError):
                await source.read(datetime.now(UTC))


async def test_one_lie_among_true_answers_is_refused_and_counted_and_the_true_ones_are_read(asking: Asking) -> None:
    async with SimulatedDevice(battery(830)) as device, asking("battery", device.port) as service:
        await service.until_value("soc_percent", 83.0)
        device.becomes(battery(5))
        await service.until_counted(1, "modbus_refused_total", reason="rate")
        assert (await service.reading()).json()["soc_percent"] == 83.0
        device.becomes(battery(829))
        await service.until_value("soc_percent", 82.9)

        assert await service.counted("modbus_answers_total", outcome="refused") == await service.counted(
            "modbus_refused_total"
        )


async def test_a_device_that_was_replaced_under_way_is_looked_at_anew() -> None:
    async with SimulatedDevice(inverter(4100)) as device:
        source = solar_source(device.port)
        async with source.running():
            await until_read(source, "generation_kw", 41.0)
            device.becomes(inverter(4000, model=101))
            await until_read(source, "generation_kw", 40.0)


async def test_a_battery_whose_heartbeat_stands_still_is_not_believed() -> None:
    async with SimulatedDevice(battery(830, beat=17)) as device:
        source = battery_source(device.port, silent_after_s=0.1)
        async with source.running():
            await until_trouble(source, "no reading of the battery yet: its heartbeat stands still at 17")
            device.becomes(battery(830, beat=18))
            await until_read(source, "soc_percent", 83.0)
            device.becomes(battery(829, beat=18))
            assert "nothing new of the battery for" in await until_trouble(source, "its heartbeat stands still at 18")
            assert (await source.read(datetime.now(UTC))).soc_percent == 83.0
            device.becomes(battery(828, beat=0))  # as it begins again at times
            await until_read(source, "soc_percent", 82.8)


async def test_a_battery_without_a_heartbeat_is_read_as_it_is() -> None:
    async with SimulatedDevice(battery(830)) as device:
        source = battery_source(device.port)
        async with source.running():
            reading = await until_read(source, "soc_percent", 83.0)
            await until_asked_again(device)

            assert (await source.read(datetime.now(UTC))).timestamp > reading.timestamp


async def test_a_session_that_breaks_for_a_reason_nobody_thought_of_is_told_and_begun_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SimulatedDevice(inverter()) as device:
        source = solar_source(device.port)
        monkeypatch.setattr(source, "_ask", _breaks)
        async with source.running():
            told = await until_trouble(source, "the session with it failed")
            monkeypatch.undo()
            await until_read(source, "generation_kw", 41.0)

    assert "inverter 3" not in told


async def _breaks(*_: object) -> None:
    raise ZeroDivisionError("inverter 3")


class Keys:
    """Certificates of a device and of a service that ask for each other's."""

    def __init__(self, folder: Path) -> None:
        names = [Server("inverter", ("localhost",)), Server("solar-service", ("localhost",))]
        folder.mkdir(exist_ok=True)
        authority, pairs = make_servers("devices", names, datetime.now(UTC))
        self.ca = replace_file(folder / "ca.pem", pem(authority), PUBLIC)
        for server, pair in zip(names, pairs, strict=True):
            write_pair(folder, server.common_name, pair)
        self.folder = folder

    def files(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"

    @property
    def of_device(self) -> ssl.SSLContext:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*self.files("inverter"))
        tls.load_verify_locations(self.ca)
        tls.verify_mode = ssl.CERT_REQUIRED
        return tls


async def test_over_tls_both_sides_show_a_certificate(asking: Asking, tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    certificate, key = map(str, keys.files("solar-service"))

    async with SimulatedDevice(inverter(), tls=keys.of_device) as device:
        trust = {"TLS": "true", "CA_FILE": str(keys.ca)}
        async with asking("solar", device.port, **trust, CERT_FILE=certificate, KEY_FILE=key) as service:
            await service.until_value("generation_kw", 41.0)


async def test_over_tls_certificates_that_were_replaced_count_at_the_next_connection(tmp_path: Path) -> None:
    former, present = Keys(tmp_path / "former"), Keys(tmp_path / "present")
    ca_file, cert_file, key_file = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))

    def take(keys: Keys) -> None:
        for file, source in zip((ca_file, cert_file, key_file), (keys.ca, *keys.files("solar-service")), strict=True):
            file.write_bytes(source.read_bytes())

    take(former)
    async with SimulatedDevice(inverter(), tls=present.of_device) as device:
        tls = ClientTls(Authorities(ca_file, "SOLAR_MODBUS_CA_FILE"), cert_file, key_file)
        address = Address("127.0.0.1", device.port, 1, 0.5, tls)
        source = ModbusSource(address, solar_device("x", 100.0), ReadOptions(), SystemClock(), QUICK)
        async with source.running():
            await until_trouble(source, "it cannot be connected to")
            cert_file.unlink()
            await until_trouble(source, "this service's certificate cannot be used")
            take(present)
            await until_read(source, "generation_kw", 41.0)


@pytest.mark.slow
@pytest.mark.parametrize("known", ["nobody", "the device alone"])
async def test_over_tls_nothing_is_read_of_a_stranger_nor_by_one(asking: Asking, tmp_path: Path, known: str) -> None:
    keys = Keys(tmp_path)
    trust = {"CA_FILE": str(keys.ca)} if known == "the device alone" else {}

    async with (
        SimulatedDevice(inverter(), tls=keys.of_device) as device,
        asking("solar", device.port, TLS="true", TIMEOUT_S="0.2", **trust) as service,
    ):
        await service.until_counted(1, "modbus_connection_failures_total")
        assert (await service.reading()).status_code == 503
        assert device.asked == 0


@contextmanager
def simulator_program(folder: Path, registers: list[int], port: int, http_port: int) -> Generator[None]:
    """The program `pymodbus.simulator` with a map at 0, described in its own file."""
    kinds = ("bits", "uint16", "uint32", "float32", "float64", "string")
    nothing = {kind: " " if kind == "string" else 0 for kind in kinds}
    device = {
        "setup": {
            **{f"{kind} size": len(registers) + 1 for kind in ("co", "di", "hr", "ir")},
            "shared blocks": True,
            "type exception": False,
            "defaults": {"value": nothing, "action": dict.fromkeys(kinds)},
        },
        "invalid": [],
        "write": [],
        "uint16": [{"addr": address, "value": value} for address, value in enumerate(registers)],
        **{kind: [] for kind in (*kinds, "repeat") if kind != "uint16"},
    }
    server = {"comm": "tcp", "host": "127.0.0.1", "port": port, "framer": "socket", "device_id": 3}
    file = folder / "setup.json"
    file.write_text(json.dumps({"server_list": {"server": server}, "device_list": {"inverter": device}}))
    command = [sys.executable, "-m", "pymodbus.server.simulator.main", "--modbus_device", "inverter"]
    command += ["--modbus_server", "server", "--http_host", "127.0.0.1", "--http_port", str(http_port)]
    with subprocess.Popen([*command, "--json_file", str(file)], cwd=folder) as program:
        try:
            yield
        finally:
            program.terminate()


@pytest.mark.slow
async def test_the_simulators_own_program_is_read_and_its_registers_are_followed(
    asking: Asking, tmp_path: Path
) -> None:
    port, http_port = islice(find_free_ports(), 2)
    registers = sunspec_map(nameplate(), inverter(4100))
    place = len(sunspec_map(nameplate())) - len([0xFFFF, 0]) + 14

    with simulator_program(tmp_path, registers, port, http_port):
        async with (
            asking("solar", port, UNIT_ID="3") as service,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}") as page,
        ):
            await service.until_value("generation_kw", 41.0)
            for value, told in ((3900, 39.0), (0x8000, None), (3800, 38.0)):
                answer = await page.post(
                    "/restapi/registers", json={"submit": "Set", "register": place, "value": value}
                )
                assert answer.status_code == 200
                if told is None:
                    await service.until_counted(1, "modbus_refused_total", reason="schema")
                else:
                    await service.until_value("generation_kw", told)
