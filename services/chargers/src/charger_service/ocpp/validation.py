"""Validates messages against OCPP's JSON Schema and repairs small violations.

Validating a message of 1 MiB takes half a second of processor time, so long messages are validated in a thread while
other chargers are answered. One thread serves all connections: more would only take more of the event loop's time.
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
    """The result of validating one payload."""

    arguments: dict[str, Any]
    """The payload's fields, keys in snake case."""
    violations: tuple[str, ...] = ()
    """What violates the schema, as readable text."""
    error: OCPPError | None = None
    """Why the payload cannot be used; None: it can."""


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
        payload, violations = repaired
        return Validation(_library.camel_to_snake_case(payload), violations)
    return Validation(_library.camel_to_snake_case(message.payload))
