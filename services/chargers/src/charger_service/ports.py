"""Interfaces between the OCPP package and the control of charging.

The OCPP package exchanges messages with chargers. The control of charging decides which current each EVSE may draw.
Everything runs in one event loop; no call here blocks it. Chargers and EVSEs are registered ones; what a charger
reports of others is not passed on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Protocol

from pydantic import ConfigDict, Field

from ev_service.charging import EvseState


class CommandStatus(StrEnum):
    """Result of a command to a charger.

    rejected: the charger does not do it now. not_supported: it never will.
    no_answer: whether the charger does it is not known: no answer in time, or the connection broke before it.
    not_connected: the command was not sent.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SUPPORTED = "not_supported"
    NO_ANSWER = "no_answer"
    NOT_CONNECTED = "not_connected"


ConfigurationKey = Annotated[str, Field(min_length=1, max_length=50)]
"""As OCPP 1.6 bounds it (CiString50Type)."""
ConfigurationValue = Annotated[str, Field(max_length=500)]
"""As OCPP 1.6 bounds it (CiString500Type)."""


class LimitPurpose(StrEnum):
    """`chargingProfilePurpose` of a limit as OCPP 1.6 names it (2.0.1: ChargingStationMaxProfile)."""

    TX = "TxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    CHARGE_POINT_MAX = "ChargePointMaxProfile"


class RateUnit(StrEnum):
    """`chargingRateUnit` of a limit."""

    AMPERES = "A"
    WATTS = "W"


@dataclass(frozen=True, slots=True)
class LimitMethod:
    """The kind of charging profile by which a charger gets its limits."""

    purpose: LimitPurpose
    stack_level: int
    unit: RateUnit

    @property
    def replaces_fallback(self) -> bool:
        """Whether a limit replaces the fallback, and holds until another profile replaces it."""
        return self.purpose is not LimitPurpose.TX and self.stack_level == 0

    @property
    def outlives_transaction(self) -> bool:
        """Whether a limit holds beyond its transaction, until it lapses or is cleared."""
        return self.purpose is not LimitPurpose.TX and not self.replaces_fallback


@dataclass(frozen=True, slots=True)
class Reply:
    """A charger's reply to a command."""

    answer: CommandStatus
    detail: str = ""
    """Reason that the charger gave, for people."""
    method: LimitMethod | None = field(default=None, compare=False)
    """Method by which a limit was sent that is or may be in force; None: there is none, or it was no limit."""


@dataclass(frozen=True, slots=True)
class TransactionLimit:
    """A limit on a running transaction, above the EVSE's fallback for as long as it is valid."""

    evse_id: int
    transaction_id: str
    limit_a: float
    """Limit per phase [A]; 0 pauses and keeps the transaction. It is sent in tenths, rounded down."""
    valid_until: datetime
    """Time at which the charger itself drops the limit, in the run's clock.

    With a method that replaces the fallback (`LimitMethod`) the charger does not drop it.
    """
    phases: int | None = None
    """Number of phases to charge on; None: as wired."""
    phases_in_use: int | None = None
    """Number of phases on which the car draws, to convert amperes into watts; None: not known, as wired."""


class ChargePoints(Protocol):
    """The chargers, as the control of charging commands them.

    A charger gets one command at a time, in the order of the calls (OCPP-J), so a call may wait behind others. Each
    call ends within the timeouts of the OCPP package (some ten seconds for each command before it). A caller that
    waits for less time leaves it running; a late reply has the same effect as one in time. What a charger sends
    after its reply is reported after the caller has that reply.
    """

    def is_connected(self, charger_id: str) -> bool:
        """Whether the charger is connected now."""
        ...

    def last_seen(self, charger_id: str) -> datetime | None:
        """When a message of the charger last arrived, in the run's clock; None: never since this process started."""
        ...

    async def set_limit(self, charger_id: str, limit: TransactionLimit) -> Reply:
        """Limit a running transaction; replaces the limit set before. The reply names the method that was used."""
        ...

    async def clear_limit(self, charger_id: str, evse_id: int) -> Reply:
        """Clear the limit, so that the EVSE falls to its fallback; accepted where there was none."""
        ...

    async def set_fallback(self, charger_id: str, evse_id: int, limit_a: float) -> Reply:
        """Set the EVSE's default profile: its limit per phase [A] where no other holds; it does not lapse."""
        ...

    async def clear_fallback(self, charger_id: str, evse_id: int) -> Reply:
        """Clear the default profile; accepted where there was none."""
        ...

    async def limit_in_force(self, charger_id: str, evse_id: int) -> tuple[Reply, float | None]:
        """Ask for the limit in force by the charger's report, per phase [A]; None: it does not report one."""
        ...

    async def start(self, charger_id: str, evse_id: int, id_token: str) -> Reply:
        """Request the start of a transaction; the start itself is reported as any other."""
        ...

    async def stop(self, charger_id: str, transaction_id: str) -> Reply:
        """Request the end of a transaction; the end itself is reported as any other."""
        ...

    async def ask_meter_values(self, charger_id: str, evse_id: int) -> Reply:
        """Request meter values now; they are reported as any others."""
        ...

    async def reset(self, charger_id: str) -> Reply:
        """Request a restart of the charger."""
        ...


