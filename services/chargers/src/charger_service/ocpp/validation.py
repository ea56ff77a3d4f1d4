"""Whether a message keeps to the standard's JSON Schema, and what it says; small offences are repaired.

A message of 1 MiB takes half a second of processor time, so long ones are judged in a thread: meanwhile other chargers
are answered. There is one such thread for all of them, as several would only take more of the event loop's time.
"""

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from ocpp import charge_point as library
from ocpp import messages
from ocpp.exceptions import OCPPError

from charger_service.ocpp import tolerance

LONG_FROM_BYTES = 32 << 10
"""Length from which a message is validated in a thread [bytes]; up to this it takes 15 ms at the most."""

# The library has no types.
_messages, _library = cast(Any, messages), cast(Any, library)


@dataclass(frozen=True, slots=True)
class Validation:
    """What became of one payload.

    arguments: what it says, keys in snake case. offences: what was wrong with it, for people. error: why it cannot be
    understood; None: it can.
    """

    arguments: dict[str, Any]
    violations: tuple[str, ...] = ()
    error: OCPPError | None = None


class Validator:
    """Validates messages of all connections, each of which waits for its own before it sends another one."""

    def __init__(self, executor: Executor | None = None) -> None:
        """Begin with nothing to validate.

        Args:
            executor: runs what takes long; None: a thread of its own.
        """
        self._executor = executor or ThreadPoolExecutor(1, "ocpp-validation")

    async def validate(self, message: Any, version: str, length: int) -> Validation:
        """Validate one message, without holding up others.

        Args:
            message: a call of the library, or a result whose action is known.
            version: of OCPP.
            length: of the message as it came [bytes or characters].

        Raises:
            RecursionError: it is nested too deeply.
        """
        if length < LONG_FROM_BYTES:
            return validate(message, version)
        return await asyncio.get_running_loop().run_in_executor(self._executor, validate, message, version)


def validate(message: Any, version: str) -> Validation:
    """Validate one message at once.

    Args:
        message: a call of the library, or a result whose action is known.
        version: of OCPP.

    Raises:
        RecursionError: it is nested too deeply.
    """
    try:
        _messages._validate_payload(message, version)
    except OCPPError as error:
        validator = _messages.get_validator(message.message_type_id, message.action, version)
        repaired = tolerance.repair(message.payload, validator)
        if repaired is None:
            return Validation({}, tolerance.faults(message.payload, validator), error)
        payload, offences = repaired
        return Validation(_library.camel_to_snake_case(payload), offences)
    return Validation(_library.camel_to_snake_case(message.payload))
