"""Which addresses a governed call may go to: TLS, or this machine itself."""

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself, by name or address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("wso2am")
    (True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def safe_url(value: str) -> str:
    """Accept a URL that tells no secret to the wire; without a slash at its end.

    Raises:
        ValueError: not a URL, one that holds a user, or http:// to another machine.

    >>> safe_url("https://wso2am:9443/")
    'https://wso2am:9443'
    """
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
        raise ValueError("must be a URL such as https://localhost:9443, without a user in it")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueError(f"http:// is taken for a loopback address alone, use https:// for {url.hostname}")
    return value.rstrip("/")


SafeUrl = Annotated[str, AfterValidator(safe_url)]
