from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.http_client import HttpClient, Identity
from wso2_provisioning.users import Users

if TYPE_CHECKING:
    from tests.unit.wso2_provisioning.conftest import FakeWso2

URL = "https://localhost:9443"
ADMIN_PASSWORD = "admin-Passw0rd"


def users_of(handler: httpx.MockTransport) -> Users:
    return Users(HttpClient(None, transport=handler), URL, Identity.from_password("admin", SecretStr(ADMIN_PASSWORD)))


def test_a_role_is_there_after_it_was_added(fake: "FakeWso2") -> None:
    users = users_of(httpx.MockTransport(fake))

    users.add_role("Internal/solar_reader")

    assert users.role_exists("Internal/solar_reader")
    assert not users.role_exists("Internal/solar_writer")


def test_names_are_escaped_in_the_message(fake: "FakeWso2") -> None:
    users = users_of(httpx.MockTransport(fake))

    users.add_role("Internal/<&>")

    assert "Internal/<&>" in fake.roles


def test_an_accepted_user_who_is_not_there_afterwards_is_an_error() -> None:
    def forgetful(request: httpx.Request) -> httpx.Response:
        is_question = b"isExisting" in request.content
        return httpx.Response(200, text="<e><return>false</return></e>") if is_question else httpx.Response(202)

    with pytest.raises(RequestRefusedError, match="user evapp could not be added"):
        users_of(httpx.MockTransport(forgetful)).add_user("evapp", SecretStr("s3cret"), ["Internal/subscriber"])


def test_a_user_who_is_still_there_after_being_deleted_is_an_error() -> None:
    def stubborn(request: httpx.Request) -> httpx.Response:
        is_question = b"isExisting" in request.content
        return httpx.Response(200, text="<e><return>true</return></e>") if is_question else httpx.Response(202)

    with pytest.raises(RequestRefusedError, match="user attacker could not be deleted"):
        users_of(httpx.MockTransport(stubborn)).delete_user("attacker")


def test_a_fault_that_repeats_the_password_is_told_without_it(fake: "FakeWso2") -> None:
    with pytest.raises(RequestRefusedError, match="no such role") as caught:
        users_of(httpx.MockTransport(fake)).add_user("evapp", SecretStr("s3cret-word"), ["Internal/unknown"])

    assert "s3cret-word" not in str(caught.value)


def test_an_answer_that_is_no_xml_means_that_nothing_is_there() -> None:
    users = users_of(httpx.MockTransport(lambda _: httpx.Response(200, text="plain text")))

    assert not users.user_exists("evapp")


def test_an_entity_bomb_is_not_expanded() -> None:
    bomb = '<!DOCTYPE e [<!ENTITY a "true">]><e><return>&a;</return></e>'
    users = users_of(httpx.MockTransport(lambda _: httpx.Response(200, text=bomb)))

    assert not users.user_exists("evapp")