@dataclass(frozen=True, slots=True)
class ChargerModel:
    """Make of a charger, as it reports it."""

    vendor: str
    model: str
    firmware_version: str | None = None


@dataclass(frozen=True, slots=True)
class KnownMethod:
    """A method by which a charger accepted limits."""

    method: LimitMethod
    make: ChargerModel | None = None
    """Make of the charger at that time; None: it had not reported it."""


@dataclass(frozen=True, slots=True)
class ChargerCapabilities:
    """Capabilities of a charger for limits, as far as it reports them.

    The OCPP package adapts its commands to them.
    """

    max_stack_level: int = 1
    """Highest stack level of its profiles; 1 where it does not report it."""
    takes_amperes: bool = True
    """Whether its profiles may be in amperes; they may be in amperes, watts or both."""
    takes_watts: bool = True
    """Whether its profiles may be in watts."""
    switches_phases: bool = False
    """Whether it can change the number of phases."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """What a charger needs that others do not; None: nothing is known, and it is treated as any other."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    autostart: bool | None = None
    """Whether the service requests a transaction for a plugged-in car if the charger does not start one by itself."""
    limit_purpose: LimitPurpose | None = None
    """Purpose with which its limits are sent first."""
    rate_unit: RateUnit | None = None
    """Unit in which its limits are sent first."""
    stack_level: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Highest stack level that it accepts."""
    remote_start_configuration: Mapping[ConfigurationKey, ConfigurationValue] | None = None
    """Keys that ChangeConfiguration (OCPP 1.6) sets before each remote start."""


@dataclass(frozen=True, slots=True)
class TransactionStarted:
    """Start of a transaction.

    The same one may be reported more than once, also after its end: an ended transaction stays ended. A start ends any
    other transaction of the same EVSE whose end was not reported.
    """

    charger_id: str
    evse_id: int
    transaction_id: str
    started_at: datetime
    energy_kwh: float | None = None
    """The meter's register at the start [kWh]; None: not reported."""
    id_token: str | None = None
    """Token of the driver; None: none was presented."""
    is_stored: bool = False
    """Whether the charger marked the message as stored while it was offline."""


@dataclass(frozen=True, slots=True)
class TransactionUpdated:
    """A transaction that continues by its charger's report, whether or not its start was reported."""

    charger_id: str
    evse_id: int | None
    """The EVSE; None: the charger does not name it."""
    transaction_id: str
    reported_at: datetime | None
    """Time by the charger's clock; None: not reported."""
    is_stored: bool = False
    """Whether the charger marked the message as stored while it was offline."""
    state: EvseState | None = None
    """State of the EVSE in the same message; None: not reported."""
    id_token: str | None = None
    """Token in the same message; None: none."""


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """End of a transaction; may be reported more than once, and for an unknown one."""

    charger_id: str
    transaction_id: str
    ended_at: datetime
    energy_kwh: float | None = None
    """The meter's register at the end [kWh]; None: not reported."""
    reason: str | None = None
    """Reason as the standard names it; None: not reported."""


@dataclass(frozen=True, slots=True)
class ChargingNeeds:
    """Needs that a car reports (OCPP 2.0.1 NotifyEVChargingNeeds)."""

    energy_wanted_kwh: float | None = None
    """Energy wanted from now on [kWh]."""
    departure: datetime | None = None
    """Time of departure."""
    max_current_a: float | None = None
    """Highest current per phase that the car can take [A]."""


