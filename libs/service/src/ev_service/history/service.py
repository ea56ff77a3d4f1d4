"""The history of a service that answers readings: its recorder and its route."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from fastapi import APIRouter
from prometheus_client.registry import Collector

from ev_service.clock import Clock
from ev_service.history.reading_history import ReadingHistory, SeriesOwner, find_origin
from ev_service.history.recorder import HistoryRecorder
from ev_service.history.routes import create_history_routes
from ev_service.history.store import open_store
from ev_service.sources import ServiceExtension, ServiceSettings, Source
from ev_service.tasks import run_in_background
from ev_service.telemetry import Reading


class HistoryService(ServiceExtension):
    """Keeps the readings of one source where the settings say so, and answers them.

    Args:
        settings: of the service.
        source: what is kept.
        clock: the run's clock.
        apicontext: context with version of the API that publishes it, such as `/grid/1.0.0`.

    Raises:
        ConfigurationError: the file of the database's password cannot be read.
    """

    def __init__(self, settings: ServiceSettings, source: Source[Reading], clock: Clock, apicontext: str) -> None:
        self._clock, self._apicontext, self._site_id = clock, apicontext, settings.site.id
        self._service = apicontext.split("/")[1]
        self._recorder: HistoryRecorder | None = None
        self.history: ReadingHistory | None = None
        """What is kept, for forecasts in this process; None: nothing."""
        if settings.history is None:
            return
        owner = SeriesOwner(settings.site.id, self._service, find_origin(settings.source.source))
        if (store := open_store(settings.history, owner)) is not None:
            self.history = store
            self._recorder = HistoryRecorder(source, clock, store, period_s=settings.history.period_s)

    def create_routes(self) -> APIRouter:
        """Create `GET /history`."""
        return create_history_routes(
            self.history, self._clock, apicontext=self._apicontext, site_id=self._site_id, service=self._service
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Record in the background."""
        return nullcontext() if self._recorder is None else run_in_background(self._recorder.run())

    def warnings(self) -> Mapping[str, str | None]:
        """Return why readings are not kept."""
        return {} if self._recorder is None else {"history": self._recorder.write_error()}

    def metrics(self) -> Iterable[Collector]:
        """Return what the recorder counts."""
        return () if self._recorder is None else self._recorder.metrics.collectors()
