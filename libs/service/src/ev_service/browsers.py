"""What a browser must not be led to do here: pages of others that reach, frame or command a service.

A service on loopback or on an inner network is reached by every browser on the same host or network,
and with it by every page that
such a browser shows. Three rules keep those pages out: the name by which the service is called must be one of its own
(DNS rebinding), a request that changes something must not come from a page of another origin, and answers say that
they are neither framed nor guessed to be of another type nor allowed to load anything.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ev_service.assertion import HEADER
from ev_service.problems import problem

CONTENT_SECURITY_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What every answer allows a browser; a page adds its own style."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE = frozenset({"same-origin", "none"})
_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class BrowserRules:
    """ASGI middleware that holds browsers to these rules.

    Args:
        app: the application behind.
        allowed_hosts: names in lower case under which the service may be called, besides loopback and IP addresses.
        demands_assertion: whether the gateway's assertion is demanded; a call that carries one is no page's.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str], *, demands_assertion: bool) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts
        self._demands_assertion = demands_assertion

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and complete the headers of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        # The header is none that a page of another origin can set; what it holds is judged by the route.
        is_gateway = self._demands_assertion and HEADER in headers
        if not is_gateway and not self._is_allowed(headers.get("host", "")):
            refusal = problem(421, "unknown_host", "not a name of this service; LISTENER_ALLOWED_HOSTS adds one")
            await refusal(scope, receive, send_completed)
        elif not is_gateway and scope["method"] not in _READING and _is_cross_site(headers):
            refusal = problem(403, "cross_site", "a page of another origin may not change anything here")
            await refusal(scope, receive, send_completed)
        else:
            await self._app(scope, receive, send_completed)

    def _is_allowed(self, host: str) -> bool:
        name = host_name(host)
        # Without a name it is no browser. A page that somebody else serves has a name, never a bare address.
        return name in ("", "localhost") or name in self._allowed_hosts or _is_address(name)


def host_name(host: str) -> str:
    """The name in a Host header, in lower case and without its port.

    >>> host_name("LocalHost:8004"), host_name("[::1]:8004")
    ('localhost', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_cross_site(headers: Headers) -> bool:
    if headers.get("sec-fetch-site", "none") not in _SAME_SITE:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
