"""Addresses of the attacked stack, and calls to them: by an HTTP client, or as bytes that a client would not send.

The traffic records all responses.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.attacks.stack import Stack
from tests.attacks.traffic import Traffic

_TIMEOUT_S = 15.0
_SILENCE_S = 1.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway, the token endpoint and the services are, and what is trusted."""

    gateway_url: str
    management_url: str
    token_url: str
    services: Mapping[str, str]
    ca_file: Path | None

    @classmethod
    def of(cls, stack: Stack) -> "Addresses":
        """Those of a running stack."""
        settings = stack.settings
        return cls(
            settings.wso2_gateway_url,
            settings.wso2_management_url,
            settings.token_url,
            stack.services,
            stack.ca_file,
        )


class GatewayAccess:
    """Calls to the addresses of one stack."""

    def __init__(self, addresses: Addresses, traffic: Traffic) -> None:
        self.addresses = addresses
        self._traffic = traffic
        self._trust = ssl.create_default_context()
        if addresses.ca_file is not None:
            self._trust.load_verify_locations(cafile=addresses.ca_file)
        self.gateway = self._client(addresses.gateway_url, traffic.on_answer)
        self.management = self._client(addresses.management_url, traffic.on_management_answer)
        self._direct = self._client("", traffic.on_answer)

    def close(self) -> None:
        """Let every connection go."""
        for client in (self.gateway, self.management, self._direct):
            client.close()

    def direct(
        self, url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", json: object = None
    ) -> httpx.Response:
        """Call a service past the gateway.

        Raises:
            httpx.TransportError: it cannot be reached.
        """
        return self._direct.request(method, url, headers=headers, json=json)

    def verbatim(self, path: str, token: str | None = None, verb: str = "GET") -> int:
        """Call a path exactly as it is written, and return the status; 0 where the connection is closed instead."""
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        host = httpx.URL(self.addresses.gateway_url).netloc.decode()
        request = f"{verb} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n"
        return next(iter(statuses(self.exchange(request.encode("latin-1")))), 0)

    def exchange(self, request: bytes) -> bytes:
        """Send bytes to the gateway and return all that comes back until it closes or falls silent."""
        url = httpx.URL(self.addresses.gateway_url)
        answer = bytearray()
        try:
            with (
                socket.create_connection((url.host, url.port or 443), timeout=_TIMEOUT_S) as plain,
                self._trust.wrap_socket(plain, server_hostname=url.host) as connection,
            ):
                connection.sendall(request)
                while chunk := connection.recv(65536):
                    answer += chunk
                    connection.settimeout(_SILENCE_S)
        except (TimeoutError, ConnectionError, ssl.SSLError):
            # What was said until then is the answer.
            pass
        self._traffic.record("an exchange of bytes with the gateway", bytes(answer))
        return bytes(answer)

    def _client(self, base_url: str, on_answer: Any) -> httpx.Client:
        return httpx.Client(
            base_url=base_url,
            verify=self._trust,
            timeout=_TIMEOUT_S,
            # A proxy from the environment would see every token.
            trust_env=False,
            event_hooks={"response": [on_answer]},
        )


def statuses(answer: bytes) -> list[int]:
    """Return the status of each HTTP answer in some bytes.

    >>> statuses(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n")
    [400]
    """
    return [int(found) for found in _STATUS.findall(answer)]
