"""The library's charge point, with configurable faults in how it answers calls."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import ocpp.charge_point
import ocpp.messages
from ocpp.exceptions import OCPPError
from ocpp.v16 import ChargePoint as LibraryV16
from ocpp.v201 import ChargePoint as LibraryV201
from websockets.exceptions import ConnectionClosed

from site_twin.charge_points.protocol_version import Handlers

# Checking a message takes less time than handing it to a thread; the library knows this one switch for all.
ocpp.messages.ASYNC_VALIDATION = False  # pyright: ignore[reportConstantRedefinition]

# It has no types.
_library: Any = ocpp.charge_point
_wire = logging.getLogger("site_twin.ocpp")
# The library logs every message at INFO.
_wire.setLevel(logging.ERROR)


class CallHandling(Enum):
    """How a call of the central system is taken."""

    PROPERLY = auto()
    LATE = auto()
    NOT_AT_ALL = auto()
    WITHOUT_ANSWER = auto()
    BY_DISCONNECTING = auto()


HandlingByAction = Callable[[str], CallHandling]
"""How a call is taken, by its action."""


class _FaultyChargePoint(ocpp.charge_point.ChargePoint):
    """Mixed into the library's class of either version, before it."""

    route_map: dict[str, Any]
    _connection: Any

    def take(self, handlers: Handlers, handling_of: HandlingByAction, late_s: float) -> None:
        """Answer calls with these handlers, in this handling."""
        # In the place of the library's decorators: their list of names is one for the process.
        self.route_map = {
            action: {"_on_action": handler, "_skip_schema_validation": False} for action, handler in handlers.items()
        }
        self._handling_of, self._late_s = handling_of, late_s
        self._late: set[asyncio.Task[None]] = set()

    async def _handle_call(self, msg: Any) -> Any:
        match self._handling_of(msg.action):
            case CallHandling.LATE:
                task = asyncio.create_task(self._answer_late(msg))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            case CallHandling.NOT_AT_ALL:
                pass
            case CallHandling.WITHOUT_ANSWER:
                payload: Any = _library.camel_to_snake_case(msg.payload)
                self.route_map[msg.action]["_on_action"](**payload)
            case CallHandling.BY_DISCONNECTING:
                self._connection.transport.abort()
            case CallHandling.PROPERLY:
                await self._answer(msg)

    async def _answer_late(self, msg: Any) -> None:
        await asyncio.sleep(self._late_s)
        with suppress(OCPPError, ConnectionClosed):
            await self._answer(msg)

    async def _answer(self, msg: Any) -> None:
        await super()._handle_call(msg)  # pyright: ignore[reportUnknownMemberType]


class FaultyChargePointV16(_FaultyChargePoint, LibraryV16):
    """Speaks OCPP 1.6."""


class FaultyChargePointV201(_FaultyChargePoint, LibraryV201):
    """Speaks OCPP 2.0.1."""


def wire_logger() -> logging.Logger:
    """Where the library may log."""
    return _wire
