"""Structured logs: one JSON object a line on stderr, a fixed phrase as message, data in fields.

No log line carries a secret: what looks like a token is struck out on its way, whoever wrote it.
"""

import logging
import re
import sys
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""The id under which the call at hand is known to gateway, services and agent."""

# What follows a scheme ends where RFC 6750 ends a token: a quote struck out with it would leave no JSON.
_TOKEN = re.compile(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]+")


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send every log record of this process to stderr as JSON.

    Args:
        service: name in each line's `service` field.
        level: lowest level that is written, a name of `logging`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeJsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    # httpx tells each call at INFO with its URL; our own clients log what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class _SafeJsonFormatter(JsonFormatter):
    def __init__(self, service: str) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  (library leaves its JSON hooks untyped)
            "{levelname}{name}{message}",
            style="{",
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger", "message": "event"},
            static_fields={"service": service},
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        log_data.pop("color_message", None)
        if (current := correlation_id.get()) is not None:
            log_data.setdefault("correlation_id", current)
        return super().process_log_record(log_data)

    def format(self, record: logging.LogRecord) -> str:
        return _TOKEN.sub("***", super().format(record))
