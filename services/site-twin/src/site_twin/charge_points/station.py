"""A charger without its network: cars come and go, transactions run, meter values are sent, limits are kept.

Messages go into the outbox; `ProtocolVersion` builds their payloads.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ev_service.charging import LEAST_CURRENT_A
from site_twin.charge_points import profiles
from site_twin.charge_points.configuration import Configuration
from site_twin.charge_points.evses import Activity, Evse, EvsePlan, Reading, Transaction, read
from site_twin.charge_points.outbox import MeterValuePacer, Outbox, OutgoingMessage
from site_twin.charge_points.profile_store import ProfileStore
from site_twin.charge_points.profiles import Wiring
from site_twin.charge_points.protocol_version import About, BootReason, ProtocolVersion, ReadingContext, StopReason
from site_twin.charge_points.quirks import Quirk
from site_twin.ports import NOTHING, Cars, Offer, PluggedCar

_CHANGED_A = 0.5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StationConfig:
    """Configuration of a station."""

    charger_id: str
    evses: Sequence[EvsePlan]
    cars: Cars
    quirks: Iterable[Quirk] = ()
    voltage_v: float = 230.0
    """Voltage between phase and neutral [V]; converts watts into amperes."""

    about: About = field(default_factory=About)
    meter_values_per_s: float = 4.0


class Station:
    """One charger.

    quirks: those ordered by configuration; may be changed at any time.
    boot_reason: why it has to boot before anything else; None: it did. is_online: connected, and accepted since it
    booted. is_off: rebooting. resets_when_idle: a reset waits for the last transaction.
    reboot: called when it has to reboot; whoever holds the connection sets it.
    """

    def __init__(self, built: StationConfig, protocol: ProtocolVersion) -> None:
        self.charger_id, self.cars, self.protocol = built.charger_id, built.cars, protocol
        self.voltage_v, self.about = built.voltage_v, built.about
        self.quirks: set[Quirk] = set(built.quirks)
        self.evses = {plan.evse_id: Evse(plan) for plan in built.evses}
        self.installed = ProfileStore()
        self.outbox = Outbox()
        self.configuration = Configuration()
        self.boot_reason: BootReason | None = BootReason.POWER_UP
        self.is_online = self.is_off = self.resets_when_idle = False
        self.reboot: Callable[[BootReason, StopReason], None] = lambda reason, ending: None
        self._pace = MeterValuePacer(built.meter_values_per_s)
        self._has_rebooted = False

    def has(self, quirk: Quirk) -> bool:
        """Whether a quirk is in force, by configuration or as a fault."""
        return quirk in self.quirks or quirk.value in self.cars.faults(self.charger_id)

    def transactions(self) -> dict[int, str | None]:
        """Every EVSE and what its transaction is called; None: none runs, or it has no name yet."""
        return {
            evse_id: None if evse.transaction is None else evse.transaction.wire_id
            for evse_id, evse in self.evses.items()
        }

    def wiring(self, evse: Evse) -> Wiring:
        """What turns profiles into amperes at an EVSE."""
        plan = evse.plan
        sharing = sum(other.transaction is not None for other in self.evses.values())
        return Wiring(plan.evse_id, len(plan.phases), plan.max_current_a, self.voltage_v, max(1, sharing))

    def compute_offer(self, evse_id: int, moment: datetime) -> Offer:
        """What an EVSE offers its car at a moment."""
        evse = self.evses[evse_id]
        if self.is_off or evse.transaction is None:
            return NOTHING
        wired = len(evse.plan.phases)
        limit = profiles.limit_at(self.installed.all, self.wiring(evse), moment, evse.transaction.started_at)
        current_a = evse.plan.max_current_a if evse.is_unlimited else limit.current_a
        return Offer(current_a, None if limit.phases == wired else limit.phases)

    def next_change(self, evse_id: int, after: datetime) -> datetime | None:
        """When the offer may change by itself."""
        transaction = self.evses[evse_id].transaction
        if self.is_off or transaction is None:
            return None
        return profiles.next_change(self.installed.all, after, transaction.started_at)

    def tick(self) -> None:
        """Follow the cars, the limits and the meters to this moment."""
        if self.is_off:
            return
        now = self.cars.now()
        for evse in self.evses.values():
            self._follow_car(evse)
            if evse.transaction is not None:
                self._follow_power(evse, evse.transaction, now)
        self._reboot_if_due()

    def announce(self) -> None:
        """Report everything that the central system may have missed; called on each connection."""
        for evse in self.evses.values():
            self.send_status(evse)
            evse.last_reported = None

    def send_status(self, evse: Evse) -> None:
        """Send StatusNotification."""
        at = self.cars.now()
        self.send(lambda: self.protocol.status(evse, at))

    def send_meter_values(self, evse: Evse, occasion: ReadingContext) -> None:
        """Send meter values; newer ones take the place of those that still wait."""
        reading = evse.last_reported = self.reading(evse)
        make = partial(self.protocol.build_meter_values, evse, evse.transaction, reading, occasion)
        self.send(make, key=f"meter {evse.plan.evse_id}")

    def reading(self, evse: Evse) -> Reading:
        """Return the current meter values of the EVSE."""
        metered = self.cars.meter(self.charger_id, evse.plan.evse_id)
        return read(evse.plan, metered, self.compute_offer(evse.plan.evse_id, metered.measured_at).limit_a)

    def start(self, evse: Evse, id_token: str, remote_start_id: int | None = None) -> None:
        """Begin a transaction with the car that stands there."""
        if evse.car is None or evse.transaction is not None:
            return
        evse.is_new = False
        at = self.cars.settle()
        transaction = evse.transaction = Transaction(evse.car.car_id, id_token, at, remote_start_id)
        transaction.wire_id = self.protocol.transaction_id(transaction, None)
        reading, is_offline = self.reading(evse), not self.is_online
        self.outbox.add(
            OutgoingMessage(
                make=lambda: self.protocol.build_started(evse, transaction, reading, is_offline),
                answered=partial(self._start_answered, evse, transaction),
                is_kept=True,
            )
        )
        car = evse.car
        self.send(lambda: self.protocol.needs(evse, car, self.voltage_v), is_kept=True)

    def end(self, evse: Evse, ending: StopReason) -> None:
        """End the transaction of an EVSE, if one runs."""
        transaction = evse.transaction
        if transaction is None:
            return
        self.cars.settle()
        reading, is_offline = self.reading(evse), not self.is_online or ending is StopReason.POWER_LOSS
        evse.transaction, evse.is_unlimited, evse.last_reported = None, False, None
        evse.activity = Activity.FINISHING
        self.installed.end_transaction(evse.plan.evse_id)
        self.send(lambda: self.protocol.build_ended(evse, transaction, reading, ending, is_offline), is_kept=True)
        if ending is not StopReason.DEPARTED:
            self.send_status(evse)

    def switch_off(self, reason: BootReason, ending: StopReason) -> None:
        """Lose power, for a reboot: transactions end, and their ends are reported after it."""
        self.boot_reason, self.is_online = reason, False
        for evse in self.evses.values():
            self.end(evse, ending)
            evse.car = None
        self.cars.settle()
        self.is_off = True

    def switch_on(self) -> None:
        """Come back with default profiles kept and everything else forgotten."""
        self.is_off = self.resets_when_idle = False
        for evse in self.evses.values():
            evse.activity = Activity.AVAILABLE

    def _follow_car(self, evse: Evse) -> None:
        car = self.cars.car_at(self.charger_id, evse.plan.evse_id)
        if evse.car is not None and (car is None or car.car_id != evse.car.car_id):
            self.end(evse, StopReason.DEPARTED)
            evse.activity = Activity.AVAILABLE
            self.send_status(evse)
        if car is not None and (evse.car is None or evse.car.car_id != car.car_id):
            evse.activity, evse.is_new = Activity.PREPARING, True
            self.send_status(evse)
        evse.car = car
        # Before it was ever accepted it holds no default limit, so that nobody may charge.
        waits = self.boot_reason is not None or self.has(Quirk.WAITS_FOR_REMOTE_START)
        if car is not None and evse.is_new and not waits:
            evse.is_new = False
            self._authorize(evse, car)

    def _authorize(self, evse: Evse, car: PluggedCar) -> None:
        if not self.is_online:
            # AllowOfflineTxForUnknownId: nobody is left standing because a connection is down.
            self.start(evse, car.id_token)
            return
        self.send(lambda: self.protocol.authorize(car.id_token), partial(self._on_authorized, evse, car))

    def _on_authorized(self, evse: Evse, car: PluggedCar, answer: Any) -> None:
        if evse.car is None or evse.car.car_id != car.car_id or self.is_off:
            return
        if answer is None or self.protocol.is_accepted(answer):
            self.start(evse, car.id_token)
        else:
            _logger.info("driver refused", extra={"charger_id": self.charger_id})

    def _start_answered(self, evse: Evse, transaction: Transaction, answer: Any) -> None:
        if answer is None:
            return
        transaction.wire_id = self.protocol.transaction_id(transaction, answer)
        if evse.transaction is transaction and not self.protocol.is_accepted(answer):
            self.end(evse, StopReason.DEAUTHORIZED)

    def _follow_power(self, evse: Evse, transaction: Transaction, now: datetime) -> None:
        self._forget_after_pause(evse, now)
        activity = _activity(evse, self.compute_offer(evse.plan.evse_id, now))
        if activity is not evse.activity:
            evse.activity = activity
            self._send_activity(evse, transaction)
        if self.has(Quirk.LOSES_METER) or not self.is_online:
            return
        interval = timedelta(seconds=self.configuration.meter_interval_s)
        reading, last = self.reading(evse), evse.last_reported
        is_due = last is None or reading.at - last.at >= interval or reading.differs(last, _CHANGED_A)
        if is_due and self._pace.allows():
            self.send_meter_values(evse, ReadingContext.PERIODIC)

    def _forget_after_pause(self, evse: Evse, now: datetime) -> None:
        if (
            evse.activity is not Activity.SUSPENDED_EVSE
            or evse.is_unlimited
            or not self.has(Quirk.RESUMES_AT_FULL_POWER)
        ):
            return
        if self.compute_offer(evse.plan.evse_id, now).limit_a > 0:
            self.cars.settle()
            evse.is_unlimited = True

    def _send_activity(self, evse: Evse, transaction: Transaction) -> None:
        reading = None if self.has(Quirk.LOSES_METER) else self.reading(evse)
        at = self.cars.now()
        self.send(lambda: self.protocol.build_activity_changed(evse, transaction, reading, at))

    def _reboot_if_due(self) -> None:
        is_idle = all(evse.transaction is None for evse in self.evses.values())
        if self.resets_when_idle and is_idle:
            self.reboot(BootReason.REMOTE_RESET, StopReason.RESET)
        if not self.has(Quirk.REBOOTS):
            self._has_rebooted = False
        elif not self._has_rebooted and not is_idle:
            self._has_rebooted = True
            self.reboot(BootReason.WATCHDOG, StopReason.POWER_LOSS)

    def send(
        self,
        make: Callable[[], Any],
        answered: Callable[[Any], None] | None = None,
        *,
        is_kept: bool = False,
        key: str | None = None,
    ) -> None:
        """Put a message into the outbox; without a connection only one that is worth keeping."""
        if self.is_online or is_kept:
            self.outbox.add(OutgoingMessage(make, answered, is_kept, key))


def _activity(evse: Evse, offer: Offer) -> Activity:
    if offer.limit_a < LEAST_CURRENT_A:
        return Activity.SUSPENDED_EVSE
    car = evse.car
    takes = car is not None and car.is_asking and offer.limit_a >= car.min_current_a
    return Activity.CHARGING if takes else Activity.SUSPENDED_EV
