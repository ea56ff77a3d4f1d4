"""Errors of provisioning; each message contains the reason and what to do.

ProvisioningError
├── NotReadyError              WSO2 did not become ready in time, or cannot be reached
├── CredentialsRefusedError    WSO2 refuses a password or client secret
├── RequestRefusedError               WSO2 refused a request
├── ScopeMismatchError           a token has fewer or more scopes than required
├── GatewayAccessError             everything is provisioned, but no call passes the gateway
└── CredentialsFolderError        credentials cannot be written to their folder
"""

from ev_service.errors import EvError


class ProvisioningError(EvError):
    """WSO2 is not in the state that the artifacts describe, and this run could not bring it there."""

    code = "provisioning_failed"


class NotReadyError(ProvisioningError):
    """WSO2 does not answer, or not yet.

    Args:
        message: reason.
        is_final: whether waiting cannot help.
    """

    code = "not_ready"

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class CredentialsRefusedError(ProvisioningError):
    """A password or client secret was refused."""

    code = "credentials_refused"


class RequestRefusedError(ProvisioningError):
    """WSO2 refused a request.

    Args:
        message: reason.
        status: HTTP status.
        wso2_code: WSO2's error code, 0 without one.
    """

    code = "refused"

    def __init__(self, message: str, *, status: int, wso2_code: int = 0) -> None:
        super().__init__(message, status=status, wso2_code=wso2_code)
        self.status = status
        self.wso2_code = wso2_code


class ScopeMismatchError(ProvisioningError):
    """A token was granted other scopes than the artifacts define."""

    code = "scopes_wrong"


class GatewayAccessError(ProvisioningError):
    """The gateway did not let the smoke test's call through in time."""

    code = "not_proven"


class CredentialsFolderError(ProvisioningError):
    """The folder for credentials cannot be written."""

    code = "folder_unusable"
