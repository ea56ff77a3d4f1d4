"""Registers of one device over Modbus TCP, with or without TLS, and what stands in the way when there are none."""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pymodbus.client import AsyncModbusTcpClient, AsyncModbusTlsClient
from pymodbus.exceptions import ModbusException

from ev_sensors.sunspec import (
    BASES,
    COMMON,
    END,
    LABEL_SPAN,
    MARKER,
    METERS,
    Block,
    RegisterMapError,
    block_at,
    label_of,
)
from ev_service.trust import Authorities

_NO_SUCH_PLACE = (1, 2, 3)
_NO_SUCH_UNIT = (10, 11)
_BUSY = (5, 6)

_BUSY_REPEATS = 4
_LOST_REPEATS = 1
"""Silence costs a whole timeout, a busy answer costs nothing: so the one is repeated less often than the other."""

_LAST_CALLBACKS_S = 0.05
"""Enough for an answer that arrived together with the end of its connection to be passed on."""

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

_ONE_CLIENT = "; if it serves one client at a time, another program may be connected: see docs/sensors.md, One client"

# The library logs each attempt with the address; this module logs a loss once.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ConnectionUnusableError(Exception):
    """The connection is lost or cannot be used; the message is the reason in one sentence."""


class UnreachableError(ConnectionUnusableError):
    """There is no connection."""


