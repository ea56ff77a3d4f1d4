"""Who a charger is: its identity in the path and a password over HTTP Basic, OCPP's security profiles 1 and 2.

Of a password only the SHA-256 is known here.

Source: OCPP security whitepaper for 1.6, edition 3, section 3; OCPP 2.0.1 edition 3, part 2, A00.
"""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import unquote

_BASIC = "basic "
# Compared with where the charger is not known, so that it takes as long as any other.
_NOBODY = bytes(32)


def identity(path: str, below: str = "/") -> str | None:
    """The identity that a path names, such as `/CP-1`, `/CP-1/` or `/ocpp/CP-1`; None where it names none.

    Args:
        path: of the request.
        below: the path under which chargers connect, with a slash at both ends; a path without it is taken too.
    """
    bare = path.partition("?")[0]
    name = (bare.removeprefix(below) if bare.startswith(below) else bare.removeprefix("/")).removesuffix("/")
    return unquote(name) if name and "/" not in name else None


class Passwords:
    """The passwords of the registered chargers.

    Args:
        sha256_by_charger: SHA-256 of the password, 64 hexadecimal digits, by identity.

    Raises:
        ValueError: a hash is none.
    """

    def __init__(self, sha256_by_charger: Mapping[str, str]) -> None:
        self._digests = {charger_id: bytes.fromhex(text) for charger_id, text in sha256_by_charger.items()}
        if any(len(digest) != len(_NOBODY) for digest in self._digests.values()):
            raise ValueError("a SHA-256 has 64 hexadecimal digits")

    def knows(self, charger_id: str) -> bool:
        """Whether a charger of this identity is registered."""
        return charger_id in self._digests

    def accepts(self, charger_id: str, authorization: str | None) -> bool:
        """Whether a header `Authorization` holds the charger's identity and password.

        A password may be any bytes, and an identity may hold a colon.
        """
        said = _decode(authorization)
        user = charger_id.encode() + b":"
        is_named = said.startswith(user)
        digest = sha256(said[len(user) :]).digest()
        return hmac.compare_digest(digest, self._digests.get(charger_id, _NOBODY)) and is_named


def _decode(authorization: str | None) -> bytes:
    if authorization is None or not authorization.lower().startswith(_BASIC):
        return b""
    try:
        return b64decode(authorization[len(_BASIC) :].strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
