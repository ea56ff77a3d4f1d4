"""Certificates: made once, kept while they are good, private where they must be."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from local_gateway.keys import KeyFiles, prepare
from local_gateway.signing import SigningKey

NOW = SystemClock().now()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_second_run_keeps_every_file(folder: Path) -> None:
    prepare(folder, NOW)
    before = contents(folder)

    prepare(folder, NOW)

    assert contents(folder) == before


def test_only_the_owner_reads_a_key(files: KeyFiles) -> None:
    for key_file in (files.server_key, files.signing_key):
        assert key_file.stat().st_mode & 0o077 == 0


def test_the_server_certificate_names_every_way_to_reach_the_gateway(files: KeyFiles) -> None:
    certificate = x509.load_pem_x509_certificate(files.server.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["gateway", "wso2am", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_strict_clients_accept_the_chain(files: KeyFiles) -> None:
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    verifier = x509.verification.PolicyBuilder().store(x509.verification.Store([ca])).time(NOW)

    chain = verifier.build_server_verifier(x509.DNSName("localhost")).verify(
        x509.load_pem_x509_certificate(files.server.read_bytes()), []
    )

    assert len(chain) == 2
    ssl.create_default_context(cafile=files.ca)


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server-key.pem"])
def test_a_broken_file_takes_the_whole_server_chain_with_it(folder: Path, name: str) -> None:
    files = prepare(folder, NOW)
    before = contents(folder)
    (folder / name).write_text("broken")

    prepare(folder, NOW)

    after = contents(folder)
    assert all(after[file] != before[file] for file in ("ca.pem", "server.pem", "server-key.pem"))
    assert files.signing.read_bytes() == before["gateway-signing.pem"]


def test_certificates_that_run_out_are_renewed(folder: Path) -> None:
    prepare(folder, NOW)
    before = contents(folder)

    prepare(folder, NOW + timedelta(days=800))

    assert all(contents(folder)[name] != old for name, old in before.items())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(ConfigurationError, match="cannot be kept in"):
        prepare(blocked / "below", NOW)


def test_the_key_set_shows_no_private_part(key: SigningKey) -> None:
    shown = key.jwks()["keys"][0]

    assert shown.keys() == {"kty", "n", "e", "kid", "alg", "use"}
    assert shown["kid"] != key.assertion_kid
