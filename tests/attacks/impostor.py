"""A server of the attacker's: answers everybody with 200, under an authority that nobody trusts.

It stands in for a gateway that lets everything through, for a foreign issuer, and for whoever would listen in.
"""

import json
import socketserver
import ssl
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ev_service.units import utc_text

_HOST = "127.0.0.1"
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"

Answer = Callable[[], Mapping[str, Any]]


def everything() -> dict[str, Any]:
    """A token, all three readings and a tool's result in one: readers ignore what they do not know."""
    return {
        "access_token": "e30.e30.e30",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "apim:admin site:operate solar:read battery:read grid:read",
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"isError": False, "content": []},
        "site_id": "greensboro",
        "timestamp": utc_text(datetime.now(UTC)),
        "source": "simulated",
        "generation_kw": 41.0,
        "capacity_kwp": 50.0,
        "soc_percent": 83.0,
        "capacity_kwh": 100.0,
        "load_percent": 61.0,
        "load_kw": 61.0,
        "limit_kw": 100.0,
    }


class Impostor:
    """Listens on a free port while the `with` block runs.

    requests: every request line that arrived.
    """

    def __init__(
        self, answer: Answer = everything, *, oldest_tls: ssl.TLSVersion | None = None, ca_file: Path | None = None
    ) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self._oldest_tls = oldest_tls
        self._ca_file = ca_file

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its base."""
        return f"https://localhost:{self.port}"

    @property
    def ca_file(self) -> Path:
        """What a client that believes it would have to trust."""
        return self._ca_file or Path(self._folder.name) / "ca.pem"

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="ev-impostor-")
        self._server = _Server((_HOST, 0), self, _trusting(self.ca_file, self._oldest_tls))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], impostor: Impostor, tls: ssl.SSLContext) -> None:
        self.impostor = impostor
        self.tls = tls
        super().__init__(address, _Conversation)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever does not trust it hangs up: that is no news."""


class _Conversation(socketserver.BaseRequestHandler):
    """As careless as can be: whatever ends with an empty line is a request and is answered."""

    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        impostor = self.server.impostor
        with (
            self.server.tls.wrap_socket(self.request, server_side=True) as connection,
            connection.makefile("rwb") as stream,
        ):
            head: list[str] = []
            for line in stream:
                text = line.decode("latin-1").strip()
                if text:
                    head.append(text)
                    continue
                impostor.requests.append(head[0] if head else "")
                stream.read(_length(head))
                body = json.dumps(impostor.answer()).encode()
                stream.write(_HEAD.format(len(body)).encode() + body)
                stream.flush()
                head = []


def _length(head: list[str]) -> int:
    """Bytes of the body that is read away [1]; where two headers disagree, it stays and is taken for requests."""
    fields = [(name.lower(), value) for name, _, value in (line.partition(":") for line in head[1:])]
    lengths = [int(value) for name, value in fields if name == "content-length"]
    is_chunked = any(name == "transfer-encoding" for name, _ in fields)
    return lengths[0] if len(lengths) == 1 and not is_chunked else 0


def _trusting(ca_file: Path, oldest_tls: ssl.TLSVersion | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(_certificate(ca_file))
    if oldest_tls is not None:
        with warnings.catch_warnings():
            # That it is old is the point.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = oldest_tls
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _certificate(ca_file: Path) -> Path:
    """Write a certificate that vouches for itself, and its key; return the file that holds both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    # Certificates are judged by real time, whatever the run's clock says.
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(_HOST))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    both = ca_file.with_name("server.pem")
    both.touch(mode=0o600)
    both.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + ca_file.read_bytes())
    return both
