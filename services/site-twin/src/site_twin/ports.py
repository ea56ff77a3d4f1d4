"""How the site and its charge points meet: the site knows cars and physics, the charge points know OCPP.

Everything here is called synchronously in one event loop. The charge points ask and poll; the site asks what is
offered while it catches up with the run's clock, also for moments that are already past.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol


class EvseKey(NamedTuple):
    """One EVSE of the site."""

    charger_id: str
    evse_id: int


@dataclass(frozen=True, slots=True)
class EvsePlace:
    """An EVSE as it is built."""

    key: EvseKey
    phases: tuple[int, ...]
    """Phases of the site to which it is wired, by its own order, e.g. (1, 2, 3) or (2,)."""

    max_current_a: float
    """What it can give at most on each of them [A]."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What an EVSE offers to the car."""

    limit_a: float
    """Current per phase [A], >= 0; a car draws nothing below 6 A. 0 without a transaction or with an open contactor."""

    phases: int | None = None
    """How many of its phases it closes; None: all that it has."""


NOTHING = Offer(0.0)


@dataclass(frozen=True, slots=True)
class PluggedCar:
    """The car that is plugged in at an EVSE.

    plugged_in_at, departure: aware UTC, of the run. min_current_a, max_current_a [A]: what it can draw per phase.
    """

    car_id: str
    """Differs for every car that comes."""

    id_token: str
    """What its driver shows to the charger."""

    plugged_in_at: datetime
    departure: datetime
    energy_wanted_kwh: float
    """Energy requested in total [kWh], > 0."""

    energy_got_kwh: float
    """Energy received so far [kWh]."""

    phases: int
    """Phases of the car's own charger, 1..3."""

    min_current_a: float
    max_current_a: float
    is_asking: bool
    """Whether it would draw if enough were offered; False once it is full."""


@dataclass(frozen=True, slots=True)
class EvseMeter:
    """Values of an EVSE's meter."""

    measured_at: datetime
    """Aware UTC, of the run."""

    current_a: tuple[float, float, float]
    """Current on L1, L2, L3 of the site [A]."""

    power_kw: float
    """Active power [kW], >= 0."""

    voltage_v: float
    """Voltage between phase and neutral [V]."""

    register_kwh: float
    """All energy ever given [kWh]; never goes back."""


class Cars(Protocol):
    """What a charge point asks the site. Every answer holds at now; asking moves nothing that others rely on."""

    def now(self) -> datetime:
        """The run's time, aware UTC, never back."""
        ...

    def settle(self) -> datetime:
        """Account for the energy drawn until now, and return now.

        To be called before anything that changes what `ChargePoints.compute_offer` returns for moments from now on (a
        profile set or cleared, a transaction started or stopped, a restart), so that the past keeps its offers.
        Not to be called inside `ChargePoints.compute_offer` or `ChargePoints.next_change`.
        """
        ...

    def car_at(self, charger_id: str, evse_id: int) -> PluggedCar | None:
        """The car that stands there now."""
        ...

    def meter(self, charger_id: str, evse_id: int) -> EvseMeter:
        """Return the true values of the EVSE's meter; a charge point that misreports changes them itself."""
        ...

    def faults(self, charger_id: str) -> frozenset[str]:
        """The kinds of fault ordered for this charger that are in force now."""
        ...


class ChargePoints(Protocol):
    """What the site asks the charge points."""

    @property
    def places(self) -> tuple[EvsePlace, ...]:
        """All EVSEs, by identity."""
        ...

    @property
    def fault_kinds(self) -> Mapping[str, str]:
        """The kinds of fault that a charge point can have, each with what it does in one sentence."""
        ...

    def compute_offer(self, charger_id: str, evse_id: int, moment: datetime) -> Offer:
        """What the EVSE offers at a moment between the last `Cars.settle` and now, by all that it holds.

        Must be cheap and without side effects: called for every step of a catch-up.
        """
        ...

    def next_change(self, charger_id: str, evse_id: int, after: datetime) -> datetime | None:
        """The first moment later than `after` at which the offer may change by itself; None: never.

        A profile that lapses or a period of a schedule that begins; the site ends its step there.
        """
        ...

    def state(self, charger_id: str) -> Mapping[str, Any]:
        """Further fields of a charger in `GET /site` (`is_connected`, `ocpp_version` …); JSON values."""
        ...

    def running(self, cars: Cars) -> AbstractAsyncContextManager[None]:
        """Connect the charge points and keep them so; entered once, by the lifespan of the application."""
        ...