@dataclass(frozen=True, slots=True)
class MeterReading:
    """Values of an EVSE's meter at one moment; what it did not report is None."""

    reported_at: datetime | None
    """Time by the charger's clock, which may be wrong by any amount; None: not reported.

    It only orders the values of one EVSE; a value that is sent as it happens was measured when it arrives.
    """
    transaction_id: str | None = None
    current_a: tuple[float, float, float] | None = None
    """Current on L1, L2, L3 of the charger (not of the site), where it names phases [A]."""
    current_each_a: float | None = None
    """Current where it reports one without a phase: the same on each phase in use [A]."""
    neutral_a: float | None = None
    """Current on the neutral, where it reports no phase and no current without one [A]."""
    power_kw: float | None = None
    """Power drawn on all phases together [kW]."""
    energy_kwh: float | None = None
    """The register, which only grows [kWh]."""
    is_stored: bool = False
    """Whether the charger stored the value while it was offline, or while it was not asked."""


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """A violation of the standard's schema by a charger's message or response."""

    message: str
    """The message's action."""
    reason: str
    """Place and kind of the violation, without the charger's values."""
    is_refused: bool
    """Whether the message was refused; otherwise what is valid in it was used."""


class ChargerEvents(Protocol):
    """Events of chargers, which the OCPP package reports to the control of charging.

    Synchronous methods return at once. `on_transaction_started` and `on_transaction_ended` are awaited before the
    charger gets its answer: when they return, the event is persisted; when they raise, the charger gets an error and
    repeats its message. Calls to a charger made meanwhile are sent after that answer, so neither may wait for one.
    """

    def on_connect(self, charger_id: str, ocpp_version: str) -> None:
        """The charger connected; `on_disconnect` came before, where it had been connected."""
        ...

    def on_disconnect(self, charger_id: str) -> None:
        """The charger disconnected; its open commands end with `no_answer`."""
        ...

    def on_boot(self, charger_id: str, make: ChargerModel) -> None:
        """The charger (re)started and reported its make; it may have lost every limit."""
        ...

    def on_ready(self, charger_id: str, abilities: ChargerCapabilities) -> None:
        """The charger accepts commands, after each connecting and booting: send fallback and limit again.

        Its state and meter values are asked for by the OCPP half and follow as reports.
        """
        ...

    def quirks(self, charger_id: str) -> Quirks:
        """Return the charger's quirks by the table of makes and by CHARGERS_FILE."""
        ...

    def on_limit_method(self, charger_id: str, known: KnownMethod | None) -> None:
        """The charger accepted a limit by this method, which is used from now on; None: no method is known any more."""
        ...

    def on_evse_state(self, charger_id: str, evse_id: int, state: EvseState, *, is_over: bool = False) -> None:
        """The EVSE reports this state; may repeat itself. is_over: its session is over and the car still there.

        After `charging` a limit in force is to be sent again: some chargers ignore profiles while suspended, and
        resume at full power.
        """
        ...

    def may_charge(self, id_token: str) -> bool:
        """Return whether a token may charge; a session with another one is stopped."""
        ...

    def on_transaction_updated(self, update: TransactionUpdated) -> bool:
        """A transaction continues. Return whether it is the running one of its EVSE, not an earlier one."""
        ...

    async def on_transaction_started(self, started: TransactionStarted) -> bool:
        """A transaction started. Return whether it is the running one of its EVSE, not an earlier one."""
        ...

    async def on_transaction_ended(self, ended: TransactionEnded) -> bool:
        """A transaction ended. Return whether it ran until now, and is not an earlier one."""
        ...

    def on_charging_needs(self, charger_id: str, evse_id: int, needs: ChargingNeeds) -> None:
        """The car reported its needs."""
        ...

    def on_meter_values(self, charger_id: str, evse_id: int | None, reading: MeterReading) -> None:
        """Meter values arrived; without an EVSE they belong to the one of the reading's transaction."""
        ...

    def on_schema_violation(self, charger_id: str, violation: SchemaViolation) -> None:
        """A message of the charger violates its schema; may be reported with each of its messages."""
        ...


class TransactionIdAllocator(Protocol):
    """Allocates ids for the transactions of OCPP 1.6, where the central system chooses them."""

    async def number_of(self, charger_id: str, beginning: str) -> int:
        """Return the transaction's id, > 0, unique in all runs; it is persisted when this returns.

        Args:
            charger_id: the charger.
            beginning: what the charger said of it, as one text; the same beginning again has the same number.
        """
        ...
