"""Which addresses an API's endpoint may have. Pure.

Source: carbon-apimgt 9.33.90, APIUtil.validateEndpointURL, which `tests/contract/wso2_oracle` asks.
"""

import re
from urllib.parse import urlsplit

_ALLOWED = re.compile(r"https?://[^\s{}@/?#]+[^\s{}]*", re.IGNORECASE)


def is_endpoint_url(url: str) -> bool:
    """Tell whether a gateway can call this address.

    The Publisher takes other protocols as well, and whatever has a brace: 4.x fills templates in when it calls, and a
    variable that nobody filled in looks alike. Here neither is of use.

    >>> is_endpoint_url("http://localhost:8001"), is_endpoint_url("${SOLAR_BACKEND_URL}"), is_endpoint_url("http:/x")
    (True, False, False)
    """
    if _ALLOWED.fullmatch(url) is None:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
