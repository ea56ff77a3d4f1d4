"""A SunSpec device played by pymodbus' own simulator, on a free port of this machine.

Where the points stand is written down here once more, by hand from the models, so that tests do not ask the reader.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Literal

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence
    from types import TracebackType

SUNS = [0x5375, 0x6E53]
END = [0xFFFF, 0]
ABSENT = -0x8000
"""An int16 that is not implemented."""


def words(code: str, number: float) -> list[int]:
    """One number as registers, by its struct code."""
    packed = struct.pack(f">{code}", number)
    return list(struct.unpack(f">{len(packed) // 2}H", packed))


def block(model: int, length: int, points: Mapping[int, list[int]]) -> list[int]:
    """A model: points by the offset of their first register behind the head's first; the others are not implemented."""
    registers = [model, length, *[0xFFFF] * length]
    for offset, point in points.items():
        registers[offset : offset + len(point)] = point
    return registers


def text(value: str, registers: int) -> list[int]:
    """A text as registers, filled up with zeros."""
    padded = value.encode().ljust(2 * registers, b"\0")
    return list(struct.unpack(f">{registers}H", padded))


def common(model: str, option: str = "") -> list[int]:
    """Model 1: who made what follows, and which of its kind it is."""
    return block(1, 66, {2: text("maker", 16), 18: text(model, 16), 34: text(option, 8)})


COMMON = block(1, 66, {})  # its texts are of no interest here


def inverter(
    watts: int = 4100, scale: int = 1, *, wh: int = 0, state: int = 4, model: int = 103, dc_watts: int = ABSENT
) -> list[int]:
    """Models 101 to 103: whole numbers with scale factors."""
    power = {14: words("h", watts), 15: words("h", scale), 31: words("h", dc_watts), 32: words("h", scale)}
    return block(model, 50, power | {24: words("I", wh), 26: words("h", 0), 38: [state]})


def strings(*inputs: tuple[str, int], scale: int = 1) -> list[int]:
    """Model 160: the label and power of each DC input."""
    points = {4: words("h", scale), 8: [len(inputs)]}
    for number, (label, watts) in enumerate(inputs):
        start = 10 + 20 * number
        points |= {start: [number + 1], start + 1: text(label, 8), start + 11: [watts]}
    return block(160, 8 + 20 * len(inputs), points)


STORAGE_CONTROLS = block(124, 24, {})
"""Model 124, which tells no power: the inverter has a battery."""


def float_inverter(watts: float = 41_000.0, *, state: int = 4, model: int = 113) -> list[int]:
    """Models 111 to 113: floating point."""
    return block(model, 60, {22: words("f", watts), 32: words("f", 1e6), 48: [state]})


def nameplate(watts: int = 5000, scale: int = 1) -> list[int]:
    """Model 120."""
    return block(120, 26, {2: [4], 3: words("H", watts), 4: words("h", scale)})


def battery(soc: int = 830, *, watts: int = -125, wh: int = 1000, beat: int = 0xFFFF, soc_scale: int = -1) -> list[int]:
    """Model 802: power in hundreds of watts, energy in hundreds of Wh."""
    scales = {53: words("h", 2), 56: words("h", soc_scale), 63: words("h", 2)}
    return block(802, 62, {3: [wh], 11: words("H", soc), 18: [beat], 47: words("h", watts)} | scales)


def meter(
    watts: int = 6100,
    scale: int = 1,
    *,
    model: int = 203,
    amperes: Sequence[int] = (ABSENT,) * 3,
    volts: Sequence[int] = (ABSENT,) * 3,
    watts_by_phase: Sequence[int] = (ABSENT,) * 3,
    ampere_scale: int = 0,
) -> list[int]:
    """Models 201 to 204; what is of single phases in A, V and, with the scale of the whole, W."""
    by_phase = {3: amperes, 8: volts, 19: watts_by_phase}
    points = {start + place: words("h", n) for start, of in by_phase.items() for place, n in enumerate(of)}
    scales = {6: words("h", ampere_scale), 15: [0], 22: words("h", scale)}
    return block(model, 105, {18: words("h", watts)} | points | scales)


