"""The keys of broker and charger service: made once, kept while they are good for something, and trusted by devices."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ev_service.errors import ConfigurationError
from ev_service.key_files import AUTHORITY_FILE
from site_twin.field_devices import init_keys

NOW = datetime.now(UTC)
FILES = {"ca.pem", "broker.pem", "broker-key.pem", "chargers.pem", "chargers-key.pem"}
SOON_OVER = timedelta(days=825 - 59)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A folder that was filled."""
    folder = tmp_path / "field"
    init_keys(folder, NOW)
    return folder


def test_an_empty_folder_gets_an_authority_and_a_certificate_for_each_server(tmp_path: Path) -> None:
    written = init_keys(tmp_path / "deep" / "field", NOW)

    assert {path.name for path in written} == FILES
    assert all(path.exists() for path in written)


def test_private_keys_are_readable_by_their_owner_alone(field: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in field.iterdir()}

    assert modes == {name: 0o600 if name.endswith("-key.pem") else 0o644 for name in FILES}


def test_keys_that_are_valid_are_kept(field: Path) -> None:
    before = content(field)

    assert init_keys(field, NOW + timedelta(days=700)) == ()
    assert content(field) == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_missing_lets_all_be_made_anew(field: Path, name: str) -> None:
    before = content(field)
    (field / name).unlink()

    written = init_keys(field, NOW)

    after = content(field)
    assert {path.name for path in written} == FILES
    assert [file for file in FILES if after[file] == before[file]] == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_holds_something_else_lets_all_be_made_anew(field: Path, name: str) -> None:
    (field / name).write_text("no key and no certificate", encoding="utf-8")

    assert {path.name for path in init_keys(field, NOW)} == FILES


def test_keys_that_end_within_two_months_are_made_anew(field: Path) -> None:
    assert {path.name for path in init_keys(field, NOW + SOON_OVER)} == FILES


def test_certificates_of_another_authority_are_made_anew(field: Path, tmp_path: Path) -> None:
    init_keys(tmp_path / "other", NOW)
    (field / AUTHORITY_FILE).write_bytes((tmp_path / "other" / AUTHORITY_FILE).read_bytes())

    assert {path.name for path in init_keys(field, NOW)} == FILES


@pytest.mark.parametrize(
    ("server", "called"),
    [("broker", "broker"), ("broker", "localhost"), ("chargers", "chargers"), ("chargers", "127.0.0.1")],
)
def test_a_device_that_trusts_the_authority_meets_the_server_by_its_names(
    field: Path, server: str, called: str
) -> None:
    assert meet(field, server, called) == "TLSv1.3"


def test_the_broker_can_not_pass_for_the_charger_service(field: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        meet(field, "broker", "chargers")


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "field").write_text("a file", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="field cannot be written"):
        init_keys(tmp_path / "field", NOW)


def meet(field: Path, server: str, called: str) -> str | None:
    """The version of TLS on which a device and a server agree, without any network between them."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(field / f"{server}.pem", field / f"{server}-key.pem")
    trusting = ssl.create_default_context(cafile=str(field / AUTHORITY_FILE))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    device = trusting.wrap_bio(down, up, server_hostname=called)
    waiting = [device, serving.wrap_bio(up, down, server_side=True)]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    return device.version()
