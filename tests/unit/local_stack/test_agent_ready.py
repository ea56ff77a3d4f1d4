"""The stack waits for an agent that can decide, or that the gateway keeps out because somebody stopped it."""

import ssl
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from local_stack import stack


class Health(BaseHTTPRequestHandler):
    """Answers as the agent does while it has no reading."""

    error = ""

    def do_GET(self) -> None:
        body = f'{{"failing":{{"readings":"no grid reading young enough to decide from ({self.error})"}}}}'.encode()
        self.send_response(503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Generator[str]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()
        thread.join()


def test_the_site_runs_on_with_an_agent_that_was_stopped(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Health, "error", "blocked")

    assert stack.probe_agent(url, ssl.create_default_context()) is None


@pytest.mark.parametrize("error", ["timeout", "token_refused", "backend_refused"])
def test_an_agent_without_readings_is_waited_for(url: str, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    monkeypatch.setattr(Health, "error", error)

    assert error in (stack.probe_agent(url, ssl.create_default_context()) or "")
