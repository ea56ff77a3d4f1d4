"""`--save-ca` against real TLS servers: what is shown, what is stored, what is refused."""

import ipaddress
import re
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ev_service import certificates
from ev_service.errors import ConfigurationError
from wso2_provisioning.cli import main
from wso2_provisioning.errors import NotReadyError
from wso2_provisioning.trust_anchor import Confirmation, save_ca

# Rich would print `:AB:` as an emoji.
ALWAYS_SHOWN = r"SHA-256 +([0-9A-F]{2}:){31}[0-9A-F]{2}\n"
NOBODY = Confirmation(None, None)
NOW = datetime.now(UTC)
NAMED = certificates.Server("wso2am", ("localhost",))


@dataclass(frozen=True)
class Server:
    """A TLS server that runs, what it sends, and how often it was asked anything."""

    url: str
    certificate: x509.Certificate
    asked: list[str]

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(SHA256()).hex(":").upper()


class Answers(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever only looks at the certificate hangs up before asking anything."""


@contextmanager
def serving(folder: Path, chain: list[x509.Certificate], key: bytes) -> Generator[Server]:
    folder.mkdir(exist_ok=True)
    folder.joinpath("chain.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    folder.joinpath("key.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    handler = type("Handler", (Answers,), {"asked": []})
    server = QuietServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield Server(f"https://localhost:{server.server_port}", chain[0], handler.asked)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def chained(tmp_path: Path) -> Generator[Server]:
    """Sends its own certificate and that of its authority, as the Compose stack does."""
    authority, (server,) = certificates.make_servers("An authority", [NAMED], NOW)
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with serving(tmp_path / "server", [server.certificate, authority], key) as running:
        yield running


def self_signed(*names: x509.GeneralName) -> tuple[x509.Certificate, bytes]:
    """As WSO2 ships: the certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(identifier, critical=False)
        .sign(key, SHA256())
    )
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def trusts(file: Path, url: str) -> bool:
    try:
        httpx.get(url, verify=ssl.create_default_context(cafile=file), trust_env=False)
    except httpx.ConnectError:
        return False
    return True


def save_anchor(server: Server, file: Path, confirmation: Confirmation) -> list[str]:
    told: list[str] = []
    save_ca(server.url, file, confirmation, 0, told.append)
    return told


