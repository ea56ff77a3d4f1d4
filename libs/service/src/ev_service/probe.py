"""Asks one address and tells by its exit code whether the answer was 200: the health check of our containers.

`python -m ev_service.probe URL [CA_FILE]`. Standard library only and quick to start, because it is started every few
seconds; knows nothing of what it asks.
"""

import http.client
import ssl
import sys
from urllib.parse import urlsplit

_TIMEOUT_S = 4.0


def find_http_error(url: str, ca_file: str | None = None) -> str | None:
    """Say in one sentence what stands in the way of a 200, None when nothing does.

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
    # Kept by the engine beside the verdict, for whoever looks why.
    sys.stdout.write(f"{reason or 'ok'}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
