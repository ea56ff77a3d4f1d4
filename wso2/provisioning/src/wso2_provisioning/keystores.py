"""Keys and key stores of a gateway: `python -m wso2_provisioning.keystores DIR`.

Three folders, so that each reader is given only the one that it needs:

- `certificates/`: ca.pem and gateway-signing.pem, public;
- `keys/`: the same with their private keys as PEM, as the local gateway reads them;
- `wso2-config/`: key stores, trust store and deployment.toml, laid out as the files of WSO2 API Manager.

Safe to run again: valid keys are kept. Without keys of its own WSO2 signs with a private key that every image of it
contains. Source of names and formats: WSO2 API Manager 4.6.0, key stores; measured with keytool of JDK 17.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PKCS12Certificate,
    load_pkcs12,
    serialize_java_truststore,
    serialize_key_and_certificates,
)
from pydantic import SecretStr

from ev_service.certificates import Pair, Server, rsa_key
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.key_files import PRIVATE, PUBLIC, ensure_servers, ensure_signing, keep, pem, read_certificates
from ev_service.settings import load
from wso2_provisioning.settings import KeyStorePasswords, KeyStoreSettings
from wso2_terms.deployment import GATEWAY_NAMES

CERTIFICATES, KEYS, WSO2_CONFIG = "certificates", "keys", "wso2-config"
SECURITY = "repository/resources/security"
TLS_STORE, SIGNING_STORE, TRUST_STORE = "wso2am-tls.p12", "wso2am-signing.p12", "wso2am-trust.p12"
TLS_ALIAS, SIGNING_ALIAS, CA_ALIAS = "wso2am", "gateway-signing", "ev-charging-ca"
GATEWAY_ALIAS = "gateway_certificate_alias"
"""Alias at which WSO2 expects the certificate of API keys and internal keys."""

# WSO2 signs with RS256 and encrypts with RSA (carbon-apimgt 9.33.90, OAuth2Util).
_SERVERS = {"server": Server("wso2am", GATEWAY_NAMES)}


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """Keys and certificates of a gateway."""

    authority: x509.Certificate
    server: Pair
    signing: Pair


@dataclass(frozen=True, slots=True)
class Wso2Layout:
    """Configuration of WSO2 in addition to the keys."""

    passwords: KeyStorePasswords
    conf: Path
    """Folder of deployment.toml and the entrypoint."""


def prepare_keys(root: Path, now: datetime, wso2: Wso2Layout | None) -> list[str]:
    """Create what is missing, about to expire or locked with another password; keep the rest.

    Args:
        root: parent of the folders, which are created if missing.
        now: real time.
        wso2: configuration for `wso2-config/`; None omits that folder.

    Returns:
        Paths of the files that were written.

    Raises:
        ConfigurationError: a folder cannot be written or `conf` not be read.
    """
    try:
        authority, (server,), written = ensure_servers(
            root / KEYS, "EV charging gateway CA", _SERVERS, now, new_key=rsa_key
        )
        signing, signing_files = ensure_signing(root / KEYS, "gateway-signing", "EV charging gateway signing", now)
        keys, written = GatewayKeys(authority, server, signing), [*written, *signing_files]
        written += _ensure_certificates(root / CERTIFICATES, root / KEYS)
        written += [] if wso2 is None else _ensure_configuration(root, keys, wso2)
    except OSError as error:
        raise ConfigurationError(f"keys cannot be kept in {root}: {error.filename}: {error.strerror}") from error
    return [str(path) for path in written]


def _ensure_certificates(folder: Path, keys: Path) -> list[Path]:
    """Publish every certificate that clients and services must accept: two during a key rotation."""
    written: list[Path] = []
    for name in ("ca.pem", "gateway-signing.pem"):
        written += keep(folder / name, pem(*read_certificates(keys / name)), PUBLIC)
    return written


def _ensure_configuration(root: Path, keys: GatewayKeys, wso2: Wso2Layout) -> list[Path]:
    folder = root / WSO2_CONFIG
    return [
        *keep(folder / "ca.pem", (root / CERTIFICATES / "ca.pem").read_bytes(), PUBLIC),
        *_ensure_stores(folder / SECURITY, keys, wso2.passwords),
        *keep(folder / "repository/conf/deployment.toml", (wso2.conf / "deployment.toml").read_bytes(), 0o600),
        *keep(folder / "ev-entrypoint.sh", (wso2.conf / "ev-entrypoint.sh").read_bytes(), 0o700),
    ]


def _ensure_stores(folder: Path, keys: GatewayKeys, passwords: KeyStorePasswords) -> list[Path]:
    written: list[Path] = []
    stores: list[tuple[str, str, Pair, list[x509.Certificate]]] = [
        (TLS_STORE, TLS_ALIAS, keys.server, [keys.authority]),
        (SIGNING_STORE, SIGNING_ALIAS, keys.signing, []),
    ]
    for name, alias, pair, chain in stores:
        if not _is_store_current(folder / name, passwords.keystore, [pair.certificate, *chain]):
            encryption = _build_encryption(passwords.keystore)
            content = serialize_key_and_certificates(alias.encode(), pair.key, pair.certificate, chain, encryption)
            written.append(replace_file(folder / name, content, PRIVATE))
    # The authority because WSO2 calls itself, the signing certificate for API keys and internal keys.
    trusted = {CA_ALIAS: keys.authority, GATEWAY_ALIAS: keys.signing.certificate}
    if not _is_store_current(folder / TRUST_STORE, passwords.truststore, list(trusted.values())):
        entries = [PKCS12Certificate(certificate, alias.encode()) for alias, certificate in trusted.items()]
        content = serialize_java_truststore(entries, _build_encryption(passwords.truststore))
        written.append(replace_file(folder / TRUST_STORE, content, PRIVATE))
    return written


def _is_store_current(store: Path, password: SecretStr, certificates: Sequence[x509.Certificate]) -> bool:
    """Return whether the store opens with the password and contains exactly these certificates."""
    try:
        content = load_pkcs12(store.read_bytes(), password.get_secret_value().encode())
    except (OSError, ValueError):
        return False
    entries = [*([content.cert] if content.cert else []), *content.additional_certs]
    return {entry.certificate for entry in entries} == set(certificates)


def _build_encryption(password: SecretStr) -> BestAvailableEncryption:
    return BestAvailableEncryption(password.get_secret_value().encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Create or keep the keys; return 0, or 2 if a setting or file must be corrected first."""
    parser = argparse.ArgumentParser(
        prog="python -m wso2_provisioning.keystores",
        description="Make the gateway's own keys: certificates/ and keys/ (PEM) in DIR, with --conf also wso2-config/ "
        "(PKCS12), which reads WSO2_KEYSTORE_PASSWORD and WSO2_TRUSTSTORE_PASSWORD. Keeps what is valid.",
    )
    parser.add_argument("root", metavar="DIR", type=Path)
    parser.add_argument(
        "--conf", metavar="DIR", type=Path, help="lay out WSO2's configuration, from this folder of deployment.toml"
    )
    arguments = parser.parse_args(argv)
    try:
        settings = load(KeyStoreSettings)
        settings.refuse_placeholder()
        wso2 = None if arguments.conf is None else Wso2Layout(settings.require_passwords(), arguments.conf)
        written = prepare_keys(arguments.root, SystemClock().now(), wso2)
    except ConfigurationError as error:
        sys.stderr.write(f"failed {error.message}\n")
        return 2
    sys.stdout.write("".join(f"written {path}\n" for path in written) or "nothing to do: every key is valid\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
