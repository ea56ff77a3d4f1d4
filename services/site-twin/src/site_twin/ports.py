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
    """An EVSE as it is built.

    phases: phases of the site to which it is wired, by its own order, e.g. (1, 2, 3) or (2,).
    max_current_a [A]: what it can give at most on each of them.
    """

    key: EvseKey
    phases: tuple[int, ...]
    max_current_a: float


@dataclass(frozen=True, slots=True)
class Offer:
    """What an EVSE offers to the car.

    limit_a [A]: per phase, >= 0; a car draws nothing under 6 A. 0 while no transaction runs or the contactor is open.
    phases: how many of its phases it closes; None: all that it has.
    """

    limit_a: float
    phases: int | None = None


NOTHING = Offer(0.0)


@dataclass(frozen=True, slots=True)
class PluggedCar:
    """The car that stands at an EVSE.

    car_id: differs for every car that comes; id_token: what its driver shows to the charger.
    plugged_in_at, departure: aware UTC, of the run.
    energy_wanted_kwh [kWh]: wanted in all, > 0. energy_got_kwh [kWh]: got so far.
    phases: phases of the car's own charger, 1..3. min_current_a, max_current_a [A]: what it can draw per phase.
    is_asking: whether it would draw if enough were offered; False once it is full.
    """

    car_id: str
    id_token: str
    plugged_in_at: datetime
    departure: datetime
    energy_wanted_kwh: float
    energy_got_kwh: float
    phases: int
    min_current_a: float
    max_current_a: float
    is_asking: bool


@dataclass(frozen=True, slots=True)
class EvseMeter:
    """What the meter of an EVSE says.

    measured_at: aware UTC, of the run.
    current_a [A]: on L1, L2, L3 of the site. power_kw [kW]: >= 0. voltage_v [V]: between phase and neutral.
    register_kwh [kWh]: all energy ever given; never goes back.
    """

    measured_at: datetime
    current_a: tuple[float, float, float]
    power_kw: float
    voltage_v: float
    register_kwh: float


class Cars(Protocol):
    """What a charge point asks the site. Every answer holds at now; asking moves nothing that others rely on."""

    def now(self) -> datetime:
        """The run's time, aware UTC, never back."""
        ...

    def settle(self) -> datetime:
        """Book what was drawn until now, and tell now.

        To be called before anything that changes what `ChargePoints.offered` answers for moments from now on (a
        profile set or cleared, a transaction started or stopped, a restart), so that the past keeps its offers.
        Not to be called inside `ChargePoints.offered` or `ChargePoints.next_change`.
        """
        ...

    def car_at(self, charger_id: str, evse_id: int) -> PluggedCar | None:
        """The car that stands there now."""
        ...

    def meter(self, charger_id: str, evse_id: int) -> EvseMeter:
        """What the EVSE's meter says now, in truth: a charge point that lies does so itself."""
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

        Pure, and cheap: asked for every step of the time that is caught up with.
        """
        ...

    def next_change(self, charger_id: str, evse_id: int, after: datetime) -> datetime | None:
        """The first moment later than `after` at which `offered` may change by itself; None: never.

        A profile that lapses or a period of a schedule that begins; the site ends its step there.
        """
        ...

    def state(self, charger_id: str) -> Mapping[str, Any]:
        """What `GET /site` tells of a charger besides (`is_connected`, `ocpp_version` …); JSON values."""
        ...

    def running(self, cars: Cars) -> AbstractAsyncContextManager[None]:
        """Connect the charge points and keep them so; entered once, by the lifespan of the application."""
        ...
