"""Decodes request paths and rejects ambiguous ones."""

import re
from urllib.parse import unquote_to_bytes

# Characters that a path may contain unencoded (RFC 3986, pchar), without the semicolon: some servers cut the path off
# at it, so that gateway and backend might see different paths.
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@%/-]*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Encoded slash, backslash, percent sign, semicolon and control characters: servers decode them differently.
_AMBIGUOUS_ESCAPE = re.compile(r"%(?:2f|5c|25|3b|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)


def decode_path(raw_path: str) -> str | None:
    """Decode a path once; return None if servers could interpret it differently.

    >>> decode_path("/solar/1.0.0/%73olar-status")
    '/solar/1.0.0/solar-status'
    >>> decode_path("/solar/1.0.0/..%2fadmin") is None
    True
    """
    if not raw_path.startswith("/") or not _PLAIN.fullmatch(raw_path):
        return None
    if _BROKEN_ESCAPE.search(raw_path) or _AMBIGUOUS_ESCAPE.search(raw_path):
        return None
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return None
    segments = path.split("/")[1:]
    # An empty last segment is a trailing slash; servers resolve dot segments and other empty ones differently.
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        return None
    return path
