"""What the two halves of the charger service say to each other.

The OCPP half speaks with chargers and knows nothing of envelopes, leases and lifetimes. The limits half decides which
current each EVSE may draw and knows no OCPP message. Everything runs in one event loop; no call here blocks it.
Chargers and EVSEs are registered ones; what a charger says of others is not passed on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Protocol

from pydantic import ConfigDict, Field

from ev_service.charging import EvseState


class CommandStatus(StrEnum):
    """What came of asking a charger for something.

    rejected: the charger does not do it, now. not_supported: it never will.
    no_answer: it is not known whether the charger does it: no answer in time, or the connection broke before it.
    not_connected: it was not asked.
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
    """`chargingProfilePurpose` of a limit, in the words of OCPP 1.6 (2.0.1: ChargingStationMaxProfile)."""

    TX = "TxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    CHARGE_POINT_MAX = "ChargePointMaxProfile"


class RateUnit(StrEnum):
    """`chargingRateUnit` of a limit."""

    AMPERES = "A"
    WATTS = "W"


@dataclass(frozen=True, slots=True)
class LimitMethod:
    """By which charging profile a charger is given its limits."""

    purpose: LimitPurpose
    stack_level: int
    unit: RateUnit

    @property
    def replaces_fallback(self) -> bool:
        """Whether a limit takes the place of the fallback, and holds until another profile does so."""
        return self.purpose is not LimitPurpose.TX and self.stack_level == 0

    @property
    def outlives_transaction(self) -> bool:
        """Whether a limit holds beyond its transaction, until it lapses or is cleared."""
        return self.purpose is not LimitPurpose.TX and not self.replaces_fallback


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what the charger said besides, in a few words for people.

    method: by which a limit was sent that is in force, or may be; None: by none, or it was no limit.
    """

    answer: CommandStatus
    detail: str = ""
    method: LimitMethod | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TransactionLimit:
    """A limit on a running transaction, above the EVSE's fallback for as long as it is valid.

    limit_a [A]: per phase, 0 pauses and keeps the transaction; sent in tenths, rounded down.
    phases: how many phases to charge on; None: as wired.
    valid_until: when the charger itself drops the limit, in the run's clock; where its method replaces the fallback
        (`LimitMethod`) the charger does not drop it.
    phases_in_use: on how many phases the car draws, which turns amperes into watts; None: not known, as wired.
    """

    evse_id: int
    transaction_id: str
    limit_a: float
    valid_until: datetime
    phases: int | None = None
    phases_in_use: int | None = None


class ChargePoints(Protocol):
    """The chargers, as the limits half commands them.

    A charger is asked one thing at a time, in the order of the calls (OCPP-J), so a call may wait behind others. Each
    call ends by itself within the OCPP half's own time (some ten seconds for each question before it); whoever waits
    for less time leaves it running, and then learns of a late answer in the same way as of one in time. What a charger
    says after its answer is reported after whoever awaits that answer has it.
    """

    def is_connected(self, charger_id: str) -> bool:
        """Whether the charger is connected now."""
        ...

    def last_seen(self, charger_id: str) -> datetime | None:
        """When a message of the charger last arrived, in the run's clock; None: never since this process began."""
        ...

    async def set_limit(self, charger_id: str, limit: TransactionLimit) -> Reply:
        """Limit a running transaction; replaces the limit set before. The reply names the method that was used."""
        ...

    async def clear_limit(self, charger_id: str, evse_id: int) -> Reply:
        """Take the limit back, so that the EVSE falls to its fallback; accepted where there was none."""
        ...

    async def set_fallback(self, charger_id: str, evse_id: int, limit_a: float) -> Reply:
        """Set the EVSE's default profile: what it gives per phase [A] wherever no limit holds; it does not lapse."""
        ...

    async def clear_fallback(self, charger_id: str, evse_id: int) -> Reply:
        """Take the default profile away; accepted where there was none."""
        ...

    async def limit_in_force(self, charger_id: str, evse_id: int) -> tuple[Reply, float | None]:
        """What the charger says that it holds to now, per phase [A]; None where it does not say."""
        ...

    async def start(self, charger_id: str, evse_id: int, id_token: str) -> Reply:
        """Ask the charger to begin a transaction; that it began is reported as any other."""
        ...

    async def stop(self, charger_id: str, transaction_id: str) -> Reply:
        """Ask the charger to end a transaction; that it ended is reported as any other."""
        ...

    async def ask_meter_values(self, charger_id: str, evse_id: int) -> Reply:
        """Ask for meter values now; they are reported as any others."""
        ...

    async def reset(self, charger_id: str) -> Reply:
        """Ask the charger to start anew."""
        ...


