"""What differs between OCPP 1.6 and 2.0.1, as the station asks for it: payloads, and what answers mean.

Payloads are the library's dataclasses; it gives no types, so they are `Any` here.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from site_twin.charge_points.evses import Evse, Reading, Transaction
from site_twin.ports import PluggedCar


@dataclass(frozen=True, slots=True)
class About:
    """Identity that a charger reports when it boots."""

    vendor: str = "Site twin"
    model: str = "Simulated charger"
    serial_number: str = ""
    firmware_version: str = "1.0.0"


class BootReason(StrEnum):
    """Why a charger boots, in the words of 2.0.1."""

    POWER_UP = "PowerUp"
    REMOTE_RESET = "RemoteReset"
    WATCHDOG = "Watchdog"
    TRIGGERED = "Triggered"


class StopReason(StrEnum):
    """Why a transaction ends."""

    DEPARTED = "departed"
    REMOTE = "remote"
    DEAUTHORIZED = "deauthorized"
    RESET = "reset"
    RESET_ON_IDLE = "reset_on_idle"
    POWER_LOSS = "power_loss"


class ReadingContext(StrEnum):
    """Why meter values are sent, in the terms of 2.0.1."""

    PERIODIC = "MeterValuePeriodic"
    STATE = "ChargingStateChanged"
    TRIGGERED = "Trigger"


class ProtocolVersion(Protocol):
    """One version of OCPP."""

    @property
    def version(self) -> str:
        """1.6 or 2.0.1."""
        ...

    @property
    def subprotocol(self) -> str:
        """Its name in the WebSocket handshake."""
        ...

    @property
    def is_strict(self) -> bool:
        """Whether charging profiles have to keep the rules of 2.0.1."""
        ...

    def boot(self, about: About, reason: BootReason) -> Any:
        """BootNotification."""
        ...

    def heartbeat(self) -> Any:
        """Heartbeat."""
        ...

    def status(self, evse: Evse, at: datetime) -> Any:
        """StatusNotification."""
        ...

    def authorize(self, id_token: str) -> Any:
        """Authorize."""
        ...

    def is_accepted(self, answer: Any) -> bool:
        """Whether an answer leaves the token accepted."""
        ...

    def build_started(self, evse: Evse, transaction: Transaction, reading: Reading, is_offline: bool) -> Any:
        """StartTransaction, or the TransactionEvent that starts one."""
        ...

    def transaction_id(self, transaction: Transaction, answer: Any) -> str | None:
        """What the transaction is called from now on."""
        ...

    def needs(self, evse: Evse, car: PluggedCar, voltage_v: float) -> Any:
        """NotifyEVChargingNeeds; None where the version has none."""
        ...

    def build_activity_changed(
        self, evse: Evse, transaction: Transaction, reading: Reading | None, at: datetime
    ) -> Any:
        """The message that reports a change of activity in a transaction."""
        ...

    def build_meter_values(
        self, evse: Evse, transaction: Transaction | None, reading: Reading, occasion: ReadingContext
    ) -> Any:
        """MeterValues, or the TransactionEvent that carries them."""
        ...

    def build_ended(
        self, evse: Evse, transaction: Transaction, reading: Reading, ending: StopReason, is_offline: bool
    ) -> Any:
        """StopTransaction, or the TransactionEvent that ends one; None: the other side never knew of it."""
        ...
