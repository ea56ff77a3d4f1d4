"""Which paths have one reading only. Pure."""

import re
from urllib.parse import unquote_to_bytes

# What stands in a path without being percent-encoded, besides letters and digits (RFC 3986, pchar), but for the
# semicolon: some servers cut it off with what follows, so two readers may see two paths.
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@%/-]*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Encoded: slash, backslash, percent sign, semicolon and controls. Each is read in different ways by different servers.
_AMBIGUOUS_ESCAPE = re.compile(r"%(?:2f|5c|25|3b|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)


def decode_path(raw_path: str) -> str | None:
    """Decode a path once, None where it can be read in more than one way.

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
    # An empty last segment is a trailing slash, which is one reading; all else invites a second one.
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        return None
    return path
