"""The key of an application, as its owner reads it in the Developer Portal: nowhere else is it written down."""

from wso2_provisioning.applications import ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.wso2 import Wso2


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
