"""The key of an application, as its owner reads it in the Developer Portal: nowhere else is it written down."""

from wso2_provisioning.applications import ApplicationSpec
from wso2_provisioning.errors import ProvisioningError, ScopesWrong
from wso2_provisioning.tokens import ClientCredentials, Token, exact_token
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts


def keys_of(wso2: Wso2, spec: ApplicationSpec) -> ClientCredentials:
    """Read an application's key with its owner's password.

    Raises:
        ProvisioningError: the password is not set or wrong, or the bootstrap did not make the application.
    """
    password = wso2.settings.password_of(spec)
    if password is None:
        raise ProvisioningError(f"{spec.password_variable} is not set: it proves who may act as {spec.name}")
    portal = wso2.portal_of(spec.owner, password)
    application_id = portal.find_application(spec.name)
    keys = None if application_id is None else portal.keys(application_id)
    if keys is None:
        raise ProvisioningError(f"there is no application {spec.name} with a key: run the bootstrap with its password")
    return keys.credentials


def token_of(wso2: Wso2, artifacts: Artifacts, spec: ApplicationSpec, device: str | None = None) -> Token:
    """Get a token of an application with the scopes that it must have, and no other.

    Args:
        wso2: how to reach it.
        artifacts: what it was given.
        spec: the application.
        device: a scope that grants nothing and keeps this token apart from others of the application, which stay.

    Raises:
        ProvisioningError: the owner's password is not set or wrong, or WSO2 grants other scopes.
    """
    wanted, own = spec.scopes(artifacts), {device} if device else set[str]()
    token = exact_token(wso2.wire, wso2.settings.token_url, keys_of(wso2, spec), spec.name, wanted | own)
    granted = token.scopes - own
    if granted != wanted:
        raise ScopesWrong(
            f"{spec.name} is granted {' '.join(sorted(granted)) or 'nothing'} instead of {' '.join(sorted(wanted))}: "
            f"run the bootstrap with {spec.password_variable}"
        )
    return token