@dataclass(frozen=True, slots=True)
class ChargerModel:
    """What a charger says of itself, in its own words."""

    vendor: str
    model: str
    firmware_version: str | None = None


@dataclass(frozen=True, slots=True)
class KnownMethod:
    """A method by which a charger accepted limits, and what it was then; None: it had not said."""

    method: LimitMethod
    make: ChargerModel | None = None


@dataclass(frozen=True, slots=True)
class ChargerCapabilities:
    """What a charger can do with limits, as far as it says.

    The OCPP half keeps to it by itself.

    max_stack_level: highest stack level of its profiles; 1 where it does not say.
    takes_amperes, takes_watts: units of its profiles; one at least.
    switches_phases: whether it can change the number of phases.
    """

    max_stack_level: int = 1
    takes_amperes: bool = True
    takes_watts: bool = True
    switches_phases: bool = False


@dataclass(frozen=True, slots=True)
class Quirks:
    """What a charger needs that others do not; None: nothing is known, and the service does as with any charger.

    autostart: whether it is asked to begin a transaction when a car is plugged in and it does not begin one by itself.
    limit_purpose, rate_unit: with which its limits are sent first. stack_level: the highest that it takes.
    remote_start_configuration: what is set in it by ChangeConfiguration (OCPP 1.6) before each remote start.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    autostart: bool | None = None
    limit_purpose: LimitPurpose | None = None
    rate_unit: RateUnit | None = None
    stack_level: Annotated[int, Field(ge=0, le=1000)] | None = None
    remote_start_configuration: Mapping[ConfigurationKey, ConfigurationValue] | None = None


@dataclass(frozen=True, slots=True)
class TransactionStarted:
    """A transaction that began.

    The same one may be reported more than once, and after its end when the charger repeats itself: what ended stays
    ended. One that begins ends any other on its EVSE whose end was never heard.

    energy_kwh [kWh]: the meter's register at the beginning; None: not said.
    is_stored: whether the charger says that it kept the message while it was offline.
    """

    charger_id: str
    evse_id: int
    transaction_id: str
    started_at: datetime
    energy_kwh: float | None = None
    id_token: str | None = None
    is_stored: bool = False


@dataclass(frozen=True, slots=True)
class TransactionUpdated:
    """A transaction that goes on by its charger's word, whether or not its beginning was heard.

    evse_id: None: the charger names no EVSE. reported_at: by the charger's clock; None: it does not say.
    is_stored: whether the charger says that it kept the message while it was offline.
    state: what the transaction's EVSE does by the same message; None: not said.
    id_token: that the message presents; None: none.
    """

    charger_id: str
    evse_id: int | None
    transaction_id: str
    reported_at: datetime | None
    is_stored: bool = False
    state: EvseState | None = None
    id_token: str | None = None


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """A transaction that ended; may be reported more than once, and for one that is not known.

    energy_kwh [kWh]: the meter's register at the end; None: not said.
    """

    charger_id: str
    transaction_id: str
    ended_at: datetime
    energy_kwh: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ChargingNeeds:
    """What a car says that it needs (OCPP 2.0.1 NotifyEVChargingNeeds).

    energy_wanted_kwh [kWh]: from now on. departure: when it leaves. max_current_a [A]: per phase, what it can take.
    """

    energy_wanted_kwh: float | None = None
    departure: datetime | None = None
    max_current_a: float | None = None


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What an EVSE's meter said at one moment; what it did not say is None.

    reported_at: by the charger's clock, which may show anything; None: it does not say. Says nothing but the order of
        one EVSE's values; what is sent as it happens was measured when it arrives.
    is_stored: whether the charger says that it kept the value while it was offline, or while it was not asked.
    current_a [A]: on L1, L2, L3 of the charger (not of the site), where it names phases.
    current_each_a [A]: where it gives one current without a phase: the same on each phase in use.
    neutral_a [A]: on the neutral, where it names no phase and no current without one.
    power_kw [kW]: drawn, all phases together. energy_kwh [kWh]: the register, which only grows.
    """

    reported_at: datetime | None
    transaction_id: str | None = None
    current_a: tuple[float, float, float] | None = None
    current_each_a: float | None = None
    neutral_a: float | None = None
    power_kw: float | None = None
    energy_kwh: float | None = None
    is_stored: bool = False


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """How a charger's message, or its answer, broke the standard's schema.

    message: its action. reason: where and how, in few words without the charger's values. is_refused: whether it could
    not be understood, and was refused; otherwise what is clear in it counted.
    """

    message: str
    reason: str
    is_refused: bool


