"""All charge points of the site, behind the one port that the site asks."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ev_service.errors import ConfigurationError
from ev_service.tasks import cancel_and_wait
from ev_service.trust import Authorities
from site_twin.charge_points.charge_point import ChargePoint
from site_twin.charge_points.charge_points_file import ChargePointEntry, ChargePointsFile, read_charge_points
from site_twin.charge_points.connection import Timing
from site_twin.charge_points.quirks import MEANINGS
from site_twin.ports import NOTHING, Cars, EvseKey, EvsePlace, Offer

# A jump of the run's clock has to show in what they tell before the next one, several times a second in a fast day.
_TIMING = Timing(tick_s=0.05, meter_values_per_s=10.0)


class ConnectionSettings(Protocol):
    """What is set for the charge points."""

    @property
    def ocpp_url(self) -> str | None:
        """Where they connect."""
        ...

    @property
    def charge_points_file(self) -> Path | None:
        """Who they are."""
        ...

    @property
    def ca_file(self) -> Path | None:
        """Authorities to trust for wss://, in addition to the system's."""
        ...


class OcppFleet:
    """The charge points of a file; they run while `running` is entered."""

    def __init__(self, charge_points_file: ChargePointsFile, url: str, authorities: Authorities | None) -> None:
        self._charge_points_file, self._url, self._authorities = charge_points_file, url, authorities
        self._points: dict[str, ChargePoint] = {}

    @property
    def places(self) -> tuple[EvsePlace, ...]:
        """All EVSEs, by identity."""
        places = (
            EvsePlace(EvseKey(entry.charger_id, evse.evse_id), evse.phases, evse.max_current_a)
            for entry in self._charge_points_file.charge_points
            for evse in entry.evses
        )
        return tuple(sorted(places, key=lambda place: place.key))

    @property
    def fault_kinds(self) -> Mapping[str, str]:
        """The kinds of fault that a charge point can have."""
        return {quirk.value: meaning for quirk, meaning in MEANINGS.items()}

    def compute_offer(self, charger_id: str, evse_id: int, moment: datetime) -> Offer:
        """What an EVSE offers at a moment; nothing before it runs."""
        point = self._points.get(charger_id)
        return NOTHING if point is None else point.compute_offer(evse_id, moment)

    def next_change(self, charger_id: str, evse_id: int, after: datetime) -> datetime | None:
        """When the offer may change by itself."""
        point = self._points.get(charger_id)
        return None if point is None else point.station.next_change(evse_id, after)

    def state(self, charger_id: str) -> Mapping[str, Any]:
        """Return a charge point's own report."""
        point = self._points.get(charger_id)
        return {"is_connected": False} if point is None else point.state()

    @asynccontextmanager
    async def running(self, cars: Cars) -> AsyncGenerator[None]:
        """Connect them and keep them so."""
        self._points = {
            entry.charger_id: self._create_charge_point(entry, cars) for entry in self._charge_points_file.charge_points
        }
        tasks = [asyncio.create_task(point.run()) for point in self._points.values()]
        try:
            yield
        finally:
            await cancel_and_wait(*tasks)

    def _create_charge_point(self, entry: ChargePointEntry, cars: Cars) -> ChargePoint:
        return ChargePoint(
            entry.charger_id,
            self._url,
            entry.password,
            version=entry.ocpp_version,
            evses=[evse.plan() for evse in entry.evses],
            cars=cars,
            quirks=entry.quirks,
            authorities=self._authorities,
            timing=_TIMING,
            voltage_v=cars.meter(entry.charger_id, entry.evses[0].evse_id).voltage_v,
        )


def load_charge_points(settings: ConnectionSettings) -> OcppFleet:
    """The charge points that the settings name.

    Raises:
        ConfigurationError: something is missing, or a file cannot be used.
    """
    if settings.ocpp_url is None or settings.charge_points_file is None:
        raise ConfigurationError("TWIN_OCPP_URL and TWIN_CHARGE_POINTS_FILE must both be set")
    is_secured = settings.ocpp_url.startswith("wss://")
    authorities = Authorities(settings.ca_file, "TWIN_CA_FILE") if is_secured else None
    return OcppFleet(read_charge_points(settings.charge_points_file), settings.ocpp_url, authorities)
