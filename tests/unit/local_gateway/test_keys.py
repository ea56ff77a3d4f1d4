"""Certificates and keys: created once, kept while valid, readable by their owner only."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from local_gateway.keys import KeyFiles, SigningKey, prepare_key_files

NOW = SystemClock().now()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_second_run_keeps_every_file(folder: Path) -> None:
    prepare_key_files(folder, NOW)
    before = contents(folder)

    prepare_key_files(folder, NOW)

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
    files = prepare_key_files(folder, NOW)
    before = contents(folder)
    (folder / name).write_text("broken")

    prepare_key_files(folder, NOW)

    after = contents(folder)
    assert all(after[file] != before[file] for file in ("ca.pem", "server.pem", "server-key.pem"))
    assert files.signing.read_bytes() == before["gateway-signing.pem"]


def test_certificates_that_run_out_are_renewed(folder: Path) -> None:
    prepare_key_files(folder, NOW)
    before = contents(folder)

    prepare_key_files(folder, NOW + timedelta(days=800))

    assert all(contents(folder)[name] != old for name, old in before.items())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(ConfigurationError, match="cannot be kept in"):
        prepare_key_files(blocked / "below", NOW)


def test_the_key_set_shows_no_private_part(key: SigningKey) -> None:
    shown = key.build_jwks()["keys"][0]

    assert shown.keys() == {"kty", "n", "e", "kid", "alg", "use"}
    assert shown["kid"] != key.assertion_kid


def test_certificates_that_are_renewed_stand_before_the_former_ones_while_those_are_valid(folder: Path) -> None:
    files = prepare_key_files(folder, NOW)
    former = {path: path.read_bytes() for path in (files.ca, files.signing)}

    prepare_key_files(folder, NOW + timedelta(days=800))

    assert all(path.read_bytes().endswith(content) for path, content in former.items())
    assert all(len(path.read_bytes()) > len(content) for path, content in former.items())

    prepare_key_files(folder, NOW + timedelta(days=1600))

    assert not any(content in path.read_bytes() for path, content in former.items())


def test_the_key_finds_its_certificate_among_others(folder: Path, tmp_path: Path) -> None:
    files, others = prepare_key_files(folder, NOW), prepare_key_files(tmp_path / "next", NOW)
    own, own_authority = files.signing.read_bytes(), files.ca.read_bytes()
    for before in (own + others.signing.read_bytes(), others.signing.read_bytes() + own):
        files.signing.write_bytes(before)
        files.ca.write_bytes(others.ca.read_bytes() + own_authority)

        assert prepare_key_files(folder, NOW) == files
        assert files.signing.read_bytes() == before
        assert SigningKey.read(files).key.as_dict() == SigningKey.read(files).key.as_dict()

    # The next key takes over once its files are in place.
    files.signing_key.write_bytes(others.signing_key.read_bytes())
    prepare_key_files(folder, NOW)

    assert SigningKey.read(files).x5t == SigningKey.read(others).x5t
    assert files.signing.read_bytes() == before


def test_a_key_without_a_certificate_of_its_own_signs_nothing(folder: Path, tmp_path: Path) -> None:
    files, others = prepare_key_files(folder, NOW), prepare_key_files(tmp_path / "next", NOW)
    files.signing.write_bytes(others.signing.read_bytes())

    with pytest.raises(ConfigurationError, match="holds no certificate that belongs to"):
        SigningKey.read(files)
