"""User administration by SOAP: RemoteUserStoreManagerService.

Source: WSO2 identity-user-ws 5.7.7 (services.xml) and carbon-kernel 4.9.33 (error texts). Writing operations answer
202 without a body, because WSO2 declares them in-only; faults are 500.
"""

import re
from collections.abc import Callable, Mapping
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from aiohttp import web
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from local_gateway.management.rest import ManagementContext, authenticate_basic

PATH = "/services/RemoteUserStoreManagerService"
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_SERVICE = "http://service.ws.um.carbon.wso2.org"
_PASSWORD = re.compile(r"\S{5,30}")
_NAME = re.compile(r"\S{3,30}")

ReturnValues = list[str] | None
"""Returned values, None for an operation without a result."""


class _SoapFaultError(Exception):
    pass


def routes(context: ManagementContext) -> list[web.RouteDef]:
    """Return the only route of the service."""
    service = UserService(context)
    return [web.post(PATH, service.handle)]


class UserService:
    """Operations of the service."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context
        self._operations: Mapping[str, Callable[[Element], ReturnValues]] = {
            "isExistingRole": self._is_existing_role,
            "addRole": self._add_role,
            "deleteRole": self._delete_role,
            "isExistingUser": self._is_existing_user,
            "authenticate": self._authenticate,
            "addUser": self._add_user,
            "deleteUser": self._delete_user,
            "getRoleListOfUser": self._get_role_list,
            "updateRoleListOfUser": self._update_roles,
            "updateCredentialByAdmin": self._update_credential,
        }

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one SOAP call."""
        user = authenticate_basic(self._context, request)
        if user is None or "admin" not in self._context.users.get_roles(user):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="WSO2 API Manager"'})
        try:
            name, message = _parse_operation(await request.read())
            operation = self._operations.get(name)
            if operation is None:
                raise _SoapFaultError(f"The endpoint reference (EPR) for the Operation not found is {PATH}, {name}")
            answer = operation(message)
        except _SoapFaultError as fault:
            detail = f"<faultcode>soapenv:Server</faultcode><faultstring>{escape(str(fault))}</faultstring>"
            return _build_xml_response(f"<soapenv:Fault>{detail}</soapenv:Fault>", 500)
        if answer is None:
            return web.Response(status=202)
        returned = "".join(f"<ns:return>{escape(value)}</ns:return>" for value in answer)
        return _build_xml_response(f'<ns:{name}Response xmlns:ns="{_SERVICE}">{returned}</ns:{name}Response>', 200)

    def _is_existing_role(self, message: Element) -> ReturnValues:
        return [_format_boolean(self._context.users.role_exists(_read_text(message, "roleName")))]

    def _add_role(self, message: Element) -> ReturnValues:
        name = _read_text(message, "roleName")
        if self._context.users.role_exists(name):
            raise _SoapFaultError(f"30012 - {name} exists in the system. Please pick another role name")
        if not _NAME.fullmatch(name.removeprefix("Internal/")):
            raise _SoapFaultError(f"30011 - Role name {name} is not valid")
        self._context.state.roles.add(name)
        self._context.store.save()
        return None

    def _delete_role(self, message: Element) -> ReturnValues:
        name = _read_text(message, "roleName")
        if name not in self._context.state.roles:
            raise _SoapFaultError(f"30016 - Role {name} cannot be deleted")
        self._context.users.remove_role(name)
        self._context.store.save()
        return None

    def _is_existing_user(self, message: Element) -> ReturnValues:
        return [_format_boolean(self._context.users.exists(_read_text(message, "userName")))]

    def _authenticate(self, message: Element) -> ReturnValues:
        return [
            _format_boolean(
                self._context.users.verify(_read_text(message, "userName"), _read_text(message, "credential"))
            )
        ]

    def _add_user(self, message: Element) -> ReturnValues:
        name, roles = _read_text(message, "userName"), _read_texts(message, "roleList")
        if self._context.users.exists(name):
            raise _SoapFaultError(
                f"30004 - UserAlreadyExisting:Username '{name}' already exists in the system. "
                "Please pick another username"
            )
        if not _NAME.fullmatch(name):
            raise _SoapFaultError("31301 - Username is not valid")
        self._check_roles(roles)
        self._context.users.add(name, _check_password(_read_text(message, "credential")), roles)
        self._context.store.save()
        return None

    def _delete_user(self, message: Element) -> ReturnValues:
        self._context.users.remove(self._read_changeable_name(message))
        self._context.store.save()
        return None

    def _get_role_list(self, message: Element) -> ReturnValues:
        return self._context.users.list_roles(_read_text(message, "userName"))

    def _update_roles(self, message: Element) -> ReturnValues:
        name, added = self._read_changeable_name(message), _read_texts(message, "newRoles")
        self._check_roles(added)
        self._context.users.change_roles(name, _read_texts(message, "deletedRoles"), added)
        self._context.store.save()
        return None

    def _update_credential(self, message: Element) -> ReturnValues:
        name = self._read_changeable_name(message)
        self._context.users.change_password(name, _check_password(_read_text(message, "newCredential")))
        self._context.store.save()
        return None

    def _read_changeable_name(self, message: Element) -> str:
        name = _read_text(message, "userName")
        if not self._context.users.exists(name):
            raise _SoapFaultError(f"30007 - UserNotFound: User {name} does not exist")
        if name == self._context.users.admin_name:
            raise _SoapFaultError("The administrator stands in deployment.toml and is not changed here")
        return name

    def _check_roles(self, roles: list[str]) -> None:
        for role in roles:
            if not self._context.users.role_exists(role):
                raise _SoapFaultError(f"30010 - Role {role} does not exist")


def _parse_operation(body: bytes) -> tuple[str, Element]:
    try:
        envelope = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise _SoapFaultError("The message is not XML that is taken here") from error
    container = envelope.find(f"{{{_ENVELOPE}}}Body")
    if container is None or len(container) != 1:
        raise _SoapFaultError("The message holds no single operation")
    message = container[0]
    return message.tag.removeprefix(f"{{{_SERVICE}}}"), message


def _read_texts(message: Element, name: str) -> list[str]:
    return [element.text or "" for element in message.findall(f"{{{_SERVICE}}}{name}")]


def _read_text(message: Element, name: str) -> str:
    return next(iter(_read_texts(message, name)), "")


def _check_password(password: str) -> str:
    if not _PASSWORD.fullmatch(password):
        raise _SoapFaultError("30003 - Credential not valid. Credential must have 5 to 30 characters and no blank")
    return password


def _format_boolean(value: bool) -> str:
    return "true" if value else "false"


def _build_xml_response(content: str, status: int) -> web.Response:
    envelope = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f'<soapenv:Envelope xmlns:soapenv="{_ENVELOPE}"><soapenv:Body>{content}</soapenv:Body></soapenv:Envelope>'
    )
    return web.Response(text=envelope, status=status, content_type="text/xml")
