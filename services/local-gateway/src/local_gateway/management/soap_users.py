"""Users and roles by SOAP: RemoteUserStoreManagerService.

Source: WSO2 identity-user-ws 5.7.7 (services.xml) and carbon-kernel 4.9.33 (error texts). Writing operations answer
202 without a body, as WSO2 declares them in-only; faults are 500.
"""

import re
from collections.abc import Callable, Mapping
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from aiohttp import web
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from local_gateway.management.rest import Desk, basic_user

PATH = "/services/RemoteUserStoreManagerService"
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_SERVICE = "http://service.ws.um.carbon.wso2.org"
_PASSWORD = re.compile(r"\S{5,30}")
_NAME = re.compile(r"\S{3,30}")

Answer = list[str] | None
"""Values that are returned, None from an operation that returns nothing."""


class _Fault(Exception):
    pass


def routes(desk: Desk) -> list[web.RouteDef]:
    """The one address of this service."""
    service = UserService(desk)
    return [web.post(PATH, service.on_call)]


class UserService:
    """The operations, over the state of this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._operations: Mapping[str, Callable[[Element], Answer]] = {
            "isExistingRole": self._is_existing_role,
            "addRole": self._add_role,
            "deleteRole": self._delete_role,
            "isExistingUser": self._is_existing_user,
            "authenticate": self._authenticate,
            "addUser": self._add_user,
            "deleteUser": self._delete_user,
            "getRoleListOfUser": self._roles_of_user,
            "updateRoleListOfUser": self._update_roles,
            "updateCredentialByAdmin": self._update_credential,
        }

    async def on_call(self, request: web.Request) -> web.Response:
        """Answer one SOAP call."""
        user = basic_user(self._desk, request)
        if user is None or "admin" not in self._desk.users.roles_of(user):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="WSO2 API Manager"'})
        try:
            name, message = _called_operation(await request.read())
            operation = self._operations.get(name)
            if operation is None:
                raise _Fault(f"The endpoint reference (EPR) for the Operation not found is {PATH}, {name}")
            answer = operation(message)
        except _Fault as fault:
            return _xml(_fault(str(fault)), 500)
        return web.Response(status=202) if answer is None else _xml(_response(name, answer), 200)

    def _is_existing_role(self, message: Element) -> Answer:
        return [_boolean(self._desk.users.role_exists(_text(message, "roleName")))]

    def _add_role(self, message: Element) -> Answer:
        name = _text(message, "roleName")
        if self._desk.users.role_exists(name):
            raise _Fault(f"30012 - {name} exists in the system. Please pick another role name")
        if not _NAME.fullmatch(name.removeprefix("Internal/")):
            raise _Fault(f"30011 - Role name {name} is not valid")
        self._desk.state.roles.add(name)
        self._desk.store.changed()
        return None

    def _delete_role(self, message: Element) -> Answer:
        name = _text(message, "roleName")
        if name not in self._desk.state.roles:
            raise _Fault(f"30016 - Role {name} cannot be deleted")
        self._desk.users.remove_role(name)
        self._desk.store.changed()
        return None

    def _is_existing_user(self, message: Element) -> Answer:
        return [_boolean(self._desk.users.exists(_text(message, "userName")))]

    def _authenticate(self, message: Element) -> Answer:
        return [_boolean(self._desk.users.verify(_text(message, "userName"), _text(message, "credential")))]

    def _add_user(self, message: Element) -> Answer:
        name, roles = _text(message, "userName"), _texts(message, "roleList")
        if self._desk.users.exists(name):
            raise _Fault(
                f"30004 - UserAlreadyExisting:Username '{name}' already exists in the system. "
                "Please pick another username"
            )
        if not _NAME.fullmatch(name):
            raise _Fault("31301 - Username is not valid")
        self._check_roles(roles)
        self._desk.users.add(name, _checked_password(_text(message, "credential")), roles)
        self._desk.store.changed()
        return None

    def _delete_user(self, message: Element) -> Answer:
        self._desk.users.remove(self._changeable(message))
        self._desk.store.changed()
        return None

    def _roles_of_user(self, message: Element) -> Answer:
        return self._desk.users.listed_roles(_text(message, "userName"))

    def _update_roles(self, message: Element) -> Answer:
        name, added = self._changeable(message), _texts(message, "newRoles")
        self._check_roles(added)
        self._desk.users.change_roles(name, _texts(message, "deletedRoles"), added)
        self._desk.store.changed()
        return None

    def _update_credential(self, message: Element) -> Answer:
        name = self._changeable(message)
        self._desk.users.change_password(name, _checked_password(_text(message, "newCredential")))
        self._desk.store.changed()
        return None

    def _changeable(self, message: Element) -> str:
        name = _text(message, "userName")
        if not self._desk.users.exists(name):
            raise _Fault(f"30007 - UserNotFound: User {name} does not exist")
        if name == self._desk.users.admin_name:
            raise _Fault("The administrator stands in deployment.toml and is not changed here")
        return name

    def _check_roles(self, roles: list[str]) -> None:
        for role in roles:
            if not self._desk.users.role_exists(role):
                raise _Fault(f"30010 - Role {role} does not exist")


def _called_operation(body: bytes) -> tuple[str, Element]:
    try:
        envelope = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise _Fault("The message is not XML that is taken here") from error
    container = envelope.find(f"{{{_ENVELOPE}}}Body")
    if container is None or len(container) != 1:
        raise _Fault("The message holds no single operation")
    message = container[0]
    return message.tag.removeprefix(f"{{{_SERVICE}}}"), message


def _texts(message: Element, name: str) -> list[str]:
    return [element.text or "" for element in message.findall(f"{{{_SERVICE}}}{name}")]


def _text(message: Element, name: str) -> str:
    return next(iter(_texts(message, name)), "")


def _checked_password(password: str) -> str:
    if not _PASSWORD.fullmatch(password):
        raise _Fault("30003 - Credential not valid. Credential must have 5 to 30 characters and no blank")
    return password


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _response(operation: str, values: list[str]) -> str:
    returned = "".join(f"<ns:return>{escape(value)}</ns:return>" for value in values)
    return f'<ns:{operation}Response xmlns:ns="{_SERVICE}">{returned}</ns:{operation}Response>'


def _fault(text: str) -> str:
    said = f"<faultcode>soapenv:Server</faultcode><faultstring>{escape(text)}</faultstring>"
    return f"<soapenv:Fault>{said}</soapenv:Fault>"


def _xml(content: str, status: int) -> web.Response:
    envelope = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f'<soapenv:Envelope xmlns:soapenv="{_ENVELOPE}"><soapenv:Body>{content}</soapenv:Body></soapenv:Envelope>'
    )
    return web.Response(text=envelope, status=status, content_type="text/xml")
