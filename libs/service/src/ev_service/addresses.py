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


def http_url(value: str) -> str:
    """Accept a URL without a user in it; without a slash at its end.

    Raises:
        ValueError: not such a URL.
    """
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
        raise ValueError("must be a URL such as https://localhost:9443, without a user in it")
    return value.rstrip("/")


def safe_url(value: str) -> str:
    """Accept a URL that tells no secret to the wire; without a slash at its end.

    Raises:
        ValueError: not a URL, one that holds a user, or http:// to another machine.

    >>> safe_url("https://wso2am:9443/")
    'https://wso2am:9443'
    """
    accepted = http_url(value)
    url = urlsplit(accepted)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError(f"http:// is taken for a loopback address alone, use https:// for {url.hostname}")
    return accepted


HttpUrl = Annotated[str, AfterValidator(http_url)]
"""Where nothing secret is said and nothing that comes back is trusted: the simulated site, on a network of its own."""

SafeUrl = Annotated[str, AfterValidator(safe_url)]


def mqtt_url(value: str) -> str:
    """Accept the URL of an MQTT broker that hears no password in the clear.

    Raises:
        ValueError: not such a URL, one that holds a user or a path, or mqtt:// to another machine.

    >>> mqtt_url("mqtts://broker.example")
    'mqtts://broker.example'
    """
    url = urlsplit(value)
    port = url.port  # raises ValueError by itself where it is none
    is_address = url.scheme in ("mqtt", "mqtts") and bool(url.hostname) and url.username is None and port != 0
    if not is_address or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("must be a URL such as mqtts://localhost:8883, without a user or a path in it")
    if url.scheme == "mqtt" and not is_loopback(url.hostname or ""):
        raise ValueError(f"mqtt:// is taken for a loopback address alone, use mqtts:// for {url.hostname}")
    return value.rstrip("/")


def mqtt_host_port(url: str) -> tuple[str, int]:
    """Host and port of a broker; the registered port where the URL names none: 1883, with TLS 8883.

    >>> mqtt_host_port("mqtts://broker.example")
    ('broker.example', 8883)
    """
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (8883 if parts.scheme == "mqtts" else 1883)


MqttUrl = Annotated[str, AfterValidator(mqtt_url)]
