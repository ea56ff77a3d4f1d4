"""Registers of one device over Modbus TCP, with or without TLS, and what stands in the way when there are none."""

import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from pymodbus.client import AsyncModbusTcpClient, AsyncModbusTlsClient
from pymodbus.exceptions import ModbusException

from ev_sensors.sunspec import BASES, MARKER, Block, WrongMap, block_at

_NO_SUCH_PLACE = (1, 2, 3)
_NO_SUCH_UNIT = (10, 11)
_DECLINED = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
}
"""Source: MODBUS Application Protocol Specification V1.1b3, section 7."""

# It says on each attempt what we say once, with addresses in it.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class Broken(Exception):
    """The connection is of no use, or none any more; says why in one sentence."""


class Declined(Exception):
    """The device answered with an exception; `code` is the protocol's."""

    def __init__(self, code: int, unit_id: int) -> None:
        if code in _NO_SUCH_UNIT:
            super().__init__(f"what answers there reaches no unit {unit_id} (exception {code})")
        else:
            super().__init__(f"it answers with exception {code}, {_DECLINED.get(code, 'of no known meaning')}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is. timeout_s: how long it has for one answer [s]. tls: else plain."""

    host: str
    port: int
    unit_id: int
    timeout_s: float
    tls: ssl.SSLContext | None = None


class Link:
    """A connection to one device; asks one thing after the other."""

    def __init__(self, client: AsyncModbusTcpClient, unit_id: int) -> None:
        self._client, self._unit_id = client, unit_id

    async def registers(self, address: int, count: int) -> list[int]:
        """Read holding registers.

        Raises:
            Broken: no answer, or one that is none.
            Declined: the device will not.
        """
        try:
            answer = await self._client.read_holding_registers(address, count=count, device_id=self._unit_id)
        except ModbusException:
            self._gone()
        if answer.isError():
            raise Declined(answer.exception_code, self._unit_id)
        if len(answer.registers) != count:
            raise Broken(f"it answers {len(answer.registers)} registers where {count} were asked for")
        return list(answer.registers)

    def _gone(self) -> NoReturn:
        # Whatever went wrong, an answer that comes late must not be taken for that of the next question.
        raise Broken("it does not answer" if self._client.connected else "it closed the connection") from None


@asynccontextmanager
async def connected(to: Address) -> AsyncGenerator[Link]:
    """Connect, and part at the end.

    Raises:
        Broken: there is no connection.
    """
    # Attempts are ours to repeat: the library's would hide from us how long a device has been away.
    if to.tls is None:
        client = AsyncModbusTcpClient(to.host, port=to.port, timeout=to.timeout_s, retries=0, reconnect_delay=0)
    else:
        client = AsyncModbusTlsClient(
            to.host, port=to.port, sslctx=to.tls, timeout=to.timeout_s, retries=0, reconnect_delay=0
        )
    try:
        if not await client.connect():
            raise Broken("it cannot be connected to")
        yield Link(client, to.unit_id)
    finally:
        client.close()


async def survey(link: Link, base_address: int | None) -> list[Block]:
    """Find the map of a device and all of its blocks, the common model first.

    Args:
        link: to the device.
        base_address: where the map begins; None looks where one may.

    Raises:
        Broken: no answer.
        Declined: the device will not say.
        WrongMap: there is no map, or it is none.
    """
    address = await _begin(link, BASES if base_address is None else (base_address,))
    blocks: list[Block] = []
    while block := block_at(address, await link.registers(address, 2), blocks):
        blocks.append(block)
        address = block.end
    return blocks


async def _begin(link: Link, places: tuple[int, ...]) -> int:
    for place in places:
        try:
            if tuple(await link.registers(place, len(MARKER))) == MARKER:
                return place + len(MARKER)
        except Declined as declined:
            if declined.code not in _NO_SUCH_PLACE:
                raise
    raise WrongMap(f"no SunSpec map begins at {' or '.join(map(str, places))}")
