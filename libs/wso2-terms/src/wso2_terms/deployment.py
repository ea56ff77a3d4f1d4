"""The settings in conf/deployment.toml that clients can observe.

Other keys of the file, of which WSO2 has hundreds, are ignored.
Source: WSO2 API Manager 4.6.0, shipped deployment.toml and its defaults; identity-inbound-auth-oauth 6.13.41.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from wso2_terms.documents import ArtifactError, read_text, substitute, validate

_WSO2_VARIABLE = re.compile(r"\$env\{([A-Za-z_][A-Za-z0-9_]*)\}")

GATEWAY_NAMES = ("gateway", "wso2am", "localhost")
"""Host names in the gateway's certificate, by which containers and the host call it; 127.0.0.1 is in it as well."""

DEFAULT_ALLOWED_SCOPES = ("^device_.*", "openid")
"""Regular expressions of the scopes that WSO2 grants to everybody by default."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class BackendJwt(_Section):
    """`[apim.jwt]`: the assertion that the gateway sends to backends."""

    enable: bool = False
    header: str = "X-JWT-Assertion"
    encoding: Literal["base64", "base64url"] = "base64"
    claim_dialect: str = "http://wso2.org/claims"
    expiry_time: Annotated[int, Field(gt=0)] = 900
    """Lifetime [s]; WSO2 uses the lifetime of its token cache, 900 s as well, while the cache is enabled."""


class Analytics(_Section):
    """`[apim.analytics]`: type `elk` writes one line per finished call to apim_metrics.log."""

    enable: bool = False
    type: str = "choreo"


class DeploymentSettings(_Section):
    """Settings of the server."""

    hostname: str
    admin_username: str
    admin_password: SecretStr
    jwt: BackendJwt = BackendJwt()
    analytics: Analytics = Analytics()
    allowed_scopes: tuple[str, ...] = DEFAULT_ALLOWED_SCOPES
    """Regular expressions of the scopes that are granted to everybody."""

    restrict_unassigned_scopes: bool = False
    """Do not grant scopes that no API registers."""

    build_issuer_with_hostname: bool = False
    app_access_token_validity_s: Annotated[int, Field(gt=0)] = 3600
    """Default lifetime of access tokens [s]."""


def read_deployment(path: Path, environment: Mapping[str, str]) -> DeploymentSettings:
    """Read deployment.toml.

    Args:
        path: The file.
        environment: Values of `$env{NAME}`; only those in the keys that are read are required.

    Raises:
        ArtifactError: The file does not exist, is not TOML, has a value of the wrong type, or a variable is not set.
    """
    try:
        document: dict[str, object] = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ArtifactError(f"{path}: not valid TOML: {error}") from error

    found = {name: _lookup(document, keys) for name, keys in _KEYS.items()}
    present = {name: value for name, value in found.items() if value is not None}
    settings = substitute(present, environment, str(path), _WSO2_VARIABLE)
    return validate(settings, DeploymentSettings, str(path))


_KEYS: dict[str, tuple[str, ...]] = {
    "hostname": ("server", "hostname"),
    "admin_username": ("super_admin", "username"),
    "admin_password": ("super_admin", "password"),
    "jwt": ("apim", "jwt"),
    "analytics": ("apim", "analytics"),
    "allowed_scopes": ("oauth", "allowed_scopes"),
    "restrict_unassigned_scopes": ("system", "parameter", "restrict.unassigned.scopes"),
    "build_issuer_with_hostname": ("oauth", "build_issuer_with_hostname"),
    "app_access_token_validity_s": ("oauth", "token_validation", "app_access_token_validity"),
}


def _lookup(part: object, keys: tuple[str, ...]) -> object:
    if not keys:
        return part
    return _lookup(cast("dict[str, object]", part).get(keys[0]), keys[1:]) if isinstance(part, dict) else None
