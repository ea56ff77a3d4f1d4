"""Nothing that the agent prints, logs or answers holds a secret or a token, whatever fails."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from charging_agent.readings.apis import GRID, SOURCES
from ev_service.errors import ConfigurationError
from wso2_terms import codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.charging_agent.conftest import AgentApplication, FakeGateway

pytestmark = pytest.mark.anyio

SECRET = "s3cret-of-evapp"
BASIC = base64.b64encode(f"evapp-id:{SECRET}".encode()).decode()
TOKEN = "token-1"
TOKEN_PATH = "/oauth2/token"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJldmFwcCJ9.c2lnbmF0dXJl"


def assert_none_is_in(shown: str) -> None:
    for secret in (SECRET, BASIC, TOKEN, JWT, "evapp-id"):
        assert secret not in shown


async def shown_by(served: AgentApplication, capsys: pytest.CaptureFixture[str], rounds: int = 3) -> str:
    """Everything that the agent answers and writes during a few decisions."""
    answers: list[str] = []
    async with served.client() as client:
        logging.getLogger().setLevel(logging.DEBUG)
        for _ in range(rounds):
            for path in ("/optimize-charging", "/health", "/", "/metrics", "/openapi.json", "/nowhere"):
                answer = await client.get(path)
                answers.append(answer.text + str(answer.headers))
            served.clock.advance(30)
    written = capsys.readouterr()
    return "".join(answers) + written.out + written.err


async def answer_with_jwt(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"access_token": JWT, "expires_in": 20})


async def fail_with_the_header(request: httpx.Request) -> httpx.Response:
    raise RuntimeError(f"could not send Authorization: {request.headers['authorization']}")


TROUBLES: dict[str, Callable[[FakeGateway], None]] = {
    "none": lambda gateway: gateway.gives(GRID.path),
    "token refused": lambda gateway: gateway.says(TOKEN_PATH, 401, {"error_description": f"{SECRET} is wrong"}),
    "token endpoint down": lambda gateway: gateway.says(TOKEN_PATH, 503),
    "a token that no header can hold": lambda gateway: gateway.says(
        TOKEN_PATH, 200, {"access_token": f"{JWT} {SECRET}", "expires_in": 60}
    ),
    "a body that echoes": lambda gateway: gateway.says(
        GRID.path, 200, {"token": JWT, "authorization": f"Basic {BASIC}", "load_percent": SECRET}
    ),
    "401": lambda gateway: gateway.refuses(GRID.path, codes.INVALID_CREDENTIALS),
    "403": lambda gateway: gateway.refuses(GRID.path, codes.DENIED),
    "429": lambda gateway: gateway.refuses(GRID.path, codes.SUBSCRIPTION_THROTTLED),
    "500": lambda gateway: gateway.refuses(GRID.path, codes.CONNECTION_FAILED),
    "an unforeseen error": lambda gateway: gateway.does(GRID.path, fail_with_the_header),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_secret_shows(served: AgentApplication, capsys: pytest.CaptureFixture[str], trouble: str) -> None:
    served.gateway.does(TOKEN_PATH, answer_with_jwt)
    TROUBLES[trouble](served.gateway)

    shown = await shown_by(served, capsys)

    assert_none_is_in(shown)
    assert "request answered" in shown


@pytest.mark.usefixtures("hurried")
async def test_no_secret_shows_when_everything_hangs(
    served: AgentApplication, capsys: pytest.CaptureFixture[str]
) -> None:
    served.gateway.hangs(TOKEN_PATH)
    for api in SOURCES:
        served.gateway.hangs(api.path)

    assert_none_is_in(await shown_by(served, capsys, rounds=1))


async def test_a_log_of_level_debug_shows_no_secret_of_the_http_library(
    served: AgentApplication, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")

    assert_none_is_in(await shown_by(served, capsys))


def test_a_refusal_to_start_shows_no_secret(served: AgentApplication) -> None:
    placeholder = SecretStr(f"change-me-{SECRET}")
    served.gateway_settings = served.gateway_settings.model_copy(update={"client_secret": placeholder})

    with pytest.raises(ConfigurationError) as refused:
        served.app()

    assert SECRET not in str(refused.value)
