"""Requests one URL and exits with 0 if the status is 200, else 1: the health check of our containers.

`python -m ev_service.probe URL [CA_FILE]`. Standard library only and quick to start, because it is started every few
seconds.
"""

import http.client
import ssl
import sys
from urllib.parse import urlsplit

_TIMEOUT_S = 4.0


def find_http_error(url: str, ca_file: str | None = None) -> str | None:
    """Return the reason why the status is not 200, in one sentence; None if it is.

    Args:
        url: `http://` or `https://`; asked with GET, past any proxy.
        ca_file: PEM that `https://` is verified with, else the system's.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    try:
        connection = (
            http.client.HTTPSConnection(
                host, port, timeout=_TIMEOUT_S, context=ssl.create_default_context(cafile=ca_file)
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        )
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        text = answer.read(500).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error}"
    return None if answer.status == 200 else f"{url} answered {answer.status}: {text}"


def main() -> int:
    """Ask the address on the command line."""
    reason = find_http_error(*sys.argv[1:3])
    # The container engine stores this output with the result.
    sys.stdout.write(f"{reason or 'ok'}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
