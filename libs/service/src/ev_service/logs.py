"""Structured logs: one JSON object a line on stderr, a fixed phrase as message, data in fields.

No log line carries a secret: what looks like a token is struck out on its way, whoever wrote it.
"""

import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
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
    # httpx logs each call at INFO with its URL; our own clients log what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class SeldomLog:
    """Warnings about what others can cause as often as they like: one line for each cause in a while.

    Args:
        logger: where they are written.
        every_s: between two lines of one cause [s, real time].
    """

    _MOST_CAUSES = 1000

    def __init__(self, logger: logging.Logger, every_s: float = 60.0) -> None:
        self._logger, self._every_s = logger, every_s
        self._causes: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def warn(self, event: str, cause: str, fields: Mapping[str, object]) -> None:
        """Write a line unless one of this cause was written just now; it gives the number of lines left out before it.

        Args:
            event: the fixed phrase.
            cause: who or what is behind it, such as an address.
            fields: further fields of the line.
        """
        moment_s = time.monotonic()
        written_s, left_out = self._causes.get(cause, (-self._every_s, 0))
        if moment_s - written_s < self._every_s:
            self._causes[cause] = written_s, left_out + 1
            return
        self._causes[cause] = moment_s, 0
        self._causes.move_to_end(cause)
        if len(self._causes) > self._MOST_CAUSES:
            self._causes.popitem(last=False)
        self._logger.warning(event, extra={**fields, "left_out": left_out})


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