class ExceptionResponseError(Exception):
    """The device answered with an exception; `code` is the protocol's."""

    def __init__(self, code: int, unit_id: int) -> None:
        if code in _NO_SUCH_UNIT:
            super().__init__(f"what answers there reaches no unit {unit_id} (exception {code})")
        else:
            super().__init__(f"it answers with exception {code}, {_DECLINED.get(code, 'of no known meaning')}")
        self.code = code

    @property
    def is_transient(self) -> bool:
        """Whether the same question may be answered a moment later."""
        return self.code in _BUSY or self.code in _NO_SUCH_UNIT

    @property
    def is_no_such_place(self) -> bool:
        """Whether the device has no such registers."""
        return self.code in _NO_SUCH_PLACE


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS whose files may be replaced while the service runs: the next connection goes by what they hold then.

    cert_file, key_file: this service's own certificate; None: it shows none.
    """

    authorities: Authorities
    """Whom to trust."""

    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context for one connection.

        Raises:
            OSError: the certificate cannot be used.
        """
        context = self.authorities.context()
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is. timeout_s: how long it has for one answer [s]. tls: else plain."""

    host: str
    port: int
    unit_id: int
    timeout_s: float
    tls: ClientTls | None = None


class ModbusConnection:
    """Registers of one device, one question after the other; connects for a question where there is no connection."""

    def __init__(self, to: Address, repeat_pause_s: float) -> None:
        """Not connected yet.

        Args:
            to: the device.
            repeat_pause_s: before a question is repeated [s], doubling, a random part of it taken off.
        """
        self._to, self._repeat_pause_s = to, repeat_pause_s
        self._client: AsyncModbusTcpClient | None = None
        self._closed: asyncio.Future[None] | None = None
        self._has_answered = False
        self.repeats = 0
        """How many questions were repeated so far."""

    async def registers(self, address: int, count: int) -> list[int]:
        """Read holding registers; what was lost, or met a busy device, is asked again.

        Raises:
            ConnectionUnusableError: there is no answer, or an invalid one.
            ExceptionResponseError: the device answers with an exception code.
        """
        lost = busy = 0
        while True:
            try:
                return await self._read(address, count)
            except ExceptionResponseError as declined:
                if declined.code in _BUSY and busy < _BUSY_REPEATS:
                    busy += 1
                # A gateway loses answers too, behind it.
                elif declined.code in _NO_SUCH_UNIT and lost < _LOST_REPEATS:
                    lost += 1
                else:
                    raise
            except ConnectionUnusableError:
                # An answer that comes late must not be taken for that of the next question.
                self.close()
                if lost == _LOST_REPEATS:
                    raise
                lost += 1
            self.repeats += 1
            # Two services that met at one device must not meet again.
            await asyncio.sleep(self._repeat_pause_s * 2 ** (busy + lost - 1) * random.uniform(0.5, 1.0))  # noqa: S311

    def close(self) -> None:
        """Part from the device; the next question connects again."""
        if self._client is not None:
            self._client.close()
        self._client = self._closed = None

    async def _read(self, address: int, count: int) -> list[int]:
        client, closed = await self._connect()
        asked = asyncio.ensure_future(client.read_holding_registers(address, count=count, device_id=self._to.unit_id))
        try:
            # The library waits for the whole timeout where the other side has hung up.
            await asyncio.wait({asked, closed}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({asked}, timeout=_LAST_CALLBACKS_S)
            if not asked.done():
                raise ConnectionUnusableError(self._explain("it closed the connection"))
            answer = asked.result()
        except ModbusException:
            reason = "it closed the connection" if closed.done() else "it does not answer"
            raise ConnectionUnusableError(self._explain(reason)) from None
        finally:
            asked.cancel()
        self._has_answered = True
        if answer.isError():
            raise ExceptionResponseError(answer.exception_code, self._to.unit_id)
        if len(answer.registers) != count:
            raise ConnectionUnusableError(f"it answers {len(answer.registers)} registers where {count} were asked for")
        return list(answer.registers)

    def _explain(self, reason: str) -> str:
        return reason if self._has_answered else reason + _ONE_CLIENT

    async def _connect(self) -> tuple[AsyncModbusTcpClient, asyncio.Future[None]]:
        if self._client is not None and self._closed is not None and not self._closed.done():
            return self._client, self._closed
        self.close()
        closed = asyncio.get_running_loop().create_future()

        def on_connection(is_connected: bool) -> None:
            if not is_connected and not closed.done():
                closed.set_result(None)

        try:
            self._client = _client(self._to, on_connection)
        except OSError as error:
            raise UnreachableError(f"this service's certificate cannot be used: {error}") from error
        self._closed = closed
        if not await self._client.connect():
            self.close()
            raise UnreachableError(self._explain("it cannot be connected to"))
        return self._client, closed


def _client(to: Address, on_connection: Callable[[bool], None]) -> AsyncModbusTcpClient:
    # Attempts are ours to repeat: the library's would hide from us how long a device has been away.
    if to.tls is None:
        return AsyncModbusTcpClient(
            to.host, port=to.port, timeout=to.timeout_s, retries=0, reconnect_delay=0, trace_connect=on_connection
        )
    return AsyncModbusTlsClient(
        to.host,
        port=to.port,
        sslctx=to.tls.context(),
        timeout=to.timeout_s,
        retries=0,
        reconnect_delay=0,
        trace_connect=on_connection,
    )


async def survey(link: ModbusConnection, base_address: int | None) -> tuple[list[Block], str | None]:
    """Find the map of a device and all of its blocks, the common model first.

    Args:
        link: to the device.
        base_address: where the map begins; None looks where one may.

    Returns:
        The blocks, and why there may be more that cannot be found; None where the map ends as it should.

    Raises:
        ConnectionUnusableError: no answer.
        ExceptionResponseError: the device answers with an exception code.
        RegisterMapError: there is no map.
    """
    address = await _begin(link, BASES if base_address is None else (base_address,))
    blocks: list[Block] = []
    try:
        while block := block_at(address, await _head(link, address, blocks), blocks):
            blocks.append(block)
            address = block.end
    except RegisterMapError as error:
        if not blocks:
            raise
        return blocks, str(error)
    return blocks, None


async def _begin(link: ModbusConnection, places: tuple[int, ...]) -> int:
    """Address behind the marker; a device may keep silent or hang up where it has no registers."""
    obstacle: ConnectionUnusableError | ExceptionResponseError | None = None
    for place in places:
        try:
            if tuple(await link.registers(place, len(MARKER))) == MARKER:
                return place + len(MARKER)
        except UnreachableError:
            raise
        except (ConnectionUnusableError, ExceptionResponseError) as error:
            if not (isinstance(error, ExceptionResponseError) and error.is_no_such_place):
                obstacle = obstacle or error
    raise obstacle or RegisterMapError(f"no SunSpec map begins at {' or '.join(map(str, places))}")


async def _head(link: ModbusConnection, address: int, before: Sequence[Block]) -> Sequence[int]:
    """The two registers of a head; those of the end where a map leaves its second one out, or the end as a whole."""
    try:
        return await link.registers(address, 2)
    except ExceptionResponseError as declined:
        # Some maps end in one register, 0xFFFF or 0 (Kostal, github.com/sunspec/models/issues/44).
        if not before or not declined.is_no_such_place:
            raise
        return END
    except ConnectionUnusableError:
        if not before or (await link.registers(address, 1))[0] not in (END[0], 0):
            raise
        return END


async def meter_labels(link: ModbusConnection, blocks: Sequence[Block]) -> dict[int, str]:
    """What the meters of a map are called, by their addresses: by the common model before each of them.

    Raises:
        ConnectionUnusableError: no answer.
        ExceptionResponseError: the device is busy.
    """
    labels: dict[int, str] = {}
    common: Block | None = None
    for block in blocks:
        if block.model == COMMON:
            common = block
        if block.model in METERS and common is not None and common.length + 2 >= LABEL_SPAN:
            try:
                labels[block.address] = label_of(await link.registers(common.address, LABEL_SPAN))
            except ExceptionResponseError as declined:
                if declined.is_transient:
                    raise
    return labels
