"""Readings of the simulated site from the process that plays it: the site twin."""

import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import httpx
from pydantic import ValidationError

from ev_service.errors import SourceUnavailableError
from ev_service.sources import Source
from ev_service.telemetry import Reading

R = TypeVar("R", bound=Reading)

TIMEOUT_S = 1.0
"""How long the twin has to answer [s]: it only computes, and the gateway's caller waits for the answer."""

_logger = logging.getLogger(__name__)


class TwinSource(Source[R]):
    """One of the twin's answers, asked anew for every reading: the twin advances by being asked."""

    def __init__(self, model: type[R], url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Ask the twin.

        Args:
            model: what it answers, as it travels.
            url: where it answers that, whole.
            transport: else the network.
        """
        self._model, self._url, self._transport = model, url, transport
        self._http: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep connections to the twin."""
        # Reading the system's authorities takes time and 4 MB, and plain HTTP needs none.
        trusted = True if self._url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(
            timeout=TIMEOUT_S,
            transport=self._transport,
            verify=trusted,
            # Proxies and .netrc of the environment are for the world outside, and the twin is not outside.
            trust_env=False,
        ) as self._http:
            yield
        self._http = None

    async def read(self, now: datetime) -> R:
        """Return the twin's current reading; its clock is the run's.

        Raises:
            SourceUnavailableError: it does not answer, or not with a reading.
        """
        if self._http is None:
            raise SourceUnavailableError("the site twin is not asked yet: the service is starting or stopping")
        try:
            answer = await self._http.get(self._url)
            answer.raise_for_status()
            return self._model.model_validate_json(answer.content)
        except httpx.HTTPStatusError as error:
            raise SourceUnavailableError(f"the site twin answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            _logger.debug("site twin not reached", exc_info=error)
            raise SourceUnavailableError("the site twin does not answer") from error
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
            raise SourceUnavailableError(f"the site twin answered no reading: {fields or 'not a reading'}") from error
