"""Users and roles, through WSO2's SOAP service RemoteUserStoreManagerService: 4.6 has no SCIM.

Source: WSO2 API Manager 4.6.0 (identity-user-ws 5.7.7). Its writing operations return nothing, so every write is
verified by a read.
"""

from collections.abc import Iterable
from xml.etree import ElementTree

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import SecretStr

from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.http_client import HttpClient, Identity

SERVICE_PATH = "/services/RemoteUserStoreManagerService"
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_SERVICE = "http://service.ws.um.carbon.wso2.org"
_SHOWN_CHARACTERS = 200

Argument = tuple[str, str]


class Users:
    """The user store of one WSO2, as an administrator."""

    def __init__(self, http: HttpClient, management_url: str, admin: Identity) -> None:
        self._http = http
        self._url = management_url + SERVICE_PATH
        self._admin = admin

    def role_exists(self, name: str) -> bool:
        """Return whether the role exists."""
        return self._query("isExistingRole", ("roleName", name)) == ["true"]

    def add_role(self, name: str) -> None:
        """Add a role without members.

        Raises:
            RequestRefusedError: it does not exist afterwards.
        """
        fault = self._update("addRole", ("roleName", name))
        if not self.role_exists(name):
            raise RequestRefusedError(f"role {name} could not be added: {fault}", status=500)

    def user_exists(self, name: str) -> bool:
        """Return whether the user exists."""
        return self._query("isExistingUser", ("userName", name)) == ["true"]

    def authenticates(self, name: str, password: SecretStr) -> bool:
        """Return whether this is the password of an existing user."""
        credential = ("credential", password.get_secret_value())
        return self._query("authenticate", ("userName", name), credential) == ["true"]

    def list_roles(self, user: str) -> frozenset[str]:
        """Return the roles of an existing user."""
        return frozenset(self._query("getRoleListOfUser", ("userName", user)))

    def add_user(self, name: str, password: SecretStr, roles: Iterable[str]) -> None:
        """Add a user.

        Raises:
            RequestRefusedError: the user does not exist afterwards.
        """
        fault = self._update(
            "addUser",
            ("userName", name),
            ("credential", password.get_secret_value()),
            *(("roleList", role) for role in roles),
            ("requirePasswordChange", "false"),
        )
        if not self.user_exists(name):
            raise RequestRefusedError(f"user {name} could not be added: {_redact(password, fault)}", status=500)

    def delete_user(self, name: str) -> None:
        """Delete a user, whose applications must be deleted first.

        Raises:
            RequestRefusedError: the user still exists afterwards.
        """
        fault = self._update("deleteUser", ("userName", name))
        if self.user_exists(name):
            raise RequestRefusedError(f"user {name} could not be deleted: {fault}", status=500)

    def grant_roles(self, user: str, roles: Iterable[str]) -> None:
        """Grant a user roles in addition to the existing ones.

        Raises:
            RequestRefusedError: the user does not have them afterwards.
        """
        wanted = sorted(roles)
        fault = self._update("updateRoleListOfUser", ("userName", user), *(("newRoles", role) for role in wanted))
        if not set(wanted) <= self.list_roles(user):
            raise RequestRefusedError(f"user {user} could not be given {', '.join(wanted)}: {fault}", status=500)

    def revoke_role(self, user: str, role: str) -> None:
        """Revoke a role from a user.

        Raises:
            RequestRefusedError: the user still has it afterwards.
        """
        fault = self._update("updateRoleListOfUser", ("userName", user), ("deletedRoles", role))
        if role in self.list_roles(user):
            raise RequestRefusedError(f"{role} could not be taken from {user}: {fault}", status=500)

    def set_password(self, user: str, password: SecretStr) -> None:
        """Set a user's password.

        Raises:
            RequestRefusedError: WSO2 reports a fault.
        """
        fault = self._update(
            "updateCredentialByAdmin", ("userName", user), ("newCredential", password.get_secret_value())
        )
        if fault:
            raise RequestRefusedError(
                f"the password of {user} could not be set: {_redact(password, fault)}", status=500
            )

    def _query(self, operation: str, *arguments: Argument) -> list[str]:
        status, content = self._post(operation, arguments)
        if status != 200:
            raise RequestRefusedError(f"{operation} failed: {_parse_fault(content)}", status=status)
        return [text for text in _find_texts(content, "return") if text]

    def _update(self, operation: str, *arguments: Argument) -> str:
        """Send an operation without a result; return the fault's text, empty without one."""
        status, content = self._post(operation, arguments)
        return _parse_fault(content) if status == 500 else ""

    def _post(self, operation: str, arguments: Iterable[Argument]) -> tuple[int, bytes]:
        response = self._http.call(
            "POST",
            self._url,
            self._admin,
            accept=(200, 202, 500),
            content=build_envelope(operation, arguments),
            headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": f'"urn:{operation}"'},
        )
        return response.status_code, response.content


def build_envelope(operation: str, arguments: Iterable[Argument]) -> bytes:
    """Return the SOAP request of an operation."""
    envelope = ElementTree.Element(f"{{{_SOAP}}}Envelope")
    body = ElementTree.SubElement(envelope, f"{{{_SOAP}}}Body")
    call = ElementTree.SubElement(body, f"{{{_SERVICE}}}{operation}")
    for name, value in arguments:
        ElementTree.SubElement(call, f"{{{_SERVICE}}}{name}").text = value
    return ElementTree.tostring(envelope, encoding="utf-8", xml_declaration=True)


def _find_texts(content: bytes, local_name: str) -> list[str]:
    # By local name: the namespace prefix differs between stacks.
    try:
        root = fromstring(content)
    except (ElementTree.ParseError, DefusedXmlException):
        return []
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == local_name]


def _parse_fault(content: bytes) -> str:
    return " ".join(_find_texts(content, "faultstring"))[:_SHOWN_CHARACTERS] or "no reason given"


def _redact(secret: SecretStr, text: str) -> str:
    return text.replace(secret.get_secret_value(), "…")
