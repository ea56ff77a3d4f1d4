"""What a device sends, and what it sends instead while it fails by order; pure but for its own memory."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from site_twin.devices.shapes import DeviceMessage, Values


class DeviceFault(StrEnum):
    """The ways in which a device that speaks MQTT can fail."""

    SILENT = "silent"
    OFFLINE = "offline"
    STUCK = "stuck"
    SPIKES = "spikes"
    LYING = "lying"
    CLOCK_WRONG = "clock_wrong"
    DUPLICATES = "duplicates"
    REPLAYS = "replays"
    FLOOD = "flood"


SPIKE_EVERY = 3
CLOCK_WRONG_BY = timedelta(hours=2)
FLOOD_MESSAGES = 200
REPLAYED_MESSAGES = 3

MEANINGS: Mapping[str, str] = {
    DeviceFault.SILENT: "stays connected and sends nothing",
    DeviceFault.OFFLINE: "loses its connection without a word, so that the broker publishes its last will",
    DeviceFault.STUCK: "sends the values of the moment at which it began, with new times",
    DeviceFault.SPIKES: f"sends every {SPIKE_EVERY}rd message with a value far from the one before",
    DeviceFault.LYING: "sends values that cannot be: negative sun, a battery of 250 %, a load of 400 %",
    DeviceFault.CLOCK_WRONG: "sends times two hours ahead",
    DeviceFault.DUPLICATES: "sends every message twice",
    DeviceFault.REPLAYS: f"sends its last {REPLAYED_MESSAGES} messages again before each new one",
    DeviceFault.FLOOD: f"sends each value {FLOOD_MESSAGES} times in a row as new messages",
}

Distortion = Callable[[Values], Mapping[str, Any]]
"""Fields that replace those of the truth."""


class Voice:
    """What one device sends: its count of messages, and what it remembers of those it sent."""

    def __init__(self, *, spike: Distortion, lie: Distortion, first_sequence: int) -> None:
        """Begin to speak.

        Args:
            spike: a value that can be, but not after the one before.
            lie: a value that cannot be.
            first_sequence: number of the first message.
        """
        self._spike, self._lie, self._sequence = spike, lie, first_sequence
        self._stuck_at: Values | None = None
        self._sent: deque[DeviceMessage] = deque(maxlen=REPLAYED_MESSAGES)

    def say(self, values: Values, now: datetime, faults: frozenset[str]) -> Sequence[DeviceMessage]:
        """The messages to send now, in their order.

        Args:
            values: the truth.
            now: aware UTC.
            faults: how the device fails now.
        """
        self._stuck_at = (self._stuck_at or values) if DeviceFault.STUCK in faults else None
        if faults & {DeviceFault.SILENT, DeviceFault.OFFLINE}:
            return ()
        measured_at = now + CLOCK_WRONG_BY if DeviceFault.CLOCK_WRONG in faults else now
        count = FLOOD_MESSAGES if DeviceFault.FLOOD in faults else 1
        fresh = [self._next(self._stuck_at or values, measured_at, faults) for _ in range(count)]
        again = tuple(self._sent) if DeviceFault.REPLAYS in faults else ()
        self._sent.extend(fresh)
        copies = 2 if DeviceFault.DUPLICATES in faults else 1
        return (*again, *(sent for sent in fresh for _ in range(copies)))

    def _next(self, values: Values, measured_at: datetime, faults: frozenset[str]) -> DeviceMessage:
        sequence, self._sequence = self._sequence, self._sequence + 1
        distorted: Mapping[str, Any] = {}
        if DeviceFault.LYING in faults:
            distorted = self._lie(values)
        elif DeviceFault.SPIKES in faults and sequence % SPIKE_EVERY == 0:
            distorted = self._spike(values)
        return DeviceMessage({**values, **distorted}, measured_at, sequence)
