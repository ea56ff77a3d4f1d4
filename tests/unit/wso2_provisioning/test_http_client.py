import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from ev_service.certificates import Server, make_servers
from ev_service.errors import ConfigurationError
from ev_service.key_files import pem, write_pair
from wso2_provisioning.errors import CredentialsRefusedError, NotReadyError, RequestRefusedError
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object

URL = "https://localhost:9443/api/am/publisher/v4/apis"
ADMIN = Identity.from_password("admin", SecretStr("with:colon"))


class Answers:
    """Answers in turn; None stands for nobody there."""

    def __init__(self, *answers: httpx.Response | None) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if answer is None:
            raise httpx.ConnectError("Connection refused", request=request)
        return answer


def wire_to(answers: Answers) -> HttpClient:
    return HttpClient(None, transport=httpx.MockTransport(answers), sleep=lambda _: None)


def test_a_call_that_finds_nobody_is_made_again() -> None:
    answers = Answers(None, None, httpx.Response(200, json={"count": 0}))

    answer = wire_to(answers).call("GET", URL, ADMIN)

    assert parse_json_object(answer) == {"count": 0}
    assert len(answers.requests) == 3


def test_a_call_that_never_finds_anybody_ends_with_the_address() -> None:
    with pytest.raises(NotReadyError, match="https://localhost:9443 cannot be reached"):
        wire_to(Answers(*[None] * 10)).call("GET", URL, ADMIN)


def test_a_refusal_is_not_repeated_and_keeps_the_words_of_wso2() -> None:
    body = {"code": 900305, "message": "Invalid", "description": "The tier is unknown"}
    answers = Answers(httpx.Response(400, json=body))

    with pytest.raises(RequestRefusedError, match="v4/apis was refused with 400, code 900305: The tier") as caught:
        wire_to(answers).call("POST", URL, ADMIN)

    assert (caught.value.status, caught.value.wso2_code) == (400, 900305)


def test_a_401_names_the_user_and_never_the_password() -> None:
    with pytest.raises(CredentialsRefusedError, match="admin") as caught:
        wire_to(Answers(httpx.Response(401))).call("GET", URL, ADMIN)

    assert "with:colon" not in str(caught.value)


def test_a_page_of_html_is_recognised_as_not_being_wso2() -> None:
    answer = wire_to(Answers(httpx.Response(200, html="<html>Login</html>"))).call("GET", URL, ADMIN)

    with pytest.raises(RequestRefusedError, match="is it WSO2"):
        parse_json_object(answer)


def test_no_session_cookie_speaks_for_a_later_call() -> None:
    answers = Answers(httpx.Response(200, headers={"Set-Cookie": "JSESSIONID=1; Path=/"}), httpx.Response(200))
    http = wire_to(answers)

    http.send_once("GET", URL, ADMIN)
    http.send_once("GET", URL)

    assert "Cookie" not in answers.requests[1].headers


def test_a_ca_file_that_is_no_pem_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")

    with pytest.raises(ConfigurationError, match="WSO2_CA_FILE"):
        HttpClient(tmp_path / "ca.pem")


def test_a_changed_ca_file_is_trusted_from_the_next_call_on(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    first, second = (make_servers(name, [Server("localhost", ["localhost"])], datetime.now(UTC)) for name in "ab")
    for name, (_, (pair,)) in (("first", first), ("second", second)):
        write_pair(tmp_path, name, pair)
    ca_file.write_bytes(pem(first[0]))
    with HttpClient(ca_file, sleep=lambda _: None) as http:
        with answering(tmp_path, "first") as url:
            assert http.send_once("GET", url).status_code == 200
        with answering(tmp_path, "second") as url:
            with pytest.raises(NotReadyError, match="not trusted"):
                http.send_once("GET", url)
            ca_file.write_bytes(pem(first[0], second[0]))
            assert http.send_once("GET", url).status_code == 200
            ca_file.write_bytes(pem(first[0]))
            with pytest.raises(NotReadyError, match="not trusted"):
                http.send_once("GET", url)


@contextmanager
def answering(folder: Path, name: str) -> Generator[str]:
    """A server on loopback with that certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
