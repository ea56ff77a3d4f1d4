"""Requests that two readers may read in two ways, and requests that are too large.

A smuggled request asks for a reading without a token: whoever answers it with one has read two requests where the
gateway authorized one.
"""

import httpx
from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import describe_access, format_status, table
from tests.attacks.gateway_access import statuses
from tests.attacks.rows import Group, Observation, Row

_BIG_BODY, _BIG_HEADER, _MANY = 4 << 20, 256 << 10, 2000
_NO_READING = "no reading"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    serves = ("refused, serves on", "closed, serves on")
    return table(
        Group.FRAMING,
        ("two-authorizations", "two tokens, each lacking a right", "refused in either order", _two),
        (
            "length-and-chunks",
            "Content-Length and Transfer-Encoding, smuggled request",
            _NO_READING,
            _length_and_chunks,
        ),
        ("two-lengths", "two Content-Lengths, smuggled request", _NO_READING, _two_lengths),
        ("two-codings", "two Transfer-Encodings, smuggled request", _NO_READING, _two_codings),
        ("line-ends", "line ends in a header, smuggled request", _NO_READING, _line_ends),
        ("large-body", "a body of 4 MiB", serves, _large_body),
        ("large-header", "a header of 256 KiB", serves, _large_header),
        ("many-headers", "2000 headers", serves, _many_headers),
    )


def _two(run: AttackRun) -> Observation:
    poor, stranger = run.token(run.reader, "device_poor"), run.token(run.stranger, run.scope)
    told: list[str] = []
    for tokens in ((poor, stranger), (stranger, poor), (poor, "garbage"), ("garbage", stranger)):
        answer = run.call(headers=[("Authorization", f"Bearer {token}") for token in tokens])
        told.append("refused" if 400 <= answer.status_code < 500 else format_status(answer))
    joined = run.call(headers={"Authorization": f"Bearer {poor}, Bearer {stranger}"})
    told.append("refused" if 400 <= joined.status_code < 500 else format_status(joined))
    return Observation("refused in either order" if set(told) == {"refused"} else "; ".join(told))


def _length_and_chunks(run: AttackRun) -> Observation:
    return _try_smuggling(run, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")


def _two_lengths(run: AttackRun) -> Observation:
    return _try_smuggling(run, "Content-Length: 0\r\nContent-Length: 200\r\n", "")


def _two_codings(run: AttackRun) -> Observation:
    return _try_smuggling(
        run, "Transfer-Encoding: chunked\r\nTransfer-Encoding : identity\r\nContent-Length: 5\r\n", "0\r\n\r\n"
    )


def _line_ends(run: AttackRun) -> Observation:
    return _try_smuggling(run, "X-Attack: a\rContent-Length: 0\r\nX-More: b\n\nContent-Length: 0\r\n", "")


def _try_smuggling(run: AttackRun, framing: str, body: str) -> Observation:
    host = httpx.URL(run.access.addresses.gateway_url).netloc.decode()
    head = f"POST {own_api.OPEN_PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {run.good_token}\r\n"
    behind = f"GET {run.path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    answer = run.access.exchange(f"{head}{framing}\r\n{body}{behind}".encode("latin-1"))
    told = " ".join(map(str, statuses(answer))) or "closed"
    return Observation(f"a reading ({told})" if b"generation_kw" in answer else _NO_READING, told)


def _large_body(run: AttackRun) -> Observation:
    return _too_large(run, {}, b"x" * _BIG_BODY)


def _large_header(run: AttackRun) -> Observation:
    return _too_large(run, {"X-Attack": "x" * _BIG_HEADER})


def _many_headers(run: AttackRun) -> Observation:
    return _too_large(run, {f"X-Attack-{number}": "x" * 100 for number in range(_MANY)})


def _too_large(run: AttackRun, headers: dict[str, str], body: bytes | None = None) -> Observation:
    token = run.good_token
    method = "GET" if body is None else "POST"
    try:
        answer = run.call(token, own_api.OPEN_PATH, method=method, headers=headers, content=body)
        told = "refused" if 400 <= answer.status_code < 500 else format_status(answer)
        measured = str(answer.status_code)
    except httpx.TransportError as error:
        told, measured = "closed", type(error).__name__
    serves = describe_access(run.call(token, own_api.OPEN_PATH)) == "let through"
    return Observation(f"{told}, {'serves on' if serves else 'serves no more'}", measured)