def sunspec_map(*blocks: list[int]) -> list[int]:
    """A whole map: marker, common model, blocks, end."""
    return [*SUNS, *COMMON, *(register for block in blocks for register in block), *END]


class SimulatedDevice:
    """A device that a test starts and stops, and that answers what the test has put into it.

    registers: its map. declines: an exception that it answers with instead. is_silent: it takes questions and answers
    none. cut: how many bytes it leaves out at the end of each answer. short: how many registers it answers too few.
    asked: questions that came.
    busy_every, lost_every: each so-and-so-many-th answer says that it is busy, or does not arrive; 0: none.
    declines_at: what it does for single addresses: an exception, silence or hanging up. closes_after_answer: each
    connection serves one question. serves_one: it hangs up on a second client while it has one. cut_map: registers
    that its map lacks at the end.
    """

    def __init__(self, *blocks: list[int], base: int = 40_000, unit_id: int = 1, tls: ssl.SSLContext | None = None):
        self.registers = sunspec_map(*blocks)
        self.declines: ExcCodes | None = None
        self.is_silent = False
        self.cut = 0
        self.short = 0
        self.asked = 0
        self.busy_every = self.lost_every = 0
        self.declines_at: dict[int, ExcCodes | Literal["silent", "hangs up"]] = {}
        self.closes_after_answer = False
        self.serves_one = False
        self.cut_map = 0
        self.port = 0
        self._questions = 0
        self._address = 0
        self._base, self._unit_id, self._tls = base, unit_id, tls
        self._server: ModbusTcpServer | None = None

    def becomes(self, *blocks: list[int]) -> None:
        """Put other values into a map of the same size."""
        self.registers = sunspec_map(*blocks)

    async def __aenter__(self) -> SimulatedDevice:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the same port again after a stop."""
        there = self.registers[: len(self.registers) - self.cut_map]
        data = SimData(self._base, values=there, datatype=DataType.REGISTERS)
        device = SimDevice(self._unit_id, [data], action=self._answer)
        where = ("127.0.0.1", self.port)
        if self._tls is None:
            self._server = ModbusTcpServer(device, address=where, trace_packet=self._sent, trace_connect=self._met)
        else:
            self._server = ModbusTlsServer(device, address=where, sslctx=self._tls, trace_packet=self._sent)
        await self._server.serve_forever(background=True)
        assert isinstance(self._server.transport, asyncio.Server)
        self.port = self._server.transport.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away, connections too."""
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    async def _answer(
        self, function: int, start: int, address: int, count: int, current: list[int], written: object
    ) -> ExcCodes | None:
        del function, start, address, count, written
        self.asked += 1
        there = self.registers[: len(self.registers) - self.cut_map]
        current[: len(there)] = there
        return self.declines

    def _met(self, is_connected: bool) -> None:
        if is_connected and self.serves_one:
            asyncio.get_running_loop().call_soon(self._hang_up, 1)

    def _hang_up(self, keeps: int) -> None:
        if self._server is not None:
            for connection in list(self._server.active_connections.values())[keeps:]:
                connection.close()

    def _sent(self, is_sending: bool, data: bytes) -> bytes:
        if not is_sending:
            if len(data) >= 12:
                self._address = int.from_bytes(data[8:10], "big")
            return data
        self._questions += 1
        habit = self.declines_at.get(self._address)
        if self.busy_every and self._questions % self.busy_every == 0:
            habit = ExcCodes.DEVICE_BUSY
        if self.lost_every and self._questions % self.lost_every == 0:
            habit = "silent"
        if self.closes_after_answer or habit == "hangs up":
            asyncio.get_running_loop().call_soon(self._hang_up, 0)
        if isinstance(habit, ExcCodes):
            return data[:4] + struct.pack(">H", 3) + data[6:7] + bytes([0x83, habit])
        if self.short:
            rest = data[9 : len(data) - 2 * self.short]
            data = data[:4] + struct.pack(">H", 3 + len(rest)) + data[6:8] + bytes([len(rest)]) + rest
        return b"" if self.is_silent or habit is not None else data[: len(data) - self.cut]
