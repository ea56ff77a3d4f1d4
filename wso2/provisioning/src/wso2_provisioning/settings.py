"""Settings of provisioning and of the kill switch."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, SecretStr

from ev_service.errors import ConfigurationError
from ev_service.settings import SafeUrl, Settings, secret_from
from wso2_provisioning.applications import EVAPP, ApplicationSpec


class ProvisioningSettings(Settings):
    """Addresses, administrator and the owners of the applications."""

    wso2_management_url: SafeUrl = Field(default="https://localhost:9443", description="REST APIs and tokens of WSO2.")
    wso2_gateway_url: SafeUrl = Field(default="https://localhost:8243", description="Base of the gateway.")
    wso2_token_url: SafeUrl | None = Field(
        default=None, description="Token endpoint; else /oauth2/token of the former."
    )
    wso2_ca_file: Path | None = Field(
        default=None, description="PEM to trust in addition to the system's, read again when it changes."
    )
    wso2_admin_username: str = Field(default="admin", min_length=1, description="An administrator.")
    wso2_admin_password: SecretStr | None = Field(default=None, description="The administrator's password.")
    wso2_admin_password_file: Path | None = Field(default=None, description="File that holds it.")
    evapp_password: SecretStr | None = Field(default=None, description="Password of EVApp's owner: 5 to 30, no blanks.")
    evapp_password_file: Path | None = Field(default=None, description="File that holds it.")
    assistant_password: SecretStr | None = Field(
        default=None, description="Password of Assistant's owner, by the same rule; unset, Assistant is not made."
    )
    assistant_password_file: Path | None = Field(default=None, description="File that holds it.")
    operator_password: SecretStr | None = Field(
        default=None, description="Password of Operator's owner, by the same rule; unset, Operator is not made."
    )
    operator_password_file: Path | None = Field(default=None, description="File that holds it.")

    @property
    def token_url(self) -> str:
        """The token endpoint, whole."""
        return self.wso2_token_url or f"{self.wso2_management_url}/oauth2/token"

    def require_admin_password(self) -> SecretStr:
        """Return the administrator's password.

        Raises:
            ConfigurationError: it is not set, its file cannot be read, or it is a placeholder.
        """
        secret = secret_from(self.wso2_admin_password, self.wso2_admin_password_file, "WSO2_ADMIN_PASSWORD")
        if secret is None:
            raise _build_not_set_error("WSO2_ADMIN_PASSWORD")
        return secret

    def require_evapp_password(self) -> SecretStr:
        """Return the password of EVApp's owner.

        Raises:
            ConfigurationError: it is not set, or WSO2 would reject it.
        """
        password = self.find_owner_password(EVAPP)
        if password is None:
            raise _build_not_set_error(EVAPP.password_variable)
        return password

    def find_owner_password(self, application: ApplicationSpec) -> SecretStr | None:
        """Return the password of an application's owner; None if it is not set, and the application is omitted.

        Raises:
            ConfigurationError: WSO2 would reject it, its file cannot be read, or it is a placeholder.
        """
        name = application.password_variable
        value, file = {
            "EVAPP_PASSWORD": (self.evapp_password, self.evapp_password_file),
            "ASSISTANT_PASSWORD": (self.assistant_password, self.assistant_password_file),
            "OPERATOR_PASSWORD": (self.operator_password, self.operator_password_file),
        }[name]
        password = secret_from(value, file, name)
        text = "" if password is None else password.get_secret_value()
        # WSO2's default rule for passwords, `^[\S]{5,30}$`; it answers a violation with an opaque fault.
        if password is not None and (not 5 <= len(text) <= 30 or any(character.isspace() for character in text)):
            raise ConfigurationError(f"{name} must have 5 to 30 characters and no blanks")
        return password


@dataclass(frozen=True, slots=True)
class KeyStorePasswords:
    """Passwords of WSO2's key stores."""

    keystore: SecretStr
    truststore: SecretStr


class KeyStoreSettings(Settings):
    """Passwords of WSO2, checked before it starts: it would accept a placeholder."""

    wso2_keystore_password: SecretStr | None = Field(
        default=None, description="Locks the key stores of WSO2: 6 characters or more."
    )
    wso2_truststore_password: SecretStr | None = Field(
        default=None, description="Locks its trust store: 6 characters or more."
    )
    wso2_admin_password: SecretStr | None = Field(default=None, description="The administrator's password.")

    def refuse_placeholder(self) -> None:
        """Check that the administrator's password was chosen.

        Raises:
            ConfigurationError: it is the placeholder of .env.example.
        """
        secret_from(self.wso2_admin_password, None, "WSO2_ADMIN_PASSWORD")

    def require_passwords(self) -> KeyStorePasswords:
        """Return the passwords of the stores.

        Raises:
            ConfigurationError: one is not set, too short or a placeholder.
        """
        return KeyStorePasswords(
            _require_store_password(self.wso2_keystore_password, "WSO2_KEYSTORE_PASSWORD"),
            _require_store_password(self.wso2_truststore_password, "WSO2_TRUSTSTORE_PASSWORD"),
        )


def _require_store_password(value: SecretStr | None, name: str) -> SecretStr:
    secret = secret_from(value, None, name)
    if secret is None:
        raise ConfigurationError(f"{name} is not set")
    # Java's tools refuse shorter ones.
    if len(secret.get_secret_value()) < 6:
        raise ConfigurationError(f"{name} must have 6 characters or more")
    return secret


def _build_not_set_error(name: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is not set; set it, or {name}_FILE to a file that contains it")


class SwitchSettings(Settings):
    """Where the agent is, and where an act is kept until it is recorded."""

    # Not a SafeUrl: nothing secret is ever sent there, and in Compose it is a name on a network of its own.
    agent_url: str = Field(
        default="http://localhost:8004", pattern=r"^https?://[^\s/@]+$", description="Where the agent itself answers."
    )
    operator_state_dir: Path = Field(
        default=Path(".state/operator"), description="Where an operator's act is kept until it is recorded."
    )
