"""What can go wrong while WSO2 is provisioned; every message says why and what to do.

ProvisioningError
├── NotReady              WSO2 did not come up in time, or cannot be reached
├── CredentialsRefused    a user's or client's password is not the one that WSO2 knows
├── Refused               WSO2 answered a call with no
├── ScopesWrong           a token carries fewer or more scopes than it must
├── NotProven             everything is in place, but no call goes through the gateway
└── FolderUnusable        credentials cannot be written where they should be
"""

from ev_service.errors import EvError


class ProvisioningError(EvError):
    """WSO2 is not in the state that the artifacts describe, and this run could not bring it there."""

    code = "provisioning_failed"


class NotReady(ProvisioningError):
    """WSO2 does not answer, or not yet.

    is_final: waiting does not help.
    """

    code = "not_ready"

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class CredentialsRefused(ProvisioningError):
    """A password or client secret was refused."""

    code = "credentials_refused"


class Refused(ProvisioningError):
    """WSO2 answered no.

    status: HTTP status. wso2_code: WSO2's own number, 0 without one.
    """

    code = "refused"

    def __init__(self, message: str, *, status: int, wso2_code: int = 0) -> None:
        super().__init__(message, status=status, wso2_code=wso2_code)
        self.status = status
        self.wso2_code = wso2_code


class ScopesWrong(ProvisioningError):
    """A token was granted other scopes than the artifacts say."""

    code = "scopes_wrong"


class NotProven(ProvisioningError):
    """The gateway did not let the proving call through in time."""

    code = "not_proven"


class FolderUnusable(ProvisioningError):
    """The folder for credentials cannot be written."""

    code = "folder_unusable"
