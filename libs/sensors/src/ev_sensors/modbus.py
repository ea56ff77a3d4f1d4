"""Readings of one SunSpec device over Modbus: asked at a steady pace, each answer judged before it counts."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from prometheus_client.registry import Collector

from ev_sensors.checks import Past, validate
from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.message_validator import Device
from ev_sensors.metrics import AnswerOutcome, ModbusMetrics
from ev_sensors.modbus_link import (
    Address,
    ConnectionUnusableError,
    ExceptionResponseError,
    ModbusConnection,
    meter_labels,
    survey,
)
from ev_sensors.shapes import Role
from ev_sensors.sunspec import Block, RegisterMapError, points_of, string_reads, strings_of
from ev_sensors.sunspec_roles import Plan, Selection, SunSpecPoints, get_rated_kw, plan_for, to_measurement
from ev_service.clock import Clock
from ev_service.errors import SourceUnavailableError
from ev_service.sources import STUCK_AFTER_S, Source, UpdateSignal
from ev_service.tasks import Backoff, run_in_background
from ev_service.telemetry import Reading

R = TypeVar("R", bound=Reading)

_NAMES: Mapping[Role, str] = {"solar": "the inverter", "battery": "the battery", "grid": "the meter"}

_MOST_FAILED_ROUNDS = 3
"""So many rounds in a row without an answer, and the device is looked at anew: it may be another one."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PollTiming:
    """How quickly things are done, in real time.

    first_pause_s, longest_pause_s: between attempts to connect [s], doubling, a random part of it taken off.
    """

    period_s: float = 1.0
    """From one question to the next [s]."""

    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    repeat_pause_s: float = 0.05
    """Before a question is repeated within a round [s], likewise."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a device is read."""

    base_address: int | None = None
    """Where its map begins, if that is known."""

    factor: float = 1.0
    """Its power is multiplied by it."""

    silent_after_s: float = 30.0
    """Age from which its newest value no longer counts as fresh [s]."""

    keeps_connection: bool = True
    """Else each round connects anew, so that others can ask the device in between."""

    selection: Selection = field(default_factory=Selection)
    """Which part of the device is meant."""

    device_id: str = ""
    """Its name among several."""


