"""What can go wrong while WSO2 is provisioned; every message says why and what to do.

ProvisioningError
├── NotReadyError              WSO2 did not come up in time, or cannot be reached
├── CredentialsRefusedError    a user's or client's password is not the one that WSO2 knows
├── RequestRefusedError               WSO2 answered a call with no
├── ScopeMismatchError           a token carries fewer or more scopes than it must
├── GatewayAccessError             everything is in place, but no call goes through the gateway
└── CredentialsFolderError        credentials cannot be written where they should be
"""

from ev_service.errors import EvError


class ProvisioningError(EvError):
    """WSO2 is not in the state that the artifacts describe, and this run could not bring it there."""

    code = "provisioning_failed"


class NotReadyError(ProvisioningError):
    """WSO2 does not answer, or not yet.

    is_final: waiting does not help.
    """

    code = "not_ready"

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class CredentialsRefusedError(ProvisioningError):
    """A password or client secret was refused."""

    code = "credentials_refused"


class RequestRefusedError(ProvisioningError):
    """WSO2 answered no.

    status: HTTP status. wso2_code: WSO2's own number, 0 without one.
    """

    code = "refused"

    def __init__(self, message: str, *, status: int, wso2_code: int = 0) -> None:
        super().__init__(message, status=status, wso2_code=wso2_code)
        self.status = status
        self.wso2_code = wso2_code


class ScopeMismatchError(ProvisioningError):
    """A token was granted other scopes than the artifacts say."""

    code = "scopes_wrong"


class GatewayAccessError(ProvisioningError):
    """The gateway did not let the proving call through in time."""

    code = "not_proven"


class CredentialsFolderError(ProvisioningError):
    """The folder for credentials cannot be written."""

    code = "folder_unusable"
