"""A backend that remembers with what it was last asked. Knows nothing of WSO2."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ev_service.errors import ConfigurationError


class EchoBackend:
    """What the backend was last asked with; header names in lower case, the path with its query as it came."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.path = ""
        self.port = 0


@contextmanager
def run_echo_backend(address: str, port: int) -> Generator[EchoBackend]:
    """Listen until the block is left.

    Args:
        address: to listen on.
        port: 0 takes a free one.

    Raises:
        ConfigurationError: nobody can listen there.
    """
    echo = EchoBackend()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            echo.headers = {name.lower(): value for name, value in self.headers.items()}
            echo.path = self.path
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the headers hold an assertion."""

    try:
        server = ThreadingHTTPServer((address, port), Handler)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}:{port}: {error.strerror}") from error
    echo.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield echo
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
