"""A backend that records its last request."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ev_service.errors import ConfigurationError


class EchoBackend:
    """The last request to the backend."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.path = ""
        self.port = 0


@contextmanager
def run_echo_backend(address: str, port: int) -> Generator[EchoBackend]:
    """Run the backend until the context ends.

    Args:
        address: to listen on.
        port: 0 takes a free one.

    Raises:
        ConfigurationError: the address and port cannot be listened on.
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
            """Log nothing: the headers contain an assertion."""

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
