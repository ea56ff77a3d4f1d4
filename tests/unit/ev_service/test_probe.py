"""The health check of containers: one address, one verdict."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ev_service import probe


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(b'{"failing": {"source": "no reading"}}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_answer_of_200_is_healthy(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["probe", f"{served}/health"])

    assert probe.main() == 0


def test_any_other_answer_is_told_with_its_body(
    served: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["probe", f"{served}/other"])

    assert probe.main() == 1
    assert "answered 503" in (said := capsys.readouterr().out)
    assert "no reading" in said


def test_nobody_there_is_told_as_such(served: str) -> None:
    gone = served.rpartition(":")[0] + ":1"

    assert "refused" in (probe.find_http_error(f"{gone}/health") or "")


def test_a_ca_file_that_is_not_there_is_told() -> None:
    assert "No such file" in (probe.find_http_error("https://127.0.0.1:1/", "/nowhere/ca.pem") or "")
