"""HTTP Basic credentials of an OAuth 2.0 client: key and secret are form-encoded before they are joined by a colon.

Source: RFC 6749 section 2.3.1 and appendix B. WSO2 API Manager 4.6 does not decode them; its own keys and secrets
consist of letters, digits and underscores, which form encoding does not change.
"""

import base64
import binascii
from urllib.parse import quote_plus, unquote_plus

_SCHEME = "basic"


def encode_client(client_id: str, client_secret: str) -> str:
    """Return the value of the header `Authorization`.

    >>> encode_client("a:b", "50% + 1")
    'Basic YSUzQWI6NTAlMjUrJTJCKzE='
    """
    joined = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {base64.b64encode(joined.encode()).decode()}"


def decode_client(authorization: str) -> tuple[str, str] | None:
    """Return key and secret of a header `Authorization`, None if it has none.

    >>> decode_client("Basic YSUzQWI6NTAlMjUrJTJCKzE=")
    ('a:b', '50% + 1')
    """
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != _SCHEME:
        return None
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        return (unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")) if colon else None
    except (binascii.Error, ValueError):
        return None
