"""The gateway's own keys: made once, kept while they are good, each seen by whom it concerns."""

import shutil
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from pydantic import SecretStr

from ev_service.certificates import is_issued_by
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from wso2_provisioning.keystores import Wso2Layout, main, prepare_keys
from wso2_provisioning.settings import KeyStorePasswords
from wso2_terms.deployment import read_deployment

CONF = Path(__file__).parents[3] / "wso2" / "conf"
NOW = SystemClock().now()
PASSWORDS = KeyStorePasswords(SecretStr("store-Passw0rd"), SecretStr("trust-Passw0rd"))
WSO2 = Wso2Layout(PASSWORDS, CONF)
SECURITY = Path("wso2-config/repository/resources/security")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keys")
    prepare_keys(root, NOW, WSO2)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; making RSA keys takes long."""
    return Path(shutil.copytree(made, tmp_path / "keys"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_second_run_writes_nothing(root: Path) -> None:
    before = contents(root)

    written = prepare_keys(root, NOW, WSO2)

    assert written == []
    assert contents(root) == before


def test_everybodys_folder_holds_no_private_key(made: Path) -> None:
    assert {path.name for path in (made / "certificates").iterdir()} == {"ca.pem", "gateway-signing.pem"}
    assert not [name for name, content in contents(made / "certificates").items() if b"PRIVATE" in content]


def test_what_is_private_is_read_by_its_owner_alone(made: Path) -> None:
    private = [*made.rglob("*-key.pem"), *made.rglob("*.p12")]

    assert len(private) == 5
    assert [path for path in private if path.stat().st_mode & 0o077] == []


def test_the_server_is_trusted_by_the_authority_under_every_name_it_has(made: Path) -> None:
    server = certificate(made / "keys/server.pem")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["gateway", "wso2am", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert is_issued_by(server, certificate(made / "certificates/ca.pem"))
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
        made / "keys/server.pem", made / "keys/server-key.pem"
    )


def test_the_stores_hold_rsa_keys_under_the_aliases_of_deployment_toml(made: Path) -> None:
    text = (made / "wso2-config/repository/conf/deployment.toml").read_text(encoding="utf-8")

    for file, alias, pem in (
        ("wso2am-tls.p12", "wso2am", "server.pem"),
        ("wso2am-signing.p12", "gateway-signing", "gateway-signing.pem"),
    ):
        store = load_pkcs12((made / SECURITY / file).read_bytes(), b"store-Passw0rd")
        assert isinstance(store.key, rsa.RSAPrivateKey)
        assert store.cert is not None
        assert store.cert.friendly_name == alias.encode()
        assert store.cert.certificate == certificate(made / "keys" / pem)
        assert f'file_name = "{file}"' in text
        assert f'alias = "{alias}"' in text


def test_the_trust_store_holds_the_authority_and_the_certificate_of_api_keys(made: Path) -> None:
    store = load_pkcs12((made / SECURITY / "wso2am-trust.p12").read_bytes(), b"trust-Passw0rd")

    assert {entry.friendly_name: entry.certificate for entry in store.additional_certs} == {
        b"ev-charging-ca": certificate(made / "certificates/ca.pem"),
        b"gateway_certificate_alias": certificate(made / "certificates/gateway-signing.pem"),
    }


@pytest.mark.skipif(shutil.which("keytool") is None, reason="no keytool (Java) on this machine")
@pytest.mark.parametrize(
    ("store", "password", "entries"),
    [
        ("wso2am-tls.p12", "store-Passw0rd", {"wso2am": "PrivateKeyEntry"}),
        ("wso2am-signing.p12", "store-Passw0rd", {"gateway-signing": "PrivateKeyEntry"}),
        (
            "wso2am-trust.p12",
            "trust-Passw0rd",
            {"ev-charging-ca": "trustedCertEntry", "gateway_certificate_alias": "trustedCertEntry"},
        ),
    ],
)
# Some code of WSO2 opens the trust store as JKS, whatever is in it.
@pytest.mark.parametrize("kind", ["PKCS12", "JKS"])
def test_java_reads_the_stores(made: Path, store: str, password: str, entries: dict[str, str], kind: str) -> None:
    command = [
        "keytool",
        "-list",
        "-storetype",
        kind,
        "-keystore",
        str(made / SECURITY / store),
        "-storepass",
        password,
    ]

    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout

    for alias, entry in entries.items():
        assert [line for line in listed.splitlines() if line.startswith(f"{alias},") and entry in line], listed


def test_other_passwords_lock_the_same_keys_anew(root: Path) -> None:
    before = contents(root)

    prepare_keys(root, NOW, Wso2Layout(KeyStorePasswords(SecretStr("another-one"), SecretStr("and-another")), CONF))

    after = contents(root)
    assert {name for name in after if after[name] != before[name]} == {
        str(SECURITY / name) for name in ("wso2am-tls.p12", "wso2am-signing.p12", "wso2am-trust.p12")
    }
    assert load_pkcs12((root / SECURITY / "wso2am-signing.p12").read_bytes(), b"another-one").key is not None


@pytest.mark.parametrize("broken", ["keys/server.pem", "keys/server-key.pem", "keys/ca.pem"])
def test_a_broken_server_certificate_is_made_anew_and_the_signing_key_stays(root: Path, broken: str) -> None:
    signing = (root / "keys/gateway-signing.pem").read_bytes()
    (root / broken).write_bytes(b"")

    prepare_keys(root, NOW, WSO2)

    assert (root / "certificates/gateway-signing.pem").read_bytes() == signing
    assert is_issued_by(certificate(root / "keys/server.pem"), certificate(root / "certificates/ca.pem"))


def test_what_is_about_to_expire_is_made_anew(root: Path) -> None:
    before = certificate(root / "keys/server.pem")

    prepare_keys(root, before.not_valid_after_utc - timedelta(days=59), WSO2)

    assert certificate(root / "keys/server.pem") != before


def test_wso2_is_given_its_configuration_and_the_entrypoint(made: Path) -> None:
    deployment = read_deployment(
        made / "wso2-config/repository/conf/deployment.toml", {"WSO2_ADMIN_PASSWORD": "admin-Passw0rd"}
    )

    assert deployment.hostname == "localhost"
    assert (made / "wso2-config/ev-entrypoint.sh").stat().st_mode & 0o777 == 0o700
    assert (made / "wso2-config/ca.pem").read_bytes() == (made / "certificates/ca.pem").read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="keys cannot be kept in"):
        prepare_keys(tmp_path / "file", NOW, None)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WSO2_KEYSTORE_PASSWORD", "change-me", "WSO2_KEYSTORE_PASSWORD is still the placeholder"),
        ("WSO2_TRUSTSTORE_PASSWORD", "", "WSO2_TRUSTSTORE_PASSWORD is not set"),
        ("WSO2_KEYSTORE_PASSWORD", "five5", "6 characters or more"),
        # WSO2 itself would start with it.
        ("WSO2_ADMIN_PASSWORD", "change-me", "WSO2_ADMIN_PASSWORD is still the placeholder"),
    ],
)
def test_a_password_that_is_none_stops_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    told: str,
) -> None:
    for variable in ("WSO2_KEYSTORE_PASSWORD", "WSO2_TRUSTSTORE_PASSWORD", "WSO2_ADMIN_PASSWORD"):
        monkeypatch.setenv(variable, "good-Passw0rd")
    monkeypatch.setenv(name, value)

    code = main([str(tmp_path), "--conf", str(CONF)])

    assert code == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_wso2_nothing_of_it_is_laid_out_and_no_password_of_its_stores_is_needed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WSO2_KEYSTORE_PASSWORD", "WSO2_TRUSTSTORE_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    shutil.rmtree(root / "wso2-config")

    assert main([str(root)]) == 0
    assert not (root / "wso2-config").exists()


def test_the_command_says_what_it_wrote_and_then_that_nothing_is_left_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WSO2_KEYSTORE_PASSWORD", "store-Passw0rd")
    monkeypatch.setenv("WSO2_TRUSTSTORE_PASSWORD", "trust-Passw0rd")
    (root / "certificates/ca.pem").unlink()

    codes = [main([str(root), "--conf", str(CONF)]) for _ in range(2)]

    assert codes == [0, 0]
    assert capsys.readouterr().out == f"written {root / 'certificates/ca.pem'}\nnothing to do: every key is valid\n"


def test_the_next_keys_are_accepted_before_they_are_used_and_the_former_ones_after(
    root: Path, made: Path, tmp_path: Path
) -> None:
    prepare_keys(tmp_path / "next", NOW, None)
    keys, following = root / "keys", tmp_path / "next/keys"
    for name in ("ca.pem", "gateway-signing.pem"):
        (keys / name).write_bytes((keys / name).read_bytes() + (following / name).read_bytes())

    prepare_keys(root, NOW, WSO2)

    for name in ("ca.pem", "gateway-signing.pem"):
        assert (root / "certificates" / name).read_bytes() == (keys / name).read_bytes()
    assert contents(root / SECURITY) == contents(made / SECURITY)

    for name in ("server.pem", "server-key.pem", "gateway-signing-key.pem"):
        (keys / name).write_bytes((following / name).read_bytes())
    prepare_keys(root, NOW, WSO2)

    for store, name in (("wso2am-signing.p12", "gateway-signing.pem"), ("wso2am-tls.p12", "server.pem")):
        held = load_pkcs12((root / SECURITY / store).read_bytes(), PASSWORDS.keystore.get_secret_value().encode())
        assert held.cert is not None
        assert held.cert.certificate == certificate(following / name)
    for name in ("ca.pem", "gateway-signing.pem"):
        assert (root / "certificates" / name).read_bytes() == (keys / name).read_bytes()
