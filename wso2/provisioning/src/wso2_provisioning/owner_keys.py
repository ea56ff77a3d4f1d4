"""The key of an application, as WSO2 gives it out: for all but EVApp it is written down nowhere else."""

from wso2_provisioning.applications import ApplicationSpec
from wso2_provisioning.devportal import ApplicationExport
from wso2_provisioning.errors import CredentialsRefusedError, ProvisioningError, RequestRefusedError, ScopeMismatchError
from wso2_provisioning.tokens import ClientCredentials, Token, request_exact_token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts


def read_credentials(wso2: Wso2, spec: ApplicationSpec) -> ClientCredentials:
    """Read an application's key for whoever has its owner's password.

    Raises:
        ProvisioningError: the password is not set or wrong, or the bootstrap did not make the application.
    """
    password = wso2.settings.find_owner_password(spec)
    if password is None:
        raise ProvisioningError(f"{spec.password_variable} is not set: it proves who may act as {spec.name}")
    if not spec.keeps_portal:
        if not wso2.users.authenticates(spec.owner, password):
            raise CredentialsRefusedError(f"WSO2 does not accept {spec.owner}: check {spec.password_variable}")
        return export_credentials(wso2, spec)
    portal = wso2.open_portal(spec.owner, password)
    application_id = portal.find_application(spec.name)
    keys = None if application_id is None else portal.find_keys(application_id)
    if keys is None:
        raise _build_missing_error(spec)
    return keys.credentials


def export_application(wso2: Wso2, spec: ApplicationSpec) -> ApplicationExport:
    """Read an application as the administrator, without its owner.

    Raises:
        ProvisioningError: the bootstrap did not make it, or it bears another name now.
    """
    try:
        return wso2.admin_portal.export_application(spec.owner, spec.name)
    except RequestRefusedError as error:
        if error.status != 404:
            raise
        raise _build_missing_error(spec) from error


def export_credentials(wso2: Wso2, spec: ApplicationSpec) -> ClientCredentials:
    """Read an application's key as the administrator.

    Raises:
        ProvisioningError: there is no such application, or it has no key.
    """
    keys = export_application(wso2, spec).keys
    if keys is None:
        raise _build_missing_error(spec)
    return keys.credentials


def _build_missing_error(spec: ApplicationSpec) -> ProvisioningError:
    return ProvisioningError(f"there is no application {spec.name} with a key: run the bootstrap with its password")


def request_application_token(
    wso2: Wso2, artifacts: Artifacts, spec: ApplicationSpec, device: str | None = None
) -> Token:
    """Get a token of an application with the scopes that it must have, and no other.

    Args:
        wso2: how to reach it.
        artifacts: what it was given.
        spec: the application.
        device: a scope that grants nothing and keeps this token apart from others of the application, which stay.

    Raises:
        ProvisioningError: the owner's password is not set or wrong, or WSO2 grants other scopes.
    """
    wanted, own = spec.collect_scopes(artifacts), {device} if device else set[str]()
    token = request_exact_token(
        wso2.http, wso2.settings.token_url, read_credentials(wso2, spec), spec.name, wanted | own
    )
    granted = token.scopes - own
    if granted != wanted:
        raise ScopeMismatchError(
            f"{spec.name} is granted {' '.join(sorted(granted)) or 'nothing'} instead of {' '.join(sorted(wanted))}: "
            f"run the bootstrap with {spec.password_variable}"
        )
    return token