def test_a_confirmed_fingerprint_stores_the_authority_and_shows_what_it_vouches_for(
    chained: Server, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "ca.pem"

    told = "\n".join(save_anchor(chained, file, Confirmation(chained.fingerprint, None)))

    assert trusts(file, chained.url)
    assert x509.load_pem_x509_certificate(file.read_bytes()).subject.rfc4514_string() == "CN=An authority"
    for shown in (chained.fingerprint, "CN=wso2am", "localhost", "127.0.0.1", f"{NOW - timedelta(days=1):%Y-%m-%d}"):
        assert shown in told


def test_a_certificate_that_signed_itself_is_stored_as_it_is(tmp_path: Path) -> None:
    certificate, key = self_signed(x509.DNSName("localhost"))
    file = tmp_path / "ca.pem"

    with serving(tmp_path / "server", [certificate], key) as server:
        save_anchor(server, file, Confirmation(server.fingerprint.replace(":", "").lower(), None))
        assert trusts(file, server.url)

    assert x509.load_pem_x509_certificate(file.read_bytes()) == certificate


def test_a_person_may_confirm_on_a_terminal(chained: Server, tmp_path: Path) -> None:
    questions: list[str] = []

    def yes(question: str) -> str:
        questions.append(question)
        return " Y\n"

    save_anchor(chained, tmp_path / "ca.pem", Confirmation(None, yes))

    assert trusts(tmp_path / "ca.pem", chained.url)
    assert str(tmp_path / "ca.pem") in questions[0]


@pytest.mark.parametrize(
    ("confirmation", "reason"),
    [
        (NOBODY, "--yes-fingerprint"),
        (Confirmation(None, lambda _: ""), "not confirmed"),
        (Confirmation(None, lambda _: "yes, please"), "not confirmed"),
        (Confirmation("ab" * 32, lambda _: "y"), "not the one given"),
    ],
    ids=["no terminal", "no answer", "another answer", "another fingerprint"],
)
def test_without_confirmation_nothing_is_stored_and_nothing_is_asked_of_the_server(
    chained: Server, tmp_path: Path, confirmation: Confirmation, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        save_anchor(chained, tmp_path / "ca.pem", confirmation)

    assert not (tmp_path / "ca.pem").exists()
    assert chained.asked == []


def test_a_certificate_of_another_name_is_never_stored(tmp_path: Path) -> None:
    certificate, key = self_signed(x509.DNSName("elsewhere"), x509.IPAddress(ipaddress.ip_address("10.0.0.1")))

    with (
        serving(tmp_path / "server", [certificate], key) as server,
        pytest.raises(ConfigurationError, match="name that it contains"),
    ):
        save_anchor(server, tmp_path / "ca.pem", Confirmation(None, lambda _: pytest.fail("asked in vain")))

    assert not (tmp_path / "ca.pem").exists()


def test_a_server_that_keeps_its_authority_to_itself_is_of_no_use_on_older_pythons(tmp_path: Path) -> None:
    _, (pair,) = certificates.make_servers("An authority", [NAMED], NOW)
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    accepts_leaves = bool(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN)

    with serving(tmp_path / "server", [pair.certificate], key) as server:
        confirmed = Confirmation(server.fingerprint, None)
        if accepts_leaves:
            save_anchor(server, tmp_path / "ca.pem", confirmed)
        else:
            with pytest.raises(ConfigurationError, match="PEM of its authority"):
                save_anchor(server, tmp_path / "ca.pem", confirmed)

    assert (tmp_path / "ca.pem").exists() == accepts_leaves


def test_what_is_stored_already_is_not_asked_about_again(chained: Server, tmp_path: Path) -> None:
    save_anchor(chained, tmp_path / "ca.pem", Confirmation(chained.fingerprint, None))

    assert "already" in save_anchor(chained, tmp_path / "ca.pem", NOBODY)[0]


def test_a_file_of_another_server_is_asked_about_again(chained: Server, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(self_signed(x509.DNSName("localhost"))[0].public_bytes(Encoding.PEM))

    with pytest.raises(ConfigurationError):
        save_anchor(chained, tmp_path / "ca.pem", NOBODY)


def test_a_folder_that_cannot_be_written_is_said(chained: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="cannot be written"):
        save_anchor(chained, tmp_path / "file" / "ca.pem", Confirmation(chained.fingerprint, None))


def test_nobody_there_and_no_tls_are_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="localhost:9 cannot be reached"):
        save_ca("https://localhost:9", tmp_path / "ca.pem", NOBODY, 0, lambda _: None)
    with pytest.raises(ConfigurationError, match="https"):
        save_ca("http://localhost:9", tmp_path / "ca.pem", NOBODY, 0, lambda _: None)


def test_the_bootstrap_goes_on_with_what_it_stored_or_stops_before_any_password_is_sent(
    chained: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WSO2_MANAGEMENT_URL", chained.url)
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD", "admin-Passw0rd")
    monkeypatch.setenv("EVAPP_PASSWORD", "evapp-Passw0rd")
    artifacts = Path(__file__).parents[3] / "wso2"
    arguments = ["--quiet", "--wait", "0", "--save-ca", str(tmp_path / "ca.pem")]

    refused = main(arguments, artifacts_dir=artifacts)
    told = capsys.readouterr().err
    assert (refused, chained.asked) == (1, [])
    assert "--yes-fingerprint" in told
    assert chained.fingerprint in told
    assert re.search(ALWAYS_SHOWN, told)

    # This server is no WSO2: ready it says it is, and the first real call ends it.
    assert main([*arguments, "--yes-fingerprint", chained.fingerprint], artifacts_dir=artifacts) == 1
    assert chained.asked == ["/api/am/gateway/v2/server-startup-healthcheck"]
    assert trusts(tmp_path / "ca.pem", chained.url)
