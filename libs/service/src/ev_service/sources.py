"""Sources of a service's readings: the protocol, its settings, and how its health is reported."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from fastapi import APIRouter
from prometheus_client.registry import Collector
from pydantic import Field, model_validator

from ev_service.clock import Clock
from ev_service.errors import EvError
from ev_service.history.settings import HistorySettings
from ev_service.settings import RunSettings, Settings, SiteSettings, load
from ev_service.telemetry import Reading
from ev_service.web import HealthCheck

R_co = TypeVar("R_co", bound=Reading, covariant=True)

STUCK_AFTER_S = 60.0
"""Age from which a reading no longer counts as fresh [s]: the agent's stale limit, beyond which it ignores it."""

_logger = logging.getLogger(__name__)


class Source(Protocol[R_co]):
    """Gives the newest known value. Subclass to inherit the default implementations."""

    async def read(self, now: datetime) -> R_co:
        """The newest value known at `now`, aware UTC.

        Raises:
            SourceUnavailableError: there is none that may be given.
        """
        ...

    async def health_error(self, now: datetime) -> str | None:
        """What is wrong though there may still be a value to give, in one sentence; None while all is well."""
        return None

    async def wait_for_update(self) -> None:
        """Wait until `read` may give a newer value; for ever, where the source only answers when it is asked."""
        await asyncio.Event().wait()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep the connection that the source needs, from start-up to shutdown; nothing, where it needs none.

        Never fails and never waits because the other side is away: the service starts, and is unhealthy until it comes.
        """
        return nullcontext()

    def metrics(self) -> Iterable[Collector]:
        """What it counts, made without a registry: the service registers them in addition to its own."""
        return ()


class ServiceExtension(Protocol):
    """A further resource of a service, with work of its own; its failures leave the service healthy."""

    def create_routes(self) -> APIRouter:
        """Create its published routes."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep what it needs, from start-up to shutdown; never fails and never waits for another side."""
        ...

    def warnings(self) -> Mapping[str, str | None]:
        """Return the warning of each of its parts for `GET /health`, None without one."""
        ...


class UpdateSignal:
    """Wakes everybody who waits for a source's next value."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        """There is a newer value."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next one."""
        await self._event.wait()


class SourceSettings(Settings):
    """Which source a service has; each service reads this with a prefix of its own."""

    source: Literal["simulated", "replay", "mqtt", "modbus"] = Field(
        default="simulated", description="Where readings come from."
    )
    replay_file: Path | None = Field(default=None, description="CSV to replay: `timestamp` and the endpoint's fields.")
    replay_max_gap_s: float = Field(
        default=3600.0, gt=0, le=7 * 86_400, description="How long a replayed row holds at most [s]."
    )
    replay_shift_s: float = Field(
        default=0.0, allow_inf_nan=False, description="Added to every time of the replayed file [s], to play it later."
    )

    @model_validator(mode="after")
    def _replay_names_its_file(self) -> "SourceSettings":
        if self.source == "replay" and self.replay_file is None:
            prefix = self.model_config.get("env_prefix", "")
            raise ValueError(f"{prefix}REPLAY_FILE must name a CSV file when {prefix}SOURCE is replay")
        return self


@dataclass(frozen=True)
class ServiceSettings:
    """All settings of a service that answers readings."""

    source: SourceSettings
    site: SiteSettings
    run: RunSettings
    history: HistorySettings | None = None
    """Where readings are kept; None: nowhere."""


def load_service_settings(source: type[SourceSettings]) -> ServiceSettings:
    """Read them from the environment.

    Args:
        source: the service's own class, which carries its prefix.

    Raises:
        ConfigurationError: names each variable that is wrong.
    """
    return ServiceSettings(load(source), load(SiteSettings), load(RunSettings), load(HistorySettings))


def source_health(source: Source[Reading], clock: Clock, *, stuck_after_s: float = STUCK_AFTER_S) -> HealthCheck:
    """Tell fresh from stuck: the part `source` fails while it gives nothing, or nothing new.

    Args:
        source: asked at every check.
        clock: the run's clock.
        stuck_after_s: age from which a reading no longer counts as fresh [s].
    """

    async def check() -> dict[str, str | None]:
        try:
            if reason := await source.health_error(clock.now()):
                return {"source": reason}
            reading = await source.read(clock.now())
        except EvError as error:
            return {"source": error.message}
        except Exception:
            # A health check has to answer, above all when something broke that nobody thought of.
            _logger.exception("source failed")
            return {"source": "the source failed; the service's log has the reason"}
        age_s = (clock.now() - reading.timestamp).total_seconds()
        return {"source": f"the newest reading is {age_s:.0f} s old" if age_s > stuck_after_s else None}

    return check