class ModbusSource(Source[R]):
    """The newest value of one device that counts."""

    def __init__(
        self,
        address: Address,
        device: Device[R],
        options: ReadOptions,
        clock: Clock,
        pace: PollTiming | None = None,
        counts: ModbusMetrics | None = None,
    ) -> None:
        """Ask a device once it runs.

        Args:
            address: where it is.
            device: what kind of device it is.
            options: how it is read.
            clock: the run's clock.
            pace: how quickly things are done.
            counts: where it counts, which several devices may share.
        """
        self._address, self._device, self._options, self._clock = address, device, options, clock
        self._pace = pace or PollTiming()
        self._name = " ".join(filter(None, (_NAMES[device.role], options.device_id)))
        self._counts = counts or ModbusMetrics()
        self._is_connected = False
        self._obstacle: str | None = "it has not been asked"
        self._answers = 0
        self._heartbeat: float | None = None
        self._stands = False
        self._past = Past()
        self._reading: R | None = None
        self._refused = 0
        self._refusal: Refusal | None = None
        self._defective: set[Block] = set()
        self._updates = UpdateSignal()

    def metrics(self) -> Iterable[Collector]:
        """Answers by outcome, refusals by reason, the connection."""
        return self._counts.collectors()

    async def read(self, now: datetime) -> R:
        """The newest value that counts, with the moment before the device was asked for it.

        Raises:
            SourceUnavailableError: there is none, or it is older than any reader takes.
        """
        reading = self._reading
        if reading is None or self._age_s(reading, now) > STUCK_AFTER_S:
            raise SourceUnavailableError(await self.health_error(now) or "no reading")
        return reading

    async def health_error(self, now: datetime) -> str | None:
        """Why the device cannot be counted on: nothing of it counted yet, or for too long."""
        if self._reading is None:
            return f"no reading of {self._name} yet{self._why()}"
        age_s = self._age_s(self._reading, now)
        if age_s > self._options.silent_after_s:
            return f"nothing new of {self._name} for {age_s:.0f} s{self._why()}"
        return None

    async def wait_for_update(self) -> None:
        """Wait for the next answer that counts."""
        await self._updates.wait()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep asking the device, and come back to it when the connection is lost."""
        async with run_in_background(self._run()):
            yield

    def _why(self) -> str:
        if self._obstacle is not None:
            return f": {self._obstacle}"
        if self._stands:
            return f": its heartbeat stands still at {self._heartbeat:g}"
        if self._refusal is not None:
            return f": {self._refused} answers refused, the last for {self._refusal.reason}: {self._refusal.detail}"
        return ""

    @staticmethod
    def _age_s(reading: Reading, now: datetime) -> float:
        return (now - reading.timestamp).total_seconds()

    async def _run(self) -> None:
        backoff = Backoff(self._pace.first_pause_s, self._pace.longest_pause_s)
        while True:
            answers = self._answers
            try:
                await self._session()
            except (ConnectionUnusableError, ExceptionResponseError, RegisterMapError) as error:
                self._on_loss(str(error))
            except Exception:
                # Whatever breaks a session must not end the asking for good.
                _logger.exception("session with the device failed")
                self._on_loss("the session with it failed; the service's log has the reason")
            if self._answers > answers:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def _on_loss(self, reason: str) -> None:
        if self._obstacle != reason:
            _logger.warning("device not read", extra={"device": self._name, "reason": reason})
        self._obstacle = reason
        self._mark_connected(False)
        self._counts.failures.inc()

    def _mark_connected(self, is_connected: bool) -> None:
        self._counts.connected.inc(is_connected - self._is_connected)
        self._is_connected = is_connected

    async def _session(self) -> None:
        """Find the map, and ask until too many rounds in a row fail.

        Raises:
            ConnectionUnusableError, ExceptionResponseError, RegisterMapError: what failed.
        """
        link = ModbusConnection(self._address, self._pace.repeat_pause_s)
        try:
            plan = await self._plan(link)
            rating_kw = None if plan.nameplate is None else await self._rating_kw(link, plan.nameplate)
            models = [block.model for block in plan.polled]
            _logger.info("device found", extra={"device": self._name, "models": models, "rated_kw": rating_kw})
            if plan.warning is not None:
                _logger.warning("device measures several things", extra={"device": self._name, "reason": plan.warning})
            await self._poll(link, plan, rating_kw)
        finally:
            link.close()

    async def _plan(self, link: ModbusConnection) -> Plan:
        blocks, defect = await survey(link, self._options.base_address)
        try:
            labels = await meter_labels(link, blocks) if self._device.role == "grid" else {}
            return plan_for(self._device.role, blocks, self._options.selection, labels)
        except RegisterMapError as error:
            raise RegisterMapError(f"{error}; {defect}" if defect else str(error)) from error

    async def _poll(self, link: ModbusConnection, plan: Plan, rating_kw: float | None) -> None:
        loop = asyncio.get_running_loop()
        failed, repeats = 0, 0
        while True:
            asked_s = loop.time()
            try:
                await self._ask(link, plan, rating_kw)
                failed = 0
            except (ConnectionUnusableError, ExceptionResponseError) as error:
                failed += 1
                if failed >= _MOST_FAILED_ROUNDS:
                    raise
                self._on_loss(str(error))
            self._counts.repeats.inc(link.repeats - repeats)
            repeats = link.repeats
            if not self._options.keeps_connection:
                link.close()
            await asyncio.sleep(max(0.0, asked_s + self._pace.period_s - loop.time()))

    async def _rating_kw(self, link: ModbusConnection, nameplate: Block) -> float | None:
        points = await self._optional_points(link, nameplate)
        return None if points is None else get_rated_kw(points)

    async def _optional_points(self, link: ModbusConnection, block: Block) -> Mapping[str, float] | None:
        """Points of a block that others do without; None where it cannot be read or makes no sense."""
        try:
            points = points_of(block, await link.registers(block.address, block.span))
        except (ValueError, ExceptionResponseError) as error:
            if isinstance(error, ExceptionResponseError) and error.is_transient:
                raise
            if block not in self._defective:
                _logger.warning("model left out", extra={"model": block.model, "reason": str(error)})
            self._defective.add(block)
            return None
        self._defective.discard(block)
        return points

    async def _ask(self, link: ModbusConnection, plan: Plan, rating_kw: float | None) -> None:
        # The moment before the question: the value is at least as new as that.
        moment = self._clock.now()
        needed, *others = plan.polled
        registers = await link.registers(needed.address, needed.span)
        optional = {block.model: await self._optional_points(link, block) for block in others}
        strings: list[int] = []
        for address, count in [] if plan.strings is None else string_reads(plan.strings):
            strings += await link.registers(address, count)
        try:
            models: dict[int, Mapping[str, float]] = {needed.model: points_of(needed, registers)}
            inputs = [] if plan.strings is None else strings_of(plan.strings, strings)
        except ValueError as error:
            outcome = self._refuse(Refusal(Reason.SCHEMA, str(error)))
        else:
            models |= {model: points for model, points in optional.items() if points is not None}
            options, panels = self._options, self._options.selection.strings
            said = SunSpecPoints(models, moment, self._answers, options.factor, rating_kw, plan.power, inputs, panels)
            outcome = self._take(said, to_measurement(self._device.role, said))
        self._answers += 1
        self._obstacle = None
        self._mark_connected(True)
        self._counts.answer(outcome)

    def _take(self, said: SunSpecPoints, judged: Measurement | Refusal) -> AnswerOutcome:
        if self._stands_still(said.heartbeat):
            return AnswerOutcome.STANDING
        if isinstance(judged, Refusal):
            return self._refuse(judged)
        self._past, refusal = validate(judged, self._past, self._clock.now(), self._device.rules)
        return self._accept(judged) if refusal is None else self._refuse(refusal)

    def _stands_still(self, heartbeat: float | None) -> bool:
        """Whether the device does not count on, so that it may be frozen; the first value alone proves nothing."""
        before, self._heartbeat = self._heartbeat, heartbeat
        self._stands = heartbeat is not None and before in (None, heartbeat)
        return self._stands

    def _accept(self, measurement: Measurement) -> AnswerOutcome:
        self._reading = self._device.reading(measurement, "modbus")
        self._refused, self._refusal = 0, None
        self._updates.send()
        return AnswerOutcome.ACCEPTED

    def _refuse(self, refusal: Refusal) -> AnswerOutcome:
        self._counts.count_refusal(refusal.reason)
        if self._refused == 0:
            _logger.warning("answer refused", extra={"reason": refusal.reason, "detail": refusal.detail})
        self._refused += 1
        self._refusal = refusal
        return AnswerOutcome.REFUSED
