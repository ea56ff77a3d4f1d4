"""Reads the body of an answer up to a bound: nobody may fill this process's memory."""

import httpx


async def read_at_most(answer: httpx.Response, most_bytes: int) -> bytes:
    """The body of a streamed answer; its first `most_bytes` + 1 bytes where it is longer.

    Args:
        answer: from the HTTP client's `stream`.
        most_bytes: longest body that the caller accepts.
    """
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > most_bytes:
            break
    return bytes(body[: most_bytes + 1])
