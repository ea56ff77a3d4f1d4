"""Refuses a request whose body is longer than any that this service takes, before it fills the memory."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""What ASGI calls so; the first argument is its scope."""


class BodyLimit:
    """Counts what arrives: a length that is only announced proves nothing, and WSO2 announces none.

    Args:
        app: the application behind.
        most_bytes: longest body [bytes].
        longer: paths whose bodies may be longer [bytes].
    """

    def __init__(self, app: Application, most_bytes: int, longer: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._longer = longer or {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, and stop reading it where it gets too long."""
        arrived = 0
        most_bytes = self._longer.get(scope.get("path", ""), self._most_bytes)

        async def count_bytes() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most_bytes:
                # FastAPI passes this on to the handler that answers problem+json.
                raise HTTPException(413, f"a body may have {most_bytes} bytes")
            return message

        await self._app(scope, count_bytes, send)