class ChargerEvents(Protocol):
    """Events of chargers, which the OCPP package reports to the control of charging.

    Synchronous methods return at once. `on_transaction_started` and `on_transaction_ended` are awaited before the
    charger gets its answer: when they return, the event is persisted; when they raise, the charger gets an error and
    repeats its message. Calls to a charger made meanwhile are sent after that answer, so neither may wait for one.
    """

    def on_connect(self, charger_id: str, ocpp_version: str) -> None:
        """The charger connected; `disconnected` came before, where it had been connected."""
        ...

    def on_disconnect(self, charger_id: str) -> None:
        """The charger is gone; what it was asked and did not answer ends with `no_answer`."""
        ...

    def on_boot(self, charger_id: str, make: ChargerModel) -> None:
        """The charger (re)started and says what it is; it may have forgotten every limit."""
        ...

    def on_ready(self, charger_id: str, abilities: ChargerCapabilities) -> None:
        """After each connecting and booting: now send the fallback and the limit again.

        Its state and meter values are asked for by the OCPP half and follow as reports.
        """
        ...

    def quirks(self, charger_id: str) -> Quirks:
        """What the charger needs by its make, as far as that was reported, and by CHARGERS_FILE."""
        ...

    def on_limit_method(self, charger_id: str, known: KnownMethod | None) -> None:
        """The charger accepted a limit by this method, which is kept to; None: what was known of it is no longer."""
        ...

    def on_evse_state(self, charger_id: str, evse_id: int, state: EvseState, *, is_over: bool = False) -> None:
        """The EVSE is in this state; may repeat itself. is_over: its session is over and the car still there.

        After `charging` a limit in force is to be sent again: some chargers ignore profiles while suspended, and
        resume at full power.
        """
        ...

    def may_charge(self, id_token: str) -> bool:
        """Whether a token may charge; a session of another one is stopped by the limits half."""
        ...

    def on_transaction_updated(self, seen: TransactionUpdated) -> bool:
        """A transaction goes on. Returns whether it is the one that runs at its EVSE now, and not one of earlier."""
        ...

    async def on_transaction_started(self, started: TransactionStarted) -> bool:
        """A transaction began. Returns whether it is the one that runs at its EVSE now, and not one of earlier."""
        ...

    async def on_transaction_ended(self, ended: TransactionEnded) -> bool:
        """A transaction ended. Returns whether it ran until now, and is not one of earlier."""
        ...

    def on_charging_needs(self, charger_id: str, evse_id: int, needs: ChargingNeeds) -> None:
        """The car says what it needs."""
        ...

    def on_meter_values(self, charger_id: str, evse_id: int | None, reading: MeterReading) -> None:
        """Meter values arrived; without an EVSE they belong to that of the reading's transaction."""
        ...

    def on_schema_violation(self, charger_id: str, violation: SchemaViolation) -> None:
        """A message of the charger breaks its schema; may be reported with each of its messages."""
        ...


class TransactionIdAllocator(Protocol):
    """Numbers for the transactions of OCPP 1.6, whose ids the central system gives."""

    async def number_of(self, charger_id: str, beginning: str) -> int:
        """The transaction's number, > 0, unique in all runs; kept when this returns.

        Args:
            charger_id: the charger.
            beginning: what the charger said of it, as one text; the same beginning again has the same number.
        """
        ...
