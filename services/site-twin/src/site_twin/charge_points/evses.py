"""An EVSE as its charger knows it: how it is built, the car that stands there, the transaction that runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from site_twin.ports import EvseMeter, PluggedCar


class Activity(StrEnum):
    """What an EVSE does, in the terms of 1.6, which distinguishes more than 2.0.1 does."""

    AVAILABLE = "Available"
    PREPARING = "Preparing"
    CHARGING = "Charging"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"
    FINISHING = "Finishing"


@dataclass(frozen=True, slots=True)
class EvsePlan:
    """An EVSE as it is built."""

    evse_id: int
    phases: tuple[int, ...] = (1, 2, 3)
    """Phases of the site on its lines L1, L2, L3."""

    max_current_a: float = 32.0
    """The most it gives on each [A]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Meter values as the charger reports them."""

    at: datetime
    lines_a: tuple[float, ...]
    """On the EVSE's own lines [A], L1 first."""

    power_w: float
    offered_a: float
    """Per line [A]."""

    energy_wh: int
    """The register [Wh]."""

    def differs(self, other: "Reading", by_a: float) -> bool:
        """Whether a current or what is offered is another one."""
        pairs = zip((*self.lines_a, self.offered_a), (*other.lines_a, other.offered_a), strict=True)
        return any(abs(mine - theirs) > by_a for mine, theirs in pairs)


@dataclass(slots=True)
class Transaction:
    """One car's charging, from being authorized to its end."""

    car_id: str
    id_token: str
    started_at: datetime
    remote_start_id: int | None = None
    wire_id: str | None = None
    """What the central system calls it; None until it said so (1.6)."""

    seq_no: int = 0
    """Of the next event (2.0.1)."""

    local_id: str = field(default_factory=lambda: str(uuid4()))

    def next_seq_no(self) -> int:
        """The number of the event that is made now."""
        self.seq_no += 1
        return self.seq_no - 1


@dataclass(slots=True)
class Evse:
    """The state of one EVSE."""

    plan: EvsePlan
    activity: Activity = Activity.AVAILABLE
    car: PluggedCar | None = None
    transaction: Transaction | None = None
    is_new: bool = False
    """The car came, and nobody was asked yet whether it may charge."""

    is_unlimited: bool = False
    """It forgot its limit after a pause."""

    last_reported: Reading | None = None
    """The meter values that were sent last."""

    @property
    def is_suspended(self) -> bool:
        """Whether a transaction runs in which nothing is charged."""
        return self.activity in (Activity.SUSPENDED_EV, Activity.SUSPENDED_EVSE)


def samples(reading: Reading) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    """Each measurand with its unit, its value, and its phase where it has one; the same words in both versions."""
    yield "Power.Active.Import", "W", round(reading.power_w, 1), {}
    for line, current_a in enumerate(reading.lines_a, start=1):
        yield "Current.Import", "A", round(current_a, 2), {"phase": f"L{line}"}
    yield "Current.Offered", "A", round(reading.offered_a, 2), {}
    yield "Energy.Active.Import.Register", "Wh", reading.energy_wh, {}


def read(plan: EvsePlan, metered: EvseMeter, offered_a: float) -> Reading:
    """Meter values on the EVSE's own lines: its L1 is the first phase of the site that it is wired to."""
    return Reading(
        at=metered.measured_at,
        lines_a=tuple(metered.current_a[phase - 1] for phase in plan.phases),
        power_w=metered.power_kw * 1000,
        offered_a=offered_a,
        energy_wh=round(metered.register_kwh * 1000),
    )
