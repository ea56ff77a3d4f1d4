"""Users and roles by SOAP."""

from collections.abc import AsyncIterator
from typing import Any
from xml.sax.saxutils import escape

import pytest
from aiohttp import ClientResponse, encode_basic_auth
from aiohttp.test_utils import TestClient, TestServer
from defusedxml.ElementTree import fromstring

from local_gateway.keys import SigningKey
from local_gateway.management.app import create_management_app
from local_gateway.management.rest import ManagementContext
from local_gateway.management.soap_users import PATH

pytestmark = pytest.mark.anyio

ADMIN = ("admin", "admin-password")
ENVELOPE = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:u="http://service.ws.um.carbon.wso2.org">'
    "<s:Body>{}</s:Body></s:Envelope>"
)


@pytest.fixture
async def client(context: ManagementContext, key: SigningKey) -> AsyncIterator[Any]:
    async with TestClient(TestServer(create_management_app(context, key, 1 << 20))) as made:
        yield made


async def call(
    client: Any, operation: str, *arguments: tuple[str, str], user: tuple[str, str] = ADMIN
) -> ClientResponse:
    inner = "".join(f"<u:{name}>{escape(value)}</u:{name}>" for name, value in arguments)
    headers = {"Authorization": encode_basic_auth(*user)}
    return await client.post(PATH, data=ENVELOPE.format(f"<u:{operation}>{inner}</u:{operation}>"), headers=headers)


async def read_return_values(answer: ClientResponse) -> list[str]:
    assert answer.status == 200, await answer.text()
    return [e.text or "" for e in fromstring(await answer.read()).iter() if e.tag.rpartition("}")[2] == "return"]


async def fault(answer: ClientResponse) -> str:
    assert answer.status == 500
    return await answer.text()


async def test_a_role_is_there_once_it_was_added(client: Any) -> None:
    name = ("roleName", "Internal/writer")

    assert await read_return_values(await call(client, "isExistingRole", name)) == ["false"]
    assert (await call(client, "addRole", name)).status == 202
    assert await read_return_values(await call(client, "isExistingRole", name)) == ["true"]
    assert "30012" in await fault(await call(client, "addRole", name))


async def test_a_user_has_the_roles_that_were_given(client: Any, context: ManagementContext) -> None:
    user = ("userName", "evapp")

    added = await call(client, "addUser", user, ("credential", "pass<word>&1"), ("roleList", "Internal/subscriber"))
    changed = await call(
        client, "updateRoleListOfUser", user, ("deletedRoles", "Internal/subscriber"), ("newRoles", "Internal/reader")
    )

    assert (added.status, changed.status) == (202, 202)
    assert await read_return_values(await call(client, "getRoleListOfUser", user)) == [
        "Internal/everyone",
        "Internal/reader",
    ]
    assert context.users.verify("evapp", "pass<word>&1")


async def test_a_password_is_changed_by_the_administrator(client: Any, context: ManagementContext) -> None:
    user = ("userName", "evapp")
    await call(client, "addUser", user, ("credential", "first-password"))

    assert (await call(client, "updateCredentialByAdmin", user, ("newCredential", "second-password"))).status == 202

    assert context.users.verify("evapp", "second-password")
    for password, is_right in (("second-password", "true"), ("first-password", "false")):
        assert await read_return_values(await call(client, "authenticate", user, ("credential", password))) == [
            is_right
        ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([("userName", "admin"), ("credential", "long-enough")], "30004"),
        ([("userName", "evapp"), ("credential", "tiny")], "30003"),
        ([("userName", "evapp"), ("credential", "has a blank")], "30003"),
        ([("userName", "evapp"), ("credential", "x" * 31)], "30003"),
        ([("userName", "x"), ("credential", "long-enough")], "31301"),
        ([("userName", "evapp"), ("credential", "long-enough"), ("roleList", "Internal/nobody")], "30010"),
    ],
)
async def test_an_invalid_user_is_a_fault(client: Any, arguments: list[tuple[str, str]], code: str) -> None:
    assert code in await fault(await call(client, "addUser", *arguments))


async def test_only_an_administrator_can_call_the_service(client: Any, context: ManagementContext) -> None:
    context.users.add("evapp", "evapp-password", ["Internal/subscriber"])

    for user in (("evapp", "evapp-password"), ("admin", "wrong")):
        assert (await call(client, "isExistingRole", ("roleName", "admin"), user=user)).status == 401


@pytest.mark.parametrize(
    "body",
    [
        "no xml",
        "<a/>",
        ENVELOPE.format(""),
        ENVELOPE.format("<u:deleteEverything/>"),
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        + ENVELOPE.format("<u:isExistingRole>&e;</u:isExistingRole>"),
    ],
)
async def test_an_invalid_message_is_a_fault(client: Any, body: str) -> None:
    answer = await client.post(PATH, data=body, headers={"Authorization": encode_basic_auth(*ADMIN)})

    assert "faultstring" in await fault(answer)


async def test_a_role_that_was_deleted_is_nobodys(client: Any, context: ManagementContext) -> None:
    await call(client, "addRole", ("roleName", "Internal/reader_of_all"))
    context.users.add("evapp", "evapp-password", ["Internal/reader_of_all"])

    assert (await call(client, "deleteRole", ("roleName", "Internal/reader_of_all"))).status == 202

    assert not context.users.role_exists("Internal/reader_of_all")
    assert "internal/reader_of_all" not in context.users.get_roles("evapp")
    assert "30016" in await fault(await call(client, "deleteRole", ("roleName", "admin")))


async def test_a_user_can_be_deleted_and_the_administrator_cannot(client: Any) -> None:
    name = ("userName", "passing")
    await call(client, "addUser", name, ("credential", "a-password"))

    assert (await call(client, "deleteUser", name)).status == 202
    assert await read_return_values(await call(client, "isExistingUser", name)) == ["false"]
    assert "30007" in await fault(await call(client, "deleteUser", name))
    assert "deployment.toml" in await fault(await call(client, "deleteUser", ("userName", "admin")))
